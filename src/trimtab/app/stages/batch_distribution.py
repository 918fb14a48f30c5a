"""Judges whether the values of a batch are those of the last good batches."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from trimtab.app.drift.comparing import CompareOptions, compare_tables, compare_window
from trimtab.app.drift.fitted_reference import fit_reference
from trimtab.app.drift.watched_columns import leaves
from trimtab.data.table_scan import TableScan
from trimtab.definitions.sources import Source
from trimtab.errors import DataError, PolicyError, nearest
from trimtab.policy.data_checks import Distribution
from trimtab.records.data import CheckResult
from trimtab.stats.sequential import ENOUGH_WINDOWS
from trimtab.units import plural

NAMED = 3
BEFORE = "the good batches"
BATCH = "the batch"


def compare_batch(
    policy: Distribution, before: pl.LazyFrame, parts: Sequence[int], frame: pl.DataFrame, source: Source
) -> CheckResult:
    """Judge one batch.

    With ENOUGH_WINDOWS good batches each of them is a window, and the batch one more (full conformal); with fewer, all
    rows are cut into blocks of consecutive rows, and a permutation test of the blocks decides.

    Args:
        policy: what is compared.
        before: the rows of good batches, oldest first. parts: how many each of them has.
        frame: the rows of the batch.
        source: where they came from; its times and its key are not compared.

    Raises:
        PolicyError: a column of the policy does not exist.
    """
    for column in policy.columns or ():
        if column not in frame.columns:
            raise PolicyError(
                f"checks.{source.name}.distribution.columns: there is no column '{column}'."
                f"{nearest(column, frame.columns)}"
            )
    left_out = {source.timestamp, source.known_column, *source.key}
    columns = policy.columns or [name for name in frame.columns if name not in left_out]
    columns = [name for name in columns if name in before.collect_schema()]
    try:
        p, changed = _judge(policy, before.select(columns), parts, frame.select(columns))
    except DataError as error:
        return CheckResult(check="distribution", verdict="pass", reason=f"not judged: {error}")
    named = ", ".join(f"'{name}'" for name in changed[:NAMED])
    reason = f"p {p:.2g} against the last {plural(len(parts), 'good batch', 'good batches')}, limit {policy.level:g}"
    if p >= policy.level:
        return CheckResult(check="distribution", verdict="pass", reason=reason, value=p, limit=policy.level)
    reason = f"its values differ{f' in {named}' if named else ''}: {reason}"
    return CheckResult(check="distribution", verdict=policy.on_failure, reason=reason, value=p, limit=policy.level)


def _judge(
    policy: Distribution, before: pl.LazyFrame, parts: Sequence[int], frame: pl.DataFrame
) -> tuple[float, list[str]]:
    """Return a p-value, and the columns that carry a change, the surest first. Raises DataError for too few rows."""
    if not parts:
        raise DataError("there is no good batch before it")
    if len(parts) < ENOUGH_WINDOWS:
        found = compare_tables(
            TableScan(BEFORE, before, True, 1),
            TableScan(BATCH, frame.lazy(), True, 1),
            CompareOptions(level=policy.level),
        )
        return found.p, [column.name for column in found.drifted]
    current = leaves(frame.schema)
    fitted = fit_reference(BEFORE, before, parts=parts, current=current, current_rows=frame.height)
    p, columns = compare_window(fitted, fitted.table(BATCH, frame.lazy(), current, None))
    return p, sorted((name for name, each in columns.items() if each < policy.level), key=lambda name: columns[name])
