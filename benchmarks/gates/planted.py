"""Planted faults: a leak, a biased group, a slice that fails, a slow model, one that needs 8 GB; which gate says what.

Each case plants one fault in otherwise sound rows of 60 days, fits a model, and puts it through all gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, write_spec
from trimtab.bundle.typed_matrix import Schema, TypedMatrix, objects
from trimtab.gates.inputs import GateInputs
from trimtab.gates.table import evaluate
from trimtab.metric_catalog import Task
from trimtab.policy.gates import Gates
from trimtab.records.gate_reports import GateResult
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.training.convert import convert

Array = np.ndarray[Any, Any]
ROWS, DAYS = 12_000, 60
FEATURES = ("amount", "age", "region_code")
POLICY = {
    "accuracy": {"min": 0.6, "resamples": 100},
    "bias": {"sensitive": ["sex"], "metric": "selection_rate_difference", "max": 0.15},
    "slices": {"by": ["region"], "max_drop": 0.15},
    "stability": {},
    "robustness": {"feature_missing": 1.0, "max_drop": 0.35},
    "performance": {"p99": 5_000, "memory": 500_000_000},
}
EIGHT_GB = 2_000_000_000
"""Numbers of 4 bytes."""


class Rows(NamedTuple):
    """All rows in order of time; the later half is the holdout."""

    X: Array
    y: Array
    sex: Array
    region: Array
    timestamps: Array


class Case(NamedTuple):
    """One planted fault. rows: plants it in the rows; graph: plants it in the model."""

    name: str
    rows: Callable[[Rows], Rows] = lambda rows: rows
    graph: Callable[[bytes, Rows], bytes] = lambda graph, rows: graph
    text: bool = False
    """Whether the leak is in a text that the model does not use."""


def sound(seed: int = 0) -> Rows:
    """Return rows without a fault."""
    rng = np.random.default_rng(seed)
    amount, age, region = rng.normal(size=ROWS), rng.normal(size=ROWS), rng.integers(0, 4, ROWS)
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-(1.5 * amount - age)))).astype(np.float64)
    times = np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(DAYS * 86_400_000_000 // ROWS, "us")
    X = np.column_stack([amount, age, region]).astype(np.float32)
    return Rows(X, y, rng.choice(["f", "m"], ROWS), np.array(["north", "south", "east", "west"])[region], times)


def leak(rows: Rows) -> Rows:
    """Let the first feature be the outcome with a little noise."""
    X = rows.X.copy()
    X[:, 0] = rows.y + np.random.default_rng(1).normal(scale=0.1, size=ROWS)
    return rows._replace(X=X)


def biased(rows: Rows) -> Rows:
    """Let one group have twice the outcomes of the other, and a feature that tells them apart."""
    rng, X, y = np.random.default_rng(2), rows.X.copy(), rows.y.copy()
    X[:, 1] = np.where(rows.sex == "f", 3.0, -3.0) + 0.1 * X[:, 1]
    y[(rows.sex == "f") & (rng.random(ROWS) < 0.5)] = 1.0
    y[(rows.sex == "m") & (rng.random(ROWS) < 0.5)] = 0.0
    return rows._replace(X=X, y=y)


def failing_slice(rows: Rows) -> Rows:
    """Let outcomes of one region be chance in the holdout."""
    rng, y = np.random.default_rng(3), rows.y.copy()
    late = (np.arange(ROWS) >= ROWS // 2) & (rows.region == "east")
    y[late] = rng.integers(0, 2, int(late.sum()))
    return rows._replace(y=y)


def slow(graph: bytes, rows: Rows) -> bytes:
    """Return nearest neighbours, which compare with every row."""
    half = ROWS // 2
    return convert(KNeighborsClassifier().fit(rows.X[:half], rows.y[:half]), task="binary", features=len(FEATURES))


def needs_8_gb(graph: bytes, rows: Rows) -> bytes:
    """Return the graph with 8 GB of numbers that it adds up for each answer."""
    model = onnx.load_from_string(graph)
    name = "probabilities"
    for node in model.graph.node:
        node.output[:] = [f"{each}_of_model" if each == name else each for each in node.output]
        node.input[:] = [f"{each}_of_model" if each == name else each for each in node.input]
    shape = helper.make_tensor("many", TensorProto.INT64, [1], [EIGHT_GB])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    model.graph.initializer.extend([shape, zero])
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [1e-9])
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["many"], ["numbers"], value=value),
            helper.make_node("ReduceMax", ["numbers"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
            helper.make_node("Add", [f"{name}_of_model", "nothing"], [name]),
        ]
    )
    found: bytes = model.SerializeToString()
    return found


CASES = (
    Case("nothing"),
    Case("a leak", rows=leak),
    Case("a leak in a text", text=True),
    Case("a biased group", rows=biased),
    Case("a slice that fails", rows=failing_slice),
    Case("a slow model", graph=slow),
    Case("a model that needs 8 GB", graph=needs_8_gb),
)


def judge(case: Case, folder: Path) -> tuple[GateResult, ...]:
    """Plant a fault, and return what the gates say of it. folder: empty; the bundle is written there."""
    rows, half = case.rows(sound()), ROWS // 2
    fitted = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(rows.X[:half], rows.y[:half])
    clean = convert(fitted, task="binary", features=len(FEATURES))
    graph = case.graph(clean, rows)
    write_bundle(folder, graph, rows.X[half : half + 100])
    scorer: Scorer = OnnxScorer(clean if case.graph is needs_8_gb else graph, "binary")
    names: tuple[str, ...] = FEATURES
    X = rows.X[half:]
    if case.text:
        X, names, scorer = *_with_text(X, rows.y[half:]), _FirstColumns(scorer)
    inputs = GateInputs(
        X=X,
        y=rows.y[half:],
        timestamps=rows.timestamps[half:],
        feature_names=names,
        candidate=scorer,
        folder=folder,
        groups={"sex": rows.sex[half:], "region": rows.region[half:]},
        threshold=0.5,
    )
    return evaluate(inputs, Gates.model_validate(POLICY))


class _FirstColumns:
    """A model that does not look at the text."""

    task: Task = "binary"
    in_process = True

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def close(self) -> None:
        self.scorer.close()

    def score(self, X: Any) -> Any:
        return self.scorer.score(np.ascontiguousarray(np.asarray(X)[:, : len(FEATURES)]))


def _with_text(X: Array, y: Array) -> tuple[Array, tuple[str, ...]]:
    """Return the rows with a remark that was written after the outcome was known."""
    names = (*FEATURES, "remark")
    schema = Schema.known(names, {"remark": "text"}, {}, "frame", "other")
    assert schema is not None
    said = ["paid back late" if late else "closed in time" for late in y]
    remark = objects([f"case {number}: {text}" for number, text in enumerate(said)])
    columns = {name: X[:, place] for place, name in enumerate(FEATURES)}
    return TypedMatrix.of(schema, {**columns, "remark": remark}), names


def write_bundle(folder: Path, graph: bytes, rows: Array) -> None:
    """Write as much of a bundle as the performance gate needs."""
    (folder / "reference").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph)
    pl.DataFrame({name: rows[:, place] for place, name in enumerate(FEATURES)}).write_parquet(
        folder / "reference" / "rows.parquet"
    )
    write_spec(
        folder,
        Spec(
            model="planted",
            task="binary",
            label="bad",
            features=FEATURES,
            request_columns=FEATURES,
            entity_keys=(),
            timestamp="at",
            threshold=0.5,
            run="r",
            dataset="d",
            views=(),
            code_hash="c",
        ),
    )


def lines() -> Iterator[str]:
    """Yield the table: what was planted, and each gate that does not pass."""
    yield "| Planted | Gate | Verdict | What it says |"
    yield "|---|---|---|---|"
    for case in CASES:
        with TemporaryDirectory() as folder:
            results = judge(case, Path(folder) / "bundle")
        found = [result for result in results if result.verdict != "pass"]
        if not found:
            yield f"| {case.name} | all {len(results)} results | pass | |"
        for result in found:
            yield f"| {case.name} | `{result.gate}` | {result.verdict} | {result.reason} |"


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
