"""Smallest values of many ranges of a float64 column; the largest are those of the negated column. Used by aggregates.

When rows become known in order of their timestamps, a range is a range of places: doubling blocks answer all of
them, a level at a time (a sparse table of which only one level is kept). Otherwise a staircase for each entity:
the known rows that no later row undercuts, so places and values both increase, and the first step at or
behind a range's begin is its minimum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from trimtab.features.columns import Array

NOTHING = np.inf
"""The minimum of a range without values."""


def range_minima(values: Array, begins: Array, ends: Array) -> Array:
    """Return the minimum of values[begin:end] for each query; NOTHING where begin >= end.

    values: float64 without NaN, missing ones are NOTHING.
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


def staircase_minima(
    values: Array, order: Array, starts: Array, entities: Array, ends: Array, begins: Sequence[Array]
) -> list[Array]:
    """Return for each array of begins the minimum over the places in order[:end] of the entity that are >= begin.

    values: float64 by place, missing ones are NOTHING. order: places in order of (entity, effective moment).
    starts: first place of each entity. entities, ends, begins: by query.
    """
    results = [np.full(len(ends), NOTHING) for _ in begins]
    by_end = np.argsort(ends, kind="stable")
    by_end = by_end[ends[by_end] > starts[entities[by_end]]]
    entity_starts = starts[entities[by_end]].tolist()
    steps = order.tolist()
    heights = values[order].tolist()
    answers: list[list[float]] = [[] for _ in begins]
    wanted = [begin[by_end].tolist() for begin in begins]
    places: list[int] = []
    minima: list[float] = []
    done = 0
    for query, end in enumerate(ends[by_end].tolist()):
        start = entity_starts[query]
        if done < start or (done == start and places):
            places, minima, done = [], [], start
        for at in range(done, end):
            _insert(places, minima, steps[at], heights[at])
        done = end
        for answer, begin in zip(answers, wanted, strict=True):
            step = bisect_left(places, begin[query])
            answer.append(minima[step] if step < len(minima) else NOTHING)
    for result, answer in zip(results, answers, strict=True):
        result[by_end] = answer
    return results


def _insert(places: list[int], minima: list[float], place: int, value: float) -> None:
    """Add a row to a staircase, unless a later row is as small; drop the earlier rows that are not smaller."""
    at = bisect_left(places, place)
    if value == NOTHING or (at < len(minima) and minima[at] <= value):
        return
    first = bisect_left(minima, value, 0, at)
    places[first:at] = [place]
    minima[first:at] = [value]
