"""Times in other units are refused in every column of times, in every protocol and file; null stays null."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from weakref import WeakSet

import msgspec
import numpy as np
import polars as pl
import pytest

from e2e.small_project import START, write_policy
from trimtab.app.gateway.worker_program import _vectorizer
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.replay.replay import Replay
from trimtab.app.stages import ingesting, pipeline
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.serving.core.loaded_bundle import load_bundle
from trimtab.serving.core.routing import ModelTable, Variant
from trimtab.serving.orders import BundleOrder
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.training.dataset import load
from unit.serving.conftest import Served

DEFINITIONS = """
import trimtab as tt

examples = tt.FileSource("examples", "data/examples.parquet", timestamp="at")


@tt.on_demand(inputs=["at", "signup"])
def age_days(at, signup):
    return (at - signup).astype("float64") / 86_400_000_000


m = tt.Model("m", task="binary", examples=examples, label="y", features=[age_days])


@m.trainer
def train(data, params, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=10, random_state=seed).fit(data.X, data.y)
"""
AT, SIGNUP = "2024-01-05T00:00:00Z", 1_672_876_800
"""SIGNUP: seconds of 2023-01-05, 365 days before AT."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("project")
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    age = rng.integers(0, 900, 600)
    frame = pl.DataFrame(
        {
            "at": [START + timedelta(minutes=30 * n) for n in range(600)],
            "signup": [None if n % 20 == 3 else START - timedelta(days=int(days)) for n, days in enumerate(age)],
            "y": (age + rng.normal(0, 300, 600) > 450).astype(int),
        }
    )
    frame.write_parquet(folder / "data" / "examples.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    write_policy(folder)
    return open_workspace(folder)


@pytest.fixture(scope="module")
def bundle(workspace: Workspace) -> Bundle:
    ingesting.ingest(workspace)
    dataset = pipeline.snapshot(workspace, "m", as_of=START + timedelta(days=30))
    run = pipeline.train(workspace, "m", dataset)
    return pipeline.register(workspace, run, pipeline.evaluate(workspace, run))


@pytest.fixture(scope="module")
def gateway(workspace: Workspace, bundle: Bundle) -> Iterator[Served]:
    log = SegmentLog(workspace.root / "predictions-of-test")
    served = Served(log)
    path = str(workspace.artifacts.open(bundle.path))
    order = BundleOrder(bundle.id, "m", bundle.version, path, bundle.digest)
    loaded = load_bundle(order, lambda folder, spec: _vectorizer(folder, spec, workspace.online, WeakSet()))
    yield served.serve(ModelTable("m", 1, [Variant("champion", loaded, 1.0)]))
    served.browser.close()
    log.close()


def ages(gateway: Served) -> list[float | None]:
    """Return the feature of all rows so far, null for NaN."""
    found = [row["features"][0] for row in gateway.rows()]
    return [None if age != age else age for age in found]


def mlflow(at: Any, signup: Any) -> tuple[str, Any, str]:
    return "/invocations", {"dataframe_records": [{"at": at, "signup": signup}]}, "application/json"


def mlflow_csv(at: Any, signup: Any) -> tuple[str, Any, str]:
    text = f"at,signup\n{at},{'' if signup is None else signup}\n"
    return "/invocations", text.encode(), "text/csv"


def mlflow_parquet(at: Any, signup: Any) -> tuple[str, Any, str]:
    file = io.BytesIO()
    pl.DataFrame({"at": [at], "signup": [signup]}).write_parquet(file)
    return "/invocations", file.getvalue(), "application/vnd.apache.parquet"


def open_inference(at: Any, signup: Any) -> tuple[str, Any, str]:
    kind = {str: "BYTES", int: "INT64"}
    inputs = [
        {"name": name, "shape": [1], "datatype": kind.get(type(value), "BYTES"), "data": [value]}
        for name, value in (("at", at), ("signup", signup))
    ]
    return "/v2/models/m/infer", {"inputs": inputs}, "application/json"


def kserve(at: Any, signup: Any) -> tuple[str, Any, str]:
    return "/v1/models/m:predict", {"instances": [{"at": at, "signup": signup}]}, "application/json"


PROTOCOLS = [mlflow, mlflow_csv, mlflow_parquet, open_inference, kserve]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "nanoseconds"])
@pytest.mark.parametrize("column", ["at", "signup"])
def test_another_unit_is_refused_with_the_unit_it_seems_to_be(
    gateway: Served, protocol: Any, unit: str, column: str
) -> None:
    value = SIGNUP * {"seconds": 1, "milliseconds": 10**3, "nanoseconds": 10**9}[unit]
    given = {"at": AT, "signup": "2023-01-05T00:00:00Z"} | {column: value}
    path, body, kind = protocol(**given)
    before = ages(gateway)
    reply = gateway.browser.post(path, body, content_type=kind)
    assert reply.status == 400, reply.body
    assert f"as {unit} it would be 2023-01-05T00:00:00Z".encode() in reply.body
    assert f"column '{column}'".encode() in reply.body
    assert ages(gateway) == before


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("signup", "age"),
    [("2023-01-05T00:00:00Z", 365.0), (SIGNUP * 10**6, 365.0), ("2023-01-04T19:00:00-05:00", 365.0), (None, None)],
)
def test_text_and_microseconds_are_one_time_and_null_is_none(
    gateway: Served, protocol: Any, signup: Any, age: float | None
) -> None:
    path, body, kind = protocol(AT, signup)
    reply = gateway.browser.post(path, body, content_type=kind)
    assert reply.status == 200, reply.body
    assert ages(gateway)[-1:] == [age]


def test_training_sees_null_where_the_gateway_does(workspace: Workspace, bundle: Bundle) -> None:
    dataset = workspace.metadata.find(DatasetVersion, model="m", limit=1)[0]
    frozen = load(dataset, workspace.artifacts)
    age = np.concatenate([frozen.train.X[:, 0], frozen.holdout.X[:, 0]])
    assert np.isnan(age).sum() == 30
    assert 0 <= np.nanmin(age) <= np.nanmax(age) < 920


def test_a_replay_sends_times_of_all_ages(workspace: Workspace, bundle: Bundle) -> None:
    """Integers of 1966 to 1973 are refused, so a replay writes times as text."""
    replay = Replay(workspace, workspace.model("m"), start=START, end=START + timedelta(hours=3))
    times = pl.Series([START.replace(year=1970), None, START] + [START] * (replay.rows.height - 3))
    bodies = [msgspec.json.decode(body) for body in replay.bodies(replay.rows.with_columns(signup=times))]
    sent = [{one["name"]: (one["datatype"], one["data"]) for one in body["inputs"]} for body in bodies]
    assert sent[0]["signup"] == ("BYTES", ["1970-01-01T00:00:00.000000Z"])
    assert sent[1]["signup"] == ("BYTES", [None])
    assert sent[2]["at"] == ("BYTES", ["2024-01-01T01:00:00.000000Z"])
