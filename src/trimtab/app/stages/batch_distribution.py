"""Judges whether the values of a batch are those of the last good batches."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from trimtab.app.drift.comparing import compare_window
from trimtab.app.drift.fitted_reference import fit_reference
from trimtab.app.drift.watched_columns import leaves
from trimtab.definitions.sources import Source
from trimtab.errors import DataError, PolicyError, nearest
from trimtab.policy.data_checks import Distribution
from trimtab.records.data import CheckResult
from trimtab.units import plural

FEWEST_BATCHES = 20
"""With 8 to 12 good batches a level of 1 % was exceeded by up to 3 % of unchanged batches, with 20 by none of 180."""
NAMED = 3
BEFORE = "the good batches"
BATCH = "the batch"


def compare_batch(
    policy: Distribution, before: pl.LazyFrame, parts: Sequence[int], frame: pl.DataFrame, source: Source
) -> CheckResult:
    """Judge one batch.

    Each good batch is a window of rows, and the batch one more: it fails if it differs from them more than they differ
    from one another (full conformal, over all columns). So rows of one batch may be alike. Fewer than FEWEST_BATCHES
    good batches show too little of how batches differ.

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
    if len(parts) < FEWEST_BATCHES:
        reason = (
            f"not judged: {plural(len(parts), 'good batch', 'good batches')} before it, {FEWEST_BATCHES} are needed"
        )
        return CheckResult(check="distribution", verdict="pass", reason=reason)
    try:
        p, changed = _judge(before.select(columns), parts, frame.select(columns), policy.level)
    except DataError as error:
        return CheckResult(check="distribution", verdict="pass", reason=f"not judged: {error}")
    named = ", ".join(f"'{name}'" for name in changed[:NAMED])
    reason = f"p {p:.2g} against the last {plural(len(parts), 'good batch', 'good batches')}, limit {policy.level:g}"
    if p >= policy.level:
        return CheckResult(check="distribution", verdict="pass", reason=reason, value=p, limit=policy.level)
    reason = f"its values differ{f' in {named}' if named else ''}: {reason}"
    return CheckResult(check="distribution", verdict=policy.on_failure, reason=reason, value=p, limit=policy.level)


def _judge(before: pl.LazyFrame, parts: Sequence[int], frame: pl.DataFrame, level: float) -> tuple[float, list[str]]:
    """Return a p-value, and the columns that carry a change, the surest first. Raises DataError for too few rows."""
    current = leaves(frame.schema)
    fitted = fit_reference(BEFORE, before, parts=parts, current=current, current_rows=frame.height)
    p, columns = compare_window(fitted, fitted.table(BATCH, frame.lazy(), current, None))
    return p, sorted((name for name, each in columns.items() if each < level), key=lambda name: columns[name])
