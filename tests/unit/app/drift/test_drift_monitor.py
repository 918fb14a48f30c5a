"""The public drift monitor judges one window after the other, whatever library the tables come from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import trimtab as tt
from trimtab.clock import EPOCH
from trimtab.errors import DataError, UsageError


def rows(n: int, seed: int, *, shift: float = 0.0) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return {"x": random.normal(shift, 1, n), "plan": random.choice(["a", "b"], n)}


KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": lambda data: data,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
    "pyarrow": pa.table,
    "batch": lambda data: pa.RecordBatch.from_pydict(data),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gives_the_same_result(kind: str) -> None:
    made = KINDS[kind]
    ours, theirs = tt.DriftMonitor(rows(6_000, 0)), tt.DriftMonitor(made(rows(6_000, 0)))
    for seed in (1, 2):
        assert theirs.step(made(rows(100, seed))) == ours.step(rows(100, seed))


def test_a_shift_is_told_after_some_windows() -> None:
    monitor = tt.DriftMonitor(rows(6_000, 0))
    assert not any(monitor.step(rows(100, seed)).drift for seed in range(1, 10))
    found = [monitor.step(rows(100, seed, shift=1.0)) for seed in range(10, 18)]
    assert found[-1].drift
    assert found[-1].named == ("x",)
    assert found[-1].reference_windows >= 60


def test_windows_can_be_given_one_by_one() -> None:
    monitor = tt.DriftMonitor([rows(100, seed) for seed in range(40)])
    assert monitor.reference_windows == 40
    assert monitor.step(rows(100, 50)).tested


def test_a_reference_can_be_cut_by_time() -> None:
    random = np.random.default_rng(0)
    at = [EPOCH + timedelta(hours=float(h)) for h in random.uniform(0, 24 * 40, 4_000)]
    monitor = tt.DriftMonitor({**rows(4_000, 0), "at": at}, timestamp="at", window="1d")
    assert monitor.reference_windows == 40
    assert monitor.columns == ("x", "plan")
    found = monitor.step(rows(100, 1))
    assert (found.tested, found.schema) == (True, ())


def test_a_thin_window_waits_for_the_next() -> None:
    monitor = tt.DriftMonitor(rows(6_000, 0))
    assert not monitor.step(rows(10, 1)).tested
    found = monitor.step(rows(90, 2))
    assert (found.tested, found.rows) == (True, 100)


def test_an_absent_column_is_told_and_counts_as_missing() -> None:
    monitor = tt.DriftMonitor(rows(6_000, 0))
    found = monitor.step({"x": rows(100, 1)["x"], "extra": np.zeros(100)})
    assert found.drift
    assert [(c.column, c.change) for c in found.schema] == [("plan", "missing"), ("extra", "new")]
    assert next(c for c in found.columns if c.name == "plan").missing == 1


def test_a_pickled_monitor_continues() -> None:
    monitor = tt.DriftMonitor(rows(6_000, 0))
    monitor.step(rows(100, 1))
    copy = pickle.loads(pickle.dumps(monitor))
    assert copy.step(rows(100, 2)) == monitor.step(rows(100, 2))


def test_numpy_text_dates_and_pandas_categories_are_read() -> None:
    def frame(n: int, seed: int) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        days = pd.to_datetime(random.integers(0, 1_000, n), unit="D")
        return pd.DataFrame({"c": pd.Categorical(random.choice(["a", "b"], n)), "d": days, "o": ["x"] * n})

    monitor = tt.DriftMonitor(frame(3_000, 0))
    assert monitor.columns == ("c", "d", "o")
    assert not monitor.step(frame(50, 1)).drift


@pytest.mark.parametrize(
    ("reference", "options", "error", "message"),
    [
        (3, {}, DataError, "the reference is a builtins.int; expected a pandas, Polars or pyarrow table"),
        ([], {}, DataError, "empty sequence"),
        ([rows(10, 0), rows(0, 0)], {}, DataError, "reference window 2 has no rows"),
        ([rows(10, 0)], {}, DataError, "expected 30 or more"),
        (rows(10, 0), {}, DataError, "has 10 rows; a reference needs 30 or more"),
        ({"x": [1, 2], "y": [1]}, {}, DataError, "the reference cannot be read as a table"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, DataError, "the column 'a' appears twice"),
        (rows(100, 0), {"columns": ["X1"]}, UsageError, "Did you mean 'x'?"),
        (rows(100, 0), {"timestamp": "plam"}, UsageError, "Did you mean 'plan'?"),
        (rows(100, 0), {"window": "1d"}, UsageError, "without a timestamp a window is a number of rows"),
        (rows(100, 0), {"window": 0}, UsageError, "window is 0"),
        (rows(100, 0), {"level": 0.0}, UsageError, "level is 0.0"),
    ],
)
def test_what_cannot_be_used_is_refused(
    reference: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refused:
        tt.DriftMonitor(reference, **options)
    assert message in str(refused.value)


def test_a_window_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="the window has no rows"):
        tt.DriftMonitor(rows(6_000, 0)).step(rows(0, 1))
