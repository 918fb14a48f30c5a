"""Small projects of the tasks multiclass and anomaly: texts as labels, weights, groups, rows without labels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock

ROWS = 720
AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
CLASSES = ("small", "middle", "large")
SIZES = """
import trimtab as tt
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

parcels = tt.FileSource("parcels", "parcels.parquet", timestamp="at")
size = tt.Model(
    "size",
    task="multiclass",
    examples=parcels,
    label="size",
    features=["length", "weight"],
    classes=["small", "middle", "large"],
    weight="importance",
    group="depot",
    extra=["value"],
)


@size.trainer
def train(data, params, seed):
    assert data.classes == ("small", "middle", "large")
    assert data.extra["value"].shape == data.y.shape == data.group.shape
    model = make_pipeline(SimpleImputer(), LogisticRegression(random_state=seed))
    return model.fit(data.X, data.y, logisticregression__sample_weight=data.weight)
"""
STRANGE = """
import trimtab as tt
from sklearn.ensemble import IsolationForest

readings = tt.FileSource("readings", "readings.parquet", timestamp="at")
pump = tt.Model("pump", task="anomaly", examples=readings, {label}features=["heat", "noise"])


@pump.trainer
def train(data, params, seed):
    return IsolationForest(n_estimators=20, random_state=seed).fit(data.X)
"""
LATE = """
import trimtab as tt
from sklearn.ensemble import HistGradientBoostingRegressor

trips = tt.FileSource("trips", "trips.parquet", timestamp="at")
late = tt.Model("late", task="regression", examples=trips, label="minutes", features=["distance"])


@late.trainer
def train(data, params, seed):
    model = HistGradientBoostingRegressor(loss="quantile", quantile=0.9, max_iter=30, random_state=seed)
    return model.fit(data.X, data.y)
"""
POLICY = """
project: small
training: {{ seed: 3, min_examples: 50{training} }}
gates: {{ accuracy: {{ {accuracy}resamples: 100 }}, robustness: {{ max_drop: 0.5 }}, performance: null{gates} }}
decide: {{ window: 1d }}
"""


def make_multiclass(folder: Path) -> Workspace:
    """Write a project that tells three classes of parcels apart, and open it."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    length, weight = random.gamma(4.0, 10.0, ROWS), random.gamma(2.0, 2.0, ROWS)
    place = np.digitize(length + random.normal(0, 4, ROWS), [30, 50])
    frame = _timed({"length": length, "weight": weight, "value": length * 2, "importance": random.random(ROWS) + 0.5})
    frame.with_columns(
        size=pl.Series([CLASSES[each] for each in place]),
        depot=pl.Series([("north", "south")[each] for each in random.integers(0, 2, ROWS)]),
    ).write_parquet(folder / "parcels.parquet")
    (folder / "definitions.py").write_text(SIZES)
    gates = ", calibration: { max: 0.5 }, bias: { sensitive: [depot], max: 0.5, min_group_size: 10 }"
    (folder / "trimtab.yaml").write_text(POLICY.format(training="", accuracy="min: 0.5, ", gates=gates))
    return open_workspace(folder, clock=ManualClock(AS_OF))


def make_anomaly(folder: Path, *, labelled: bool) -> Workspace:
    """Write a project that finds strange readings of a pump, with labels of two rows in three or without any."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    strange = random.random(ROWS) < 0.08
    heat, noise = random.normal(60, 3, ROWS), random.normal(20, 2, ROWS) + 12 * strange
    known = np.where(random.random(ROWS) < 0.67, strange.astype(np.float64), np.nan)
    frame = _timed({"heat": heat, "noise": noise, "broken": known})
    frame.with_columns(pl.col("broken").fill_nan(None)).write_parquet(folder / "readings.parquet")
    (folder / "definitions.py").write_text(STRANGE.format(label='label="broken", ' if labelled else ""))
    accuracy = "min: 0.5, " if labelled else ""
    (folder / "trimtab.yaml").write_text(POLICY.format(training=", contamination: 0.08", accuracy=accuracy, gates=""))
    return open_workspace(folder, clock=ManualClock(AS_OF))


def make_quantile(folder: Path) -> Workspace:
    """Write a project that predicts the 0.9 quantile of minutes, and open it."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    distance = random.gamma(4.0, 10.0, ROWS)
    minutes = distance * (1 + random.gamma(2.0, 0.5, ROWS))
    _timed({"distance": distance, "minutes": minutes}).write_parquet(folder / "trips.parquet")
    (folder / "definitions.py").write_text(LATE)
    policy = POLICY.format(training="", accuracy="metric: mean_pinball_loss, ", gates="")
    (folder / "trimtab.yaml").write_text(policy.replace("max_drop", "max_relative_drop"))
    return open_workspace(folder, clock=ManualClock(AS_OF))


def _timed(columns: dict[str, np.ndarray]) -> pl.DataFrame:
    at = pl.Series("at", np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "h"))
    return pl.DataFrame(columns).with_columns(at.dt.replace_time_zone("UTC"))
