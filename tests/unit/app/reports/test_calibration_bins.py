"""Said and happened, by score, of every task."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trimtab.app.reports.paired_rows import PairedRows
from trimtab.app.reports.version_measures import VersionMeasures
from trimtab.metric_catalog import Task

RANDOM = np.random.default_rng(1)
N = 600
SCORES = {
    "binary": RANDOM.random(N),
    "multiclass": RANDOM.dirichlet([1, 1, 1], N),
    "regression": RANDOM.normal(50, 20, N),
    "anomaly": RANDOM.exponential(2.0, N),
}


def measures(task: Task) -> VersionMeasures:
    score = SCORES[task]
    if task == "regression":
        y = score + RANDOM.normal(0, 3, N)
    else:
        chance = score / score.max() if score.ndim == 1 else score.max(axis=1)
        y = (RANDOM.random(N) < chance).astype(np.float64)
        y = np.where(y == 1, score.argmax(axis=1), 3).astype(np.float64) if score.ndim == 2 else y
    rows = PairedRows(
        window=np.zeros(N, dtype=np.int64), y=y, score=score, against=score, traffic=np.ones(1),
        columns=dict[str, pl.Series](), classes=("a", "b", "c", "d") if task == "multiclass" else (),
    )  # fmt: skip
    return VersionMeasures(rows, task=task, metric="accuracy", costs={}, thresholds=(0.5, 0.5), days=[1.0])


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "anomaly"])
def test_every_row_is_in_one_bin_and_outcomes_grow_with_the_score(task: Task) -> None:
    bins = list(measures(task).calibration(0))
    assert sum(b.rows for b in bins) == N
    assert [b.said for b in bins] == sorted(b.said for b in bins)
    assert bins[-1].happened > bins[0].happened
    assert all(b.low <= b.happened <= b.high for b in bins)


def test_a_calibrated_model_lies_within_its_intervals() -> None:
    bins = list(measures("multiclass").calibration(0))
    assert sum(b.low <= b.said <= b.high for b in bins) >= len(bins) - 1
    errors = [abs(b.said - b.happened) for b in measures("regression").calibration(0)]
    assert max(errors) < 2
