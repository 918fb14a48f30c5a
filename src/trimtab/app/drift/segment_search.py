"""Compares each segment of two tables, such as region=north, and corrects for how many are looked at.

A change in one segment need not show in all rows together. The segments are the values of declared columns; each is
compared like a table of its own. p-values are multiplied by the number of segments (Bonferroni), so that the chance of
an alarm in any of them, while nothing changes, stays below the level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from trimtab.app.drift.drift_results import Comparison, SegmentResult
from trimtab.app.drift.watched_columns import Leaf, leaves, read_as
from trimtab.data.table_scan import TableScan
from trimtab.errors import DataError, UsageError, nearest
from trimtab.stats.sequential import ENOUGH_WINDOWS
from trimtab.units import plural

MOST = 20
"""So many segments are compared, those with the most rows in the reference. Each reads both tables again."""
NAMED = 3
"""Columns that a result names."""


def compare_segments(
    reference: TableScan,
    current: TableScan,
    names: Sequence[str],
    *,
    compare: Callable[[TableScan, TableScan], Comparison],
) -> tuple[tuple[SegmentResult, ...], tuple[str, ...]]:
    """Return the results of all segments, the most surely changed first, and notes on those left out.

    Raises UsageError when a name is no column of the reference with values to compare.
    """
    schema, now = leaves(reference.frame.collect_schema()), leaves(current.frame.collect_schema())
    sizes: list[tuple[int, str, str]] = []
    for name in names:
        if name not in schema or schema[name].kind is None:
            raise UsageError(f"segments: the reference has no column '{name}' with values.{nearest(name, schema)}")
        sizes += [(rows, name, value) for value, rows in _rows(reference, schema[name]).items()]
    few = sum(rows < ENOUGH_WINDOWS for rows, _, _ in sizes)
    large = sorted((each for each in sizes if each[0] >= ENOUGH_WINDOWS), key=lambda each: (-each[0], *each[1:]))
    notes = [f"{plural(few, 'segment')} with fewer than {ENOUGH_WINDOWS} rows in the reference left out"] if few else []
    if len(large) > MOST:
        notes.append(f"the {MOST} largest of {len(large)} segments were compared")
    found: list[SegmentResult] = []
    searched = min(len(large), MOST)
    for _, name, value in large[:MOST]:
        try:
            result = compare(_only(reference, schema, name, value), _only(current, now, name, value))
        except DataError as error:
            notes.append(f"segment {name}={value} was not compared: {error}")
            continue
        columns = tuple(column.name for column in result.columns if column.p < result.level / searched)
        found.append(
            SegmentResult(
                name=f"{name}={value}",
                rows=result.current.rows,
                rows_reference=result.reference.rows,
                p=min(1.0, searched * result.p),
                share_moved=max(column.effect.share_moved for column in result.columns),
                columns=columns[:NAMED],
            )
        )
    return tuple(sorted(found, key=lambda segment: (segment.p, -segment.share_moved))), tuple(notes)


def _rows(table: TableScan, leaf: Leaf) -> dict[str, int]:
    """Return the rows of each value; those without a value are no segment."""
    counted = table.frame.select(read_as(leaf, "category").alias("value")).group_by("value").len()
    found = counted.filter(pl.col("value").is_not_null()).collect(engine="streaming")
    return dict(zip(found["value"].to_list(), found["len"].to_list(), strict=True))


def _only(table: TableScan, schema: Mapping[str, Leaf], name: str, value: str) -> TableScan:
    mine = read_as(schema.get(name), "category") == value
    return replace(table, path=f"{table.path} ({name}={value})", frame=table.frame.filter(mine), notes=())
