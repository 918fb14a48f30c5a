"""All (entity, moment) pairs that a view is asked for, computed in parts. Used by aggregates.

Queries are put in order of entity and moment and computed in parts of whole entities, small enough that all arrays
of a part stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from trimtab.definitions import Aggregation
from trimtab.features.cuts import Cut
from trimtab.features.kinds import Array
from trimtab.features.summaries import Summary
from trimtab.features.timelines import EntityRows, in_order
from trimtab.features.windows import Window

PART = 1 << 16
"""Rows and queries that are computed together."""


@dataclass(frozen=True)
class Picks:
    """One row for each query, in order of rows: query order[i] picks row rows[i] of the table; -1 is none."""

    order: Array
    rows: Array


@dataclass(frozen=True)
class Queries:
    """All (entity, moment) pairs; results are in the order in which they were asked.

    parts: their cuts, by place in order of (entity, moment). back: the place of each query, None when they came in
    that order.
    """

    count: int
    parts: list[tuple[slice, Cut]]
    back: Array | None
    _picks: dict[Window, Picks] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: EntityRows, entities: Array, at: Array) -> Queries:
        """Cut queries out of rows; nobody has a number behind the last entity of `rows`."""
        order = in_order(entities, at, at)
        parts = list(_parts(rows, entities[order], at[order]))
        if bool(np.all(order[1:] > order[:-1])):
            return cls(len(at), parts, None)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return cls(len(at), parts, back)

    def counts(self, window: Window) -> Array:
        """Return how many rows count for each query, as float64."""
        counts = np.zeros(self.count)
        for places, cut in self.parts:
            counts[places] = cut.counts(window)
        return self._as_asked(counts)

    def last(self, window: Window) -> Picks:
        """Return the last row known for each query, if it has not left the window."""
        if window not in self._picks:
            rows = np.full(self.count, -1)
            for places, cut in self.parts:
                rows[places] = cut.last(window)
            rows = self._as_asked(rows)
            order = np.argsort(rows)
            self._picks[window] = Picks(order, rows[order])
        return self._picks[window]

    def summaries(self, column: Array, windows: Mapping[Aggregation, Window]) -> dict[str, Array]:
        """Return aggregations of numbers by name, NaN where no value counts. column: by index in the table."""
        found = {aggregation.name: np.full(self.count, np.nan) for aggregation in windows}
        for places, cut in self.parts:
            summary = Summary(cut, column[cut.lines.rows], windows)
            for aggregation in windows:
                found[aggregation.name][places] = summary.value(aggregation)
        return {name: self._as_asked(values) for name, values in found.items()}

    def _as_asked(self, values: Array) -> Array:
        if self.back is None:
            return values
        return np.take(values, self.back, mode="clip")  # the fastest of numpy's gathers


def _parts(rows: EntityRows, entities: Array, at: Array) -> Iterator[tuple[slice, Cut]]:
    """Cut the queries, which are in order; entities without queries are passed over."""
    queries = np.searchsorted(entities, np.arange(len(rows.starts)))
    load = rows.starts + queries
    first, last = 0, len(load) - 1
    while first < last:
        end = max(first + 1, int(np.searchsorted(load, load[first] + PART, side="right")) - 1)
        places = slice(int(queries[first]), int(queries[end]))
        if places.start < places.stop:
            yield places, Cut(rows.part(first, end), entities[places] - first, at[places])
        first = end
