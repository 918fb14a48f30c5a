"""Learns checks of requests from training rows: ranges of numbers, and the values of a text column with few of them.

A learnt range is widened by its own length at both ends, so a new record value passes, and a value in another unit or a
code such as -999 does not. Keys of entities get no check, because new ones are normal.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import msgspec
import polars as pl

from trimtab.bundle.spec import ColumnCheck

MOST_VALUES = 50
ROWS_A_VALUE = 20
"""A text column gets a fixed set of values if it has at most MOST_VALUES, and this many rows for each on average."""


def learn_checks(
    rows: pl.DataFrame, kinds: Mapping[str, str], *, keys: Collection[str], given: Mapping[str, ColumnCheck]
) -> dict[str, ColumnCheck]:
    """Return the checks of request columns.

    Args:
        rows: training rows, with the request columns.
        kinds: kind of each request column, from `features.request_types`.
        keys: columns that are keys of entities; they get no learnt check.
        given: checks of the source's schema. A check that limits values is used as it is; one that says only whether
            a value may be missing is completed by a learnt one.

    Returns:
        By column; columns without a check are left out.
    """
    found = {}
    for name, kind in kinds.items():
        if name not in rows.columns or rows.height == 0:
            continue
        check = None if name in keys else _learn(rows[name], kind)
        if (known := given.get(name)) is not None:
            limits = known.is_text or known.lowest is not None or known.highest is not None
            check = known if limits or check is None else msgspec.structs.replace(check, null=known.null)
        if check is not None and (check.is_text or check.lowest is not None or check.highest is not None):
            found[name] = check
    return found


def _learn(column: pl.Series, kind: str) -> ColumnCheck | None:
    null = column.null_count() > 0
    if kind in ("number", "integer", "decimal") and column.dtype.is_numeric():
        values = column.cast(pl.Float64).drop_nulls()
        finite = values.filter(values.is_finite())
        null = null or values.is_nan().any()
        if finite.is_empty():
            return None
        low, high = float(finite.min() or 0.0), float(finite.max() or 0.0)  # type: ignore[arg-type]  # of numbers
        room = (high - low) or max(abs(high), 1.0)
        if not math.isfinite(room):
            return None
        return ColumnCheck(lowest=low - room, highest=high + room, null=null)
    if kind == "text" and column.dtype == pl.String:
        values = column.drop_nulls().unique().sort()
        if 0 < len(values) <= min(MOST_VALUES, column.len() // ROWS_A_VALUE):
            return ColumnCheck(values=tuple(values.to_list()), null=null)
    return None
