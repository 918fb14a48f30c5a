"""Sums, means and extremes of the numbers that count for some (entity, moment) pairs. Used by queries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from trimtab.definitions import Aggregation
from trimtab.features.cuts import Cut
from trimtab.features.exact_sums import Range, range_sums
from trimtab.features.extremes import NOTHING, late_minima, range_minima
from trimtab.features.kinds import Array
from trimtab.features.windows import Window


class Summary:
    """Sums and extremes of one column, given by place; null, NaN and infinities do not count."""

    def __init__(self, cut: Cut, column: Array, windows: Mapping[Aggregation, Window]) -> None:
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
            found = late_minima(values, order, cut.lines.starts, cut.entities, cut.ends, begins)
        return dict(zip(windows, found, strict=True))

    def _asked(self, *kinds: str) -> list[Window]:
        return list(dict.fromkeys(window for a, window in self._windows.items() if a.kind in kinds))
