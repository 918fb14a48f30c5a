"""Computes all aggregations of a view for (entity, moment) pairs from its rows. Used by point_in_time.

One function for training sets, materialised timelines and stand-alone joins: there is no second definition of a
feature that could differ from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Protocol

import numpy as np

from trimtab.definitions import Aggregation, FeatureView
from trimtab.features.exact_sums import Range, range_sums
from trimtab.features.extremes import NOTHING, range_minima, staircase_minima
from trimtab.features.kinds import Array
from trimtab.features.timelines import Timelines, in_order

Window = int | None


class Values(Protocol):
    """Columns of the source as float64 by index in the table, NaN for null."""

    def columns(self, names: Iterable[str]) -> Iterable[tuple[str, Array]]:
        """Return each column once, in any order."""
        ...


def window_of(view: FeatureView, aggregation: Aggregation) -> Window:
    """Return the microseconds after which a row no longer counts: the lesser of window and ttl, None for never."""
    lengths = [length for length in (aggregation.window, view.ttl_micros) if length is not None]
    return min(lengths, default=None)


def floor_to(moments: Array, every: int | None) -> Array:
    """Return moments cut down to a multiple of `every` since the epoch."""
    return moments if every is None else moments - moments % every


def aggregate(view: FeatureView, lines: Timelines, values: Values, entities: Array, at: Array) -> Mapping[str, Array]:
    """Return the view's features at (entity, t), by aggregation name: float64, NaN for null, shape (queries,).

    entities: numbers as in `lines`; the one behind the last is nobody. at: int64 microseconds.
    """
    order = in_order(entities, at, at)
    ordered = _rising(order)
    if not ordered:
        entities, at = entities[order], at[order]
    cut = _Cut(lines, entities, floor_to(at, view.every_micros))
    found: dict[str, Array] = {}
    by_column: dict[str, list[Aggregation]] = {}
    for aggregation in view.aggregations:
        if aggregation.column is None:
            found[aggregation.name] = cut.counts(window_of(view, aggregation)).astype(np.float64)
        else:
            by_column.setdefault(aggregation.column, []).append(aggregation)
    for name, column in values.columns(by_column):
        wanted = by_column[name]
        lasts = [a for a in wanted if a.kind == "last"]
        numbers = [a for a in wanted if a.kind != "last"]
        for aggregation in lasts:
            found[aggregation.name] = cut.last(column, window_of(view, aggregation))
        if numbers:
            summary = _Summary(cut, column[lines.rows], {a: window_of(view, a) for a in numbers})
            found.update((a.name, summary.value(a)) for a in numbers)
    if not ordered:
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        for name in found:
            found[name] = np.take(found[name], place, mode="clip")  # the fastest of numpy's gathers
    return {a.name: found[a.name] for a in view.aggregations}


class _Cut:
    """What the queries cut out of the timelines: positions, shared by all columns."""

    def __init__(self, lines: Timelines, entities: Array, at: Array) -> None:
        self.lines = lines
        self.entities = entities
        self.at = at
        self.ends = lines.known_until(entities, at)
        self._begins: dict[Window, Array] = {}
        self._counts: dict[Window, Array] = {}

    def begins(self, window: Window) -> Array:
        """End of the rows that have left the window, by place."""
        if window not in self._begins:
            begins = self.lines.older_than(self.entities, self.at, window)
            if self.lines.known_order is None:
                begins = np.minimum(begins, self.ends)  # rows that leave before they are known
            self._begins[window] = begins
        return self._begins[window]

    def late(self, window: Window) -> Array | None:
        """Rows that are not known before they leave the window, by place; they never count. None: no such rows.

        Only asked of timelines whose two orders differ.
        """
        if window is None:
            return None
        late: Array = self.lines.delays >= window
        return late if bool(late.any()) else None

    def counts(self, window: Window) -> Array:
        """Number of rows that count."""
        if window not in self._counts:
            self._counts[window] = self.count_of(None, window)
        return self._counts[window]

    def count_of(self, present: Array | None, window: Window) -> Array:
        """Number of rows that count and are present (by place; None: all)."""
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
    def latest(self) -> Array:
        """Place of the last row known, -1 for none."""
        return self.lines.latest(self.ends, self.entities)

    @cached_property
    def _latest_rows(self) -> Array:
        return self.lines.rows[self.latest]

    def last(self, column: Array, window: Window) -> Array:
        """Value of the last row known, if it has not left the window."""
        if len(self.lines.rows) == 0:
            return np.full(len(self.ends), np.nan)
        values = column[self._latest_rows]
        values[self.latest < (0 if window is None else self.begins(window))] = np.nan
        return values


class _Summary:
    """Sums and extremes of one column, given by place; null, NaN and infinities do not count."""

    def __init__(self, cut: _Cut, column: Array, windows: Mapping[Aggregation, Window]) -> None:
        self._cut = cut
        self._windows = windows
        self._finite = np.isfinite(column)
        self._complete = bool(self._finite.all())
        self._column = column

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
        cut = self._cut
        if self._complete:
            return cut.counts(window)
        if window not in self._counts:
            self._counts[window] = cut.count_of(self._finite, window)
        return self._counts[window]

    @cached_property
    def _counts(self) -> dict[Window, Array]:
        return {}

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
            found = staircase_minima(values, order, cut.lines.starts, cut.entities, cut.ends, begins)
        return dict(zip(windows, found, strict=True))

    def _asked(self, *kinds: str) -> list[Window]:
        return list(dict.fromkeys(window for a, window in self._windows.items() if a.kind in kinds))


def _running(present: Array) -> Array:
    counts = np.zeros(len(present) + 1, dtype=np.int64)
    np.cumsum(present, out=counts[1:])
    return counts


def _rising(order: Array) -> bool:
    return bool(np.all(order[1:] > order[:-1]))
