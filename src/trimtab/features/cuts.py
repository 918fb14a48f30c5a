"""What (entity, moment) pairs cut out of timelines: positions and counts, shared by all columns. Used by queries."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from trimtab.features.kinds import Array
from trimtab.features.timelines import Timelines
from trimtab.features.windows import Window


class Cut:
    """Positions of the first and last rows that count, for entities and moments in order of both."""

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
    def _latest(self) -> Array:
        return self.lines.latest(self.ends, self.entities)

    def last(self, window: Window) -> Array:
        """Index in the table of the last row known, if it has not left the window; -1 for none."""
        place, first = self._latest, 0 if window is None else self.begins(window)
        return np.where(place >= first, np.append(self.lines.rows, -1)[place], -1)


def _running(present: Array) -> Array:
    counts = np.zeros(len(present) + 1, dtype=np.int64)
    np.cumsum(present, out=counts[1:])
    return counts
