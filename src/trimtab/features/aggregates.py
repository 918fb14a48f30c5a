"""Computes all aggregations of a view for (entity, time) pairs from the rows of its source.

Training sets, materialised timelines and stand-alone joins all call `aggregate`, so a feature has one definition.
Reading order: `aggregate` sorts the aggregations by column; `Queries` puts the pairs in order and cuts them into parts
that fit into the processor's cache; `Cut` finds which rows count for the pairs of one part; `Summary` adds up or
compares the numbers of one column in those rows. `timelines` puts the rows in order, `exact_sums` and `extremes` do
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.views import FeatureView
from trimtab.features.exact_sums import Range, range_sums
from trimtab.features.extremes import NOTHING, late_minima, range_minima
from trimtab.features.timelines import EntityRows, Timelines, in_order
from trimtab.features.value_types import Array
from trimtab.features.view_windows import Window, floor_to, window_of

PART = 1 << 16
"""Rows and queries that are computed together."""


class Column(Protocol):
    """A column of the source as float64, NaN for null."""

    def whole(self) -> Array:
        """Return all values by index in the table."""
        ...

    def pick(self, picks: Picks) -> Array:
        """Return the picked value of each query, NaN for none."""
        ...


class Values(Protocol):
    """The columns of the source."""

    def columns(self, names: Iterable[str]) -> Iterable[tuple[str, Column]]:
        """Return each column once, in any order."""
        ...


def aggregate(view: FeatureView, rows: EntityRows, values: Values, entities: Array, at: Array) -> dict[str, Array]:
    """Return the view's features for each pair (entities[i], at[i]).

    Args:
        view: the view.
        rows: the rows of its source by entity.
        values: the columns of its source.
        entities: number of each pair's entity in `rows`, int64, shape (queries,); an entity without rows has the
            number after the last one.
        at: times, int64 microseconds since the epoch, shape (queries,).

    Returns:
        By aggregation name a float64 array of shape (queries,), NaN for null.
    """
    queries = Queries.of(rows, entities, floor_to(at, view.every_micros))
    found: dict[str, Array] = {}
    by_column: dict[str, list[Aggregation]] = {}
    for aggregation in view.aggregations:
        if aggregation.column is None:
            found[aggregation.name] = queries.counts(window_of(view, aggregation))
        else:
            by_column.setdefault(aggregation.column, []).append(aggregation)
    for name, column in values.columns(by_column):
        windows = {a: window_of(view, a) for a in by_column[name]}
        numbers = {a: window for a, window in windows.items() if a.kind != "last"}
        found.update((a.name, column.pick(queries.last(w))) for a, w in windows.items() if a.kind == "last")
        if numbers:
            found.update(queries.summaries(column.whole(), numbers))
    return {a.name: found[a.name] for a in view.aggregations}


@dataclass(frozen=True)
class Picks:
    """At most one row for each query, sorted by row: query order[i] picks row rows[i] of the table, -1 for none."""

    order: Array
    rows: Array


@dataclass(frozen=True)
class Queries:
    """All (entity, time) pairs that a view is asked for; results come back in the order of the request.

    parts: the pairs sorted by (entity, time) and cut into parts of whole entities, each with its places in that
    order. back: the place of each pair in that order; None when the pairs came sorted.
    """

    count: int
    parts: list[tuple[slice, Cut]]
    back: Array | None
    _picks: dict[Window, Picks] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: EntityRows, entities: Array, at: Array) -> Queries:
        """Sort the pairs and cut them into parts. Arguments as in `aggregate`, with `at` rounded already."""
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
    """Cut sorted pairs into parts of about PART rows and queries; entities without queries are left out."""
    queries = np.searchsorted(entities, np.arange(len(rows.starts)))
    load = rows.starts + queries
    first, last = 0, len(load) - 1
    while first < last:
        end = max(first + 1, int(np.searchsorted(load, load[first] + PART, side="right")) - 1)
        places = slice(int(queries[first]), int(queries[end]))
        if places.start < places.stop:
            yield places, Cut(rows.part(first, end), entities[places] - first, at[places])
        first = end


class Cut:
    """The rows that count for the (entity, time) pairs of one part, as positions in its timelines.

    Computed once for all columns. entities, at: sorted by both, shape (queries,). A "place" is a row's position in
    the timelines (see `Timelines`).
    """

    def __init__(self, lines: Timelines, entities: Array, at: Array) -> None:
        self.lines = lines
        self.entities = entities
        self.at = at
        self.ends = lines.known_until(entities, at)
        self._begins: dict[Window, Array] = {}
        self._counts: dict[Window, Array] = {}

    def begins(self, window: Window) -> Array:
        """Return for each query the place after the last row that has left the window."""
        if window not in self._begins:
            begins = self.lines.older_than(self.entities, self.at, window)
            if self.lines.known_order is None:
                begins = np.minimum(begins, self.ends)  # rows that leave before they are known
            self._begins[window] = begins
        return self._begins[window]

    def late(self, window: Window) -> Array | None:
        """Return by place which rows become known only after they have left the window, so never count; None: none.

        Only for timelines with a `known_order`.
        """
        if window is None:
            return None
        late: Array = self.lines.delays >= window
        return late if bool(late.any()) else None

    def counts(self, window: Window) -> Array:
        """Return for each query the number of rows that count."""
        if window not in self._counts:
            self._counts[window] = self.count_of(None, window)
        return self._counts[window]

    def count_of(self, present: Array | None, window: Window) -> Array:
        """Return for each query the number of rows that count and are present (bool by place; None: all are)."""
        begins, order = self.begins(window), self.lines.known_order
        late = None if order is None else self.late(window)
        if late is not None:
            present = ~late if present is None else present & ~late
        if present is None:
            return self.ends - begins
        by_place = _running(present)
        by_order = by_place if order is None else _running(present[order])
        return by_order[self.ends] - by_place[begins]

    @cached_property
    def _latest(self) -> Array:
        return self.lines.latest(self.ends, self.entities)

    def last(self, window: Window) -> Array:
        """Return the index in the table of the last row known, if it has not left the window; -1 for none."""
        place, first = self._latest, 0 if window is None else self.begins(window)
        return np.where(place >= first, np.append(self.lines.rows, -1)[place], -1)


def _running(present: Array) -> Array:
    counts = np.zeros(len(present) + 1, dtype=np.int64)
    np.cumsum(present, out=counts[1:])
    return counts


class Summary:
    """Sums, means and extremes of one column for the pairs of a part; null, NaN and infinities do not count.

    column: float64 by place. windows: the aggregations to compute, each with its window.
    """

    def __init__(self, cut: Cut, column: Array, windows: Mapping[Aggregation, Window]) -> None:
        self._cut = cut
        self._windows = windows
        self._finite = np.isfinite(column)
        self._complete = bool(self._finite.all())
        self._column = column
        self._counts: dict[Window, Array] = {}

    def value(self, aggregation: Aggregation) -> Array:
        """Return one aggregation, NaN where no value counts."""
        window = self._windows[aggregation]
        if aggregation.kind == "sum":
            return np.where(self._count(window) > 0, self._sums[window], np.nan)
        if aggregation.kind == "mean":
            with np.errstate(invalid="ignore"):
                means: Array = self._sums[window] / self._count(window)  # 0 / 0 is NaN
            return means
        extremes = (self._minima if aggregation.kind == "min" else self._maxima)[window]
        extremes[np.isinf(extremes)] = np.nan
        extremes += 0.0  # so that -0.0 is 0.0
        return extremes

    def _count(self, window: Window) -> Array:
        if self._complete:
            return self._cut.counts(window)
        if window not in self._counts:
            self._counts[window] = self._cut.count_of(self._finite, window)
        return self._counts[window]

    @cached_property
    def _sums(self) -> dict[Window, Array]:
        cut, order = self._cut, self._cut.lines.known_order
        windows = self._asked("sum", "mean")
        numbers = self._column if self._complete else np.where(self._finite, self._column, 0.0)
        late = {window: None if order is None else cut.late(window) for window in windows}
        sums: dict[Window, Array] = {}
        together = [window for window in windows if late[window] is None]
        for group in [together, *([window] for window in windows if late[window] is not None)]:
            if group:
                excluded = late[group[0]]
                kept = numbers if excluded is None else np.where(excluded, 0.0, numbers)
                most = max(int(cut.counts(window).max(initial=0)) for window in group)
                ranges = [Range(cut.ends, cut.begins(window)) for window in group]
                sums.update(zip(group, range_sums(kept, order, ranges, most=most), strict=True))
        return sums

    @cached_property
    def _minima(self) -> dict[Window, Array]:
        return self._extremes(np.where(self._finite, self._column, NOTHING), self._asked("min"))

    @cached_property
    def _maxima(self) -> dict[Window, Array]:
        found = self._extremes(np.where(self._finite, -self._column, NOTHING), self._asked("max"))
        for minima in found.values():
            np.negative(minima, out=minima)
        return found

    def _extremes(self, values: Array, windows: list[Window]) -> dict[Window, Array]:
        cut, order = self._cut, self._cut.lines.known_order
        begins = [cut.begins(window) for window in windows]
        if order is None:
            found = [range_minima(values, begin, cut.ends) for begin in begins]
        else:
            found = late_minima(values, order, cut.lines.starts, cut.entities, cut.ends, begins)
        return dict(zip(windows, found, strict=True))

    def _asked(self, *kinds: str) -> list[Window]:
        return list(dict.fromkeys(window for a, window in self._windows.items() if a.kind in kinds))
