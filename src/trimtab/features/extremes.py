"""Computes the minima of many ranges of a float64 column; the maxima are the negated minima of the negated column.

If rows become known in order of their timestamps, a query is a range of places. Minima of blocks of 1, 2, 4, ... values
answer all queries, one block length at a time (a sparse table of which only one level is kept).
Otherwise the rows known at a query's time, in the order in which they became known, form three stretches: only rows
before the query's begin, a mixture, and only rows at or after its begin. The last one is a range again; the mixture is
searched row by row, unless so many rows are late that it is long.
In that case each entity gets a staircase: the known rows after which no row has a smaller or equal value, so places and
values both increase, and the first step at or after a query's begin is its minimum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from trimtab.features.value_types import Array

NOTHING = np.inf
"""The minimum of a range without values."""

MIXED_ROWS = 64
"""Mean number of mixed rows of a query up to which searching them is faster than a staircase."""

_BEHIND = np.iinfo(np.int64).max


def range_minima(values: Array, begins: Array, ends: Array) -> Array:
    """Return the minimum of values[begin:end] for each query; NOTHING where begin >= end.

    values: float64 without NaN; missing values are NOTHING. begins, ends: shape (queries,).
    """
    lengths = np.maximum(ends - begins, 0)
    levels = np.frexp(lengths.astype(np.float64))[1] - 1  # floor of log2; -1 for empty ranges
    result = np.full(len(begins), NOTHING)
    block, level, most = values, 0, int(levels.max(initial=-1))
    while level <= most:
        queries = np.flatnonzero(levels == level)
        if len(queries):
            begin = begins[queries]
            result[queries] = np.minimum(block[begin], block[ends[queries] - (1 << level)])
        if level < most:
            block = np.minimum(block[: -(1 << level)], block[1 << level :])
        level += 1
    return result


def late_minima(
    values: Array, order: Array, starts: Array, entities: Array, ends: Array, begins: Sequence[Array]
) -> list[Array]:
    """Return for each array of begins the minimum over the places in order[:end] of the entity that are >= begin.

    values: float64 by place; missing values are NOTHING. order: places sorted by (entity, effective time).
    starts: first place of each entity. entities, ends, and each of begins: shape (queries,).
    """
    before = np.maximum.accumulate(order)
    behind = np.minimum.accumulate(order[::-1])[::-1]
    stretches = [(np.searchsorted(before, begin), np.minimum(np.searchsorted(behind, begin), ends)) for begin in begins]
    mixed = sum(int(np.maximum(behind - first, 0).sum()) for first, behind in stretches)
    if mixed > MIXED_ROWS * len(ends) * len(begins):
        return staircase_minima(values, order, starts, entities, ends, begins)
    known = values[order]
    return [
        np.minimum(_mixed_minima(known, order, first, behind, begin), range_minima(known, behind, ends))
        for (first, behind), begin in zip(stretches, begins, strict=True)
    ]


def _mixed_minima(values: Array, order: Array, first: Array, end: Array, begins: Array) -> Array:
    """Return the minimum of values[first:end] where order >= begin, for each query."""
    result = np.full(len(first), NOTHING)
    queries = np.flatnonzero(end > first)
    lengths = (end - first)[queries]
    stops = np.cumsum(lengths)
    rows = np.arange(int(lengths.sum())) + np.repeat(first[queries] - (stops - lengths), lengths)
    inside = order[rows] >= np.repeat(begins[queries], lengths)
    if len(queries):
        result[queries] = np.minimum.reduceat(np.where(inside, values[rows], NOTHING), stops - lengths)
    return result


def staircase_minima(
    values: Array, order: Array, starts: Array, entities: Array, ends: Array, begins: Sequence[Array]
) -> list[Array]:
    """Return the same as `late_minima`, by one staircase for each entity."""
    by_end = np.argsort(ends, kind="stable")
    by_end = by_end[ends[by_end] > starts[entities[by_end]]]
    first_places = starts[entities[by_end]].tolist()
    rows = list(zip(order.tolist(), values[order].tolist(), strict=True))
    wanted = list(zip(*[begin[by_end].tolist() for begin in begins], strict=True))
    answers: list[float] = []
    stairs = _Stairs(0)
    for first, end, edges in zip(first_places, ends[by_end].tolist(), wanted, strict=True):
        if first >= stairs.end:  # the next entity
            stairs = _Stairs(first)
        stairs.add(rows[stairs.end : end])
        places, minima = stairs.places, stairs.minima
        answers += [minima[bisect_left(places, edge)] for edge in edges]
    table = np.full((len(ends), len(begins)), NOTHING)
    table[by_end] = np.array(answers).reshape(-1, len(begins))
    return list(table.T.copy())


class _Stairs:
    """Steps of one entity: places and minima both increase; the last step is a sentinel after all rows."""

    def __init__(self, first: int) -> None:
        self.end = first
        self.places = [_BEHIND]
        self.minima = [NOTHING]

    def add(self, rows: list[tuple[int, float]]) -> None:
        """Add rows as (place, value). A row becomes a step unless a later row is as small; it removes earlier steps
        that are not smaller."""
        places, minima = self.places, self.minima
        for place, value in rows:
            at = bisect_left(places, place)
            if value < minima[at]:
                first = bisect_left(minima, value, 0, at)
                places[first:at] = [place]
                minima[first:at] = [value]
        self.end += len(rows)
