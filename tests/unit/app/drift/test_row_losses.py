"""Losses as one more column: a changed concept is found where inputs and scores have not changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.app.drift.comparing import CompareOptions, compare_paths
from trimtab.app.drift.drift_results import Comparison
from trimtab.app.drift.row_losses import COLUMN, judged_of, with_losses
from trimtab.data.table_scan import scan_table
from trimtab.errors import DataError, UsageError

ROWS = 3000
CLASSES = ("late", "on time", "very late")


def table(path: Path, seed: int, *, turned: bool = False, shifted: float = 0.0) -> str:
    """Write rows with the scores of calibrated models of every task, and the labels that follow; turned: other ones."""
    random = np.random.default_rng(seed)
    x = random.normal(shifted, 1, ROWS)
    p = 1 / (1 + np.exp(-x))
    y = (random.random(ROWS) < (1 - p if turned else p)).astype(np.float64)
    shares = np.exp(np.column_stack([x, np.zeros(ROWS), -x]))
    shares /= shares.sum(axis=1, keepdims=True)
    place = (random.random(ROWS)[:, None] > shares.cumsum(axis=1)[:, :2]).sum(axis=1)
    columns: dict[str, Any] = {"x": x, "p": p, "y": y, "value": x + random.normal(0, 2 if turned else 1, ROWS)}
    columns |= {f"p{n}": shares[:, n] for n in range(3)}
    columns["arrival"] = [CLASSES[(n + turned) % 3] for n in place]
    pl.DataFrame(columns).write_parquet(path)
    return str(path)


def compared(
    folder: Path, task: str, label: str, scores: str, threshold: float | None = None, **now: Any
) -> Comparison:
    before, after = table(folder / "before.parquet", 1), table(folder / "after.parquet", 2, **now)
    judged = judged_of(task, label, scores, threshold)
    return compare_paths(before, after, CompareOptions(columns=["x"], judged=judged))


GIVEN = [
    ("binary", "y", "p", None),
    ("multiclass", "arrival", "late=p0,on time=p1,very late=p2", None),
    ("regression", "value", "x", None),
    ("anomaly", "y", "p", 0.5),
]


@pytest.mark.parametrize("given", GIVEN, ids=[task for task, *_ in GIVEN])
def test_labels_that_follow_another_rule_are_drift_of_the_loss_alone(tmp_path: Path, given: Any) -> None:
    assert not compared(tmp_path, *given).drift
    found = compared(tmp_path, *given, turned=True)
    assert found.drift
    assert min(found.columns, key=lambda column: column.p).name == COLUMN
    assert next(column for column in found.columns if column.name == "x").p > 0.05


@pytest.mark.parametrize("given", GIVEN[:2], ids=["binary", "multiclass"])
def test_the_mean_beyond_what_is_expected_is_0_however_hard_the_rows_are(tmp_path: Path, given: Any) -> None:
    path = table(tmp_path / "hard.parquet", 3, shifted=1.5)
    losses = with_losses(scan_table(path), judged_of(*given)).frame.select(COLUMN).collect()[COLUMN]
    assert abs(float(losses.mean())) < 0.03  # type: ignore[arg-type]  # a mean of floats is a float


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("bianry", "y", "p", None), "expected one of binary, multiclass"),
        (("binary", None, "p", None), "--task needs --label COLUMN and --scores COLUMN"),
        (("binary", "y", "p,q", None), "a binary model has one"),
        (("multiclass", "arrival", "p0", None), "two classes or more"),
        (("anomaly", "y", "p", None), "needs --threshold SCORE"),
        (("binary", "y", "p", 0.5), "leave it out for binary"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        judged_of(*given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("binary", "yy", "p", None), "there is no column 'yy'"),
        (("binary", "value", "p", None), r"rows have no label in 'value' that is 0 or 1"),
        (("multiclass", "arrival", "p0,p1", None), "no label in 'arrival' is one of the classes p0, p1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, given: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        compared(tmp_path, *given)
