"""Computes all aggregations of a view for (entity, time) pairs from the rows of its source.

Training sets, materialised timelines and stand-alone joins all call `aggregate`, so a feature has one definition.
Reading order: `aggregate` sorts the aggregations by column; `Queries` puts the pairs in order and cuts them into parts
that fit into the processor's cache; `Cut` finds which rows count for the pairs of one part; `Summary` adds up or
compares the numbers of one column in those rows. `timelines` puts the rows in order, `exact_sums` and `extremes` do
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Protocol

import numpy as np

from trimtab.definitions.aggregations import DECAYED, PICKS, Aggregation
from trimtab.definitions.views import FeatureView
from trimtab.features.continuous import Layout, width_of
from trimtab.features.exact_sums import Range, range_sums
from trimtab.features.extremes import NOTHING, late_minima, range_minima
from trimtab.features.order_statistics import decayed, deviations, distinct_counts, quantiles
from trimtab.features.timelines import EntityRows, Timelines, in_order
from trimtab.features.value_types import Array
from trimtab.features.view_windows import Window, floor_to, window_of

SUMMARIES = ("sum", "mean", "min", "max")
SWEPT = ("quantile", "std", *DECAYED)
"""Kinds that are computed row by row along the timelines."""
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

    def codes(self) -> Array:
        """Return a number for each value by index in the table, the same for equal ones, -1 for null and NaN."""
        ...


class Values(Protocol):
    """The columns of the source."""

    def columns(self, names: Iterable[str]) -> Iterable[tuple[str, Column]]:
        """Return each column once, in any order."""
        ...

    def matching(self, where: str) -> Array:
        """Return by index in the table which rows fulfil a filter."""
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
    layout = Layout(view)
    found = layout.features(stored_columns(layout, rows, values, entities, at), at)
    return dict(zip([a.name for a in view.aggregations], found, strict=True))


def stored_columns(layout: Layout, rows: EntityRows, values: Values, entities: Array, at: Array) -> list[Array]:
    """Return the columns that the online store keeps for each pair, of which `layout` makes features at a read.

    Other arguments and errors as in `aggregate`.
    """
    view, at = layout.view, floor_to(at, layout.view.every_micros)
    groups: dict[str | None, list[Aggregation]] = {}
    for leaf in view.leaves:
        groups.setdefault(leaf.where, []).append(leaf)
    found: dict[Aggregation, tuple[Array, ...]] = {}
    by_column: dict[str, list[tuple[Queries, list[Aggregation]]]] = {}
    for where, leaves in groups.items():
        chosen = rows if where is None else rows.only(values.matching(where))
        queries = Queries.of(chosen, entities, at)
        for leaf in leaves:
            if leaf.column is None:
                found[leaf] = queries.of_rows(leaf, window_of(view, leaf))
        for name in dict.fromkeys(leaf.column for leaf in leaves if leaf.column is not None):
            by_column.setdefault(name, []).append((queries, [leaf for leaf in leaves if leaf.column == name]))
    for name, column in values.columns(by_column):
        for queries, leaves in by_column[name]:
            found.update(queries.of_column(column, {leaf: window_of(view, leaf) for leaf in leaves}))
    return layout.columns(found)


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
    _picks: dict[tuple[str, Window], Picks] = field(default_factory=dict)

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

    def of_rows(self, leaf: Aggregation, window: Window) -> tuple[Array, ...]:
        """Return the stored columns of an aggregation without a column: of count, decayed_count or since_last."""
        if leaf.kind == "count":
            return (self.counts(window),)
        if leaf.kind == "since_last":
            return tuple(self._by_part(lambda cut: [cut.last_times(window)], [np.nan]))
        return tuple(self._by_part(lambda cut: decayed(cut, [leaf], window, None), [0.0, 0.0]))

    def of_column(self, column: Column, windows: Mapping[Aggregation, Window]) -> dict[Aggregation, tuple[Array, ...]]:
        """Return the stored columns of aggregations of one column."""
        found: dict[Aggregation, tuple[Array, ...]] = {}
        summed = {leaf: window for leaf, window in windows.items() if leaf.kind in SUMMARIES}
        whole = column.whole() if any(leaf.kind in (*SUMMARIES, *SWEPT) for leaf in windows) else None
        if summed and whole is not None:
            found.update((leaf, (values,)) for leaf, values in self.summaries(whole, summed).items())
        codes = column.codes() if any(leaf.kind == "distinct" for leaf in windows) else None
        together: dict[tuple[str, Window, float | None], list[Aggregation]] = {}
        for leaf, window in windows.items():
            if leaf.kind in PICKS:
                found[leaf] = (column.pick(self.picked(leaf.kind, window)),)
            elif leaf.kind == "distinct" and codes is not None:
                found[leaf] = tuple(self._by_part(partial(_distinct, codes, window), [0.0]))
            elif leaf.kind in SWEPT:
                sweep = ("decayed", window, leaf.arg) if leaf.kind in DECAYED else (leaf.kind, window, None)
                together.setdefault(sweep, []).append(leaf)
        for (_, window, _), leaves in together.items():
            assert whole is not None
            widths = [width_of(leaf) for leaf in leaves]
            columns = iter(self._by_part(partial(_swept, whole, leaves, window), [np.nan] * sum(widths)))
            found.update((leaf, tuple(islice(columns, width))) for leaf, width in zip(leaves, widths, strict=True))
        return found

    def picked(self, kind: str, window: Window) -> Picks:
        """Return the last or first row known for each query, if it has not left the window."""
        if (kind, window) not in self._picks:
            rows = np.full(self.count, -1)
            for places, cut in self.parts:
                rows[places] = cut.last(window) if kind == "last" else cut.first(window)
            rows = self._as_asked(rows)
            order = np.argsort(rows)
            self._picks[kind, window] = Picks(order, rows[order])
        return self._picks[kind, window]

    def _by_part(self, values: Callable[[Cut], list[Array]], nothing: Sequence[float]) -> list[Array]:
        """Return columns that are computed part by part. nothing: the value of each for an entity without rows."""
        columns = [np.full(self.count, value) for value in nothing]
        for places, cut in self.parts:
            for column, found in zip(columns, values(cut), strict=True):
                column[places] = found
        return [self._as_asked(column) for column in columns]

    def summaries(self, column: Array, windows: Mapping[Aggregation, Window]) -> dict[Aggregation, Array]:
        """Return aggregations of numbers, NaN where no value counts. column: by index in the table."""
        found = {aggregation: np.full(self.count, np.nan) for aggregation in windows}
        for places, cut in self.parts:
            summary = Summary(cut, column[cut.lines.rows], windows)
            for aggregation in windows:
                found[aggregation][places] = summary.value(aggregation)
        return {aggregation: self._as_asked(values) for aggregation, values in found.items()}

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
        return np.append(self.lines.rows, -1)[self._last_places(window)]

    def last_times(self, window: Window) -> Array:
        """Return the timestamp of that row (microseconds, float64), NaN for none."""
        return np.append(self.lines.times.astype(np.float64), np.nan)[self._last_places(window)]

    def _last_places(self, window: Window) -> Array:
        place, first = self._latest, 0 if window is None else self.begins(window)
        return np.where(place >= first, place, -1)

    def first(self, window: Window) -> Array:
        """Return the index in the table of the first row known that has not left the window; -1 for none."""
        lines, begins = self.lines, self.begins(window)
        if lines.known_order is None:
            places = np.where(begins < self.ends, begins, -1)
        else:
            every = np.arange(len(lines.rows), dtype=np.float64)
            (found,) = late_minima(every, lines.known_order, lines.starts, self.entities, self.ends, [begins])
            places = np.where(np.isinf(found), -1, found).astype(np.int64)
        return np.append(lines.rows, -1)[places]


def _distinct(codes: Array, window: Window, cut: Cut) -> list[Array]:
    return [distinct_counts(cut, codes[cut.lines.rows], window)]


def _swept(column: Array, leaves: Sequence[Aggregation], window: Window, cut: Cut) -> list[Array]:
    compute = {"quantile": quantiles, "std": deviations}.get(leaves[0].kind, decayed)
    return compute(cut, leaves, window, column[cut.lines.rows])


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
