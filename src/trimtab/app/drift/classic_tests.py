"""Runs usual tests by name on each column of two tables, for comparison; they take no part in a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trimtab.app.drift.drift_results import RowTestResult
from trimtab.app.drift.stream_tests import CLASSES, ERRORS_ONLY, RULE, is_errors, stream_test
from trimtab.app.drift.table_profile import Table
from trimtab.app.drift.watched_columns import WatchedColumn
from trimtab.errors import UsageError, nearest
from trimtab.stats.row_tests import CATEGORY_TESTS, ORDERED_TESTS, RowTest

NAMES = tuple(dict.fromkeys([*ORDERED_TESTS, *CATEGORY_TESTS, *CLASSES]))


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError for a name that no test has, and MissingExtra for one whose package is not installed."""
    for name in names:
        if name not in NAMES:
            raise UsageError(f"--tests: there is no test '{name}'.{nearest(name, NAMES)}")
        if name in CLASSES:
            stream_test(name)


def classic_tests(names: Sequence[str], reference: Table, current: Table, seed: int) -> tuple[RowTestResult, ...]:
    """Return the results, column by column. One column of both tables is in memory at a time."""
    found: list[RowTestResult] = []
    for before, now in zip(reference.columns, current.columns, strict=True):
        if before.kind == "category":
            wanted = [name for name in names if name in CATEGORY_TESTS]
            found += _of_category(wanted, reference, current, before, now) if wanted else []
            if before.dtype != pl.Boolean:
                continue
        wanted = [name for name in names if name in CLASSES or (name in ORDERED_TESTS and before.kind == "ordered")]
        found += _of_numbers(wanted, reference, current, before, now) if wanted else []
    return tuple(found)


def _of_category(
    names: Sequence[str], reference: Table, current: Table, before: WatchedColumn, now: WatchedColumn
) -> Iterator[RowTestResult]:
    counts = [_counts(table, column) for table, column in ((reference, before), (current, now))]
    if not all(counts):
        return
    for name in names:
        test = CATEGORY_TESTS[name]
        yield _result(name, before.name, test.run(*counts), test.alarm, test.rule)


def _of_numbers(
    names: Sequence[str], reference: Table, current: Table, before: WatchedColumn, now: WatchedColumn
) -> Iterator[RowTestResult]:
    values = [_values(table, column) for table, column in ((reference, before), (current, now))]
    if not (values[0].size and values[1].size):
        return
    for name in names:
        if name in ORDERED_TESTS:
            test = ORDERED_TESTS[name]
            yield _result(name, before.name, test.run(*values), test.alarm, test.rule)
        elif name not in ERRORS_ONLY or (is_errors(values[0]) and is_errors(values[1])):
            yield _result(name, before.name, stream_test(name)(*values), lambda found: found.statistic < 1, RULE)


def _result(name: str, column: str, found: RowTest, alarm: Any, rule: str) -> RowTestResult:
    return RowTestResult(
        test=name, column=column, statistic=found.statistic, p=found.p, alarm=bool(alarm(found)), rule=rule
    )


def _counts(table: Table, column: WatchedColumn) -> dict[Any, int]:
    values = table.frame.select(column.value.alias("value")).drop_nulls()
    found = values.group_by("value").len().collect(engine="streaming")
    return dict(zip(found["value"].to_list(), found["len"].to_list(), strict=True))


def _values(table: Table, column: WatchedColumn) -> npt.NDArray[np.float64]:
    """Return the finite values of a column; true is 1."""
    value = column.value
    if column.dtype == pl.Boolean:
        value = value.replace_strict({"true": 1.0, "false": 0.0}, default=None, return_dtype=pl.Float64)
    found = table.frame.select(value.cast(pl.Float64).alias("value")).drop_nulls().collect(engine="streaming")
    x: npt.NDArray[np.float64] = found["value"].to_numpy()
    finite: npt.NDArray[np.float64] = x[np.isfinite(x)]
    return finite
