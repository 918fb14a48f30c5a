"""Puts the rows of a view in order of entity and time, and finds the positions that belong to a given time.

A row has timestamp ts and effective time e = max(ts, known at). It counts at time t from e <= t on, until
ts <= t - window. So the rows that count for (entity, t) are the first ones in order of e, less the first ones in order
of ts; if both orders are the same, they are a range.
For a view with window_by="known_at", `view_rows` passes e as ts and the timestamp as known, so a row stops counting
when e <= t - window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trimtab.features.value_types import Array


@dataclass(frozen=True)
class EntityRows:
    """Rows of m entities, sorted by (entity, ts, known, table order), from which `part` makes timelines.

    order: index of each row in `times` and `known` (microseconds), by place. starts: first place of each entity,
    shape (m + 1,). chosen: index in the table of each row of `times`, rising; None: all rows of the table.
    """

    order: Array
    starts: Array
    times: Array
    known: Array
    chosen: Array | None

    @classmethod
    def of(
        cls, entities: Array, entity_count: int, times: Array, known: Array, chosen: Array | None = None
    ) -> EntityRows:
        """Sort rows. entities: int64 from 0 to entity_count - 1. known: may be the same object as `times`."""
        counts = np.bincount(entities, minlength=entity_count)
        return cls(in_order(entities, times, known), np.concatenate([[0], np.cumsum(counts)]), times, known, chosen)

    def only(self, kept: Array) -> EntityRows:
        """Return the rows where `kept`, bool by index in the table, is True; entities keep their numbers."""
        stays = kept[self.order if self.chosen is None else self.chosen[self.order]]
        before = np.concatenate([[0], np.cumsum(stays)])
        return EntityRows(self.order[stays], before[self.starts], self.times, self.known, self.chosen)

    def part(self, first: int, end: int) -> Timelines:
        """Return the timelines of the entities from `first` to `end` - 1, renumbered from 0."""
        order = self.order[self.starts[first] : self.starts[end]]
        times = self.times[order]
        known = times if self.known is self.times else self.known[order]
        return Timelines.of(
            order if self.chosen is None else self.chosen[order],
            self.starts[first : end + 1] - self.starts[first],
            times,
            known,
        )


@dataclass(frozen=True)
class Timelines:
    """n rows of m entities; the place of a row is its rank in order of (entity, ts, known, table order).

    rows: index in the table by place. starts: first place of each entity, (m + 1,). known_order: places in order of
    (entity, e), or None when that is the order of places. delays: e - ts by place, empty when known_order is None.
    times, effective: ts and e by place.
    """

    rows: Array
    starts: Array
    known_order: Array | None
    delays: Array
    times: Array
    effective: Array
    _by_time: Segments
    _by_known: Segments

    @classmethod
    def of(cls, rows: Array, starts: Array, times: Array, known: Array) -> Timelines:
        """Make timelines of sorted rows. known: may be the same object as `times`."""
        count = len(starts) - 1
        entities = np.repeat(np.arange(count), np.diff(starts))
        by_time = Segments(entities, times, count)
        nothing = np.zeros(0, dtype=np.int64)
        if known is times:
            return cls(rows, starts, None, nothing, times, times, by_time, by_time)
        effective = np.maximum(times, known)
        if bool(np.all((effective[1:] >= effective[:-1]) | (entities[1:] != entities[:-1]))):
            return cls(rows, starts, None, nothing, times, effective, by_time, Segments(entities, effective, count))
        known_order = in_order(entities, effective, effective)
        by_known = Segments(entities, effective[known_order], count)
        return cls(rows, starts, known_order, effective - times, times, effective, by_time, by_known)

    def known_until(self, entities: Array, at: Array) -> Array:
        """Return for each (entity, t) the end of the entity's rows with e <= t, in known_order."""
        return self._by_known.end(entities, at)

    def older_than(self, entities: Array, at: Array, window: int | None) -> Array:
        """Return for each (entity, t) the end of the entity's rows with ts <= t - window, by place."""
        return self.starts[entities] if window is None else self._by_time.end(entities, at - window)

    def latest(self, known_end: Array, entities: Array) -> Array:
        """Return the place of the row with the greatest (ts, known, order) of those known, or -1."""
        found = known_end - 1
        if self.known_order is not None:
            found = np.append(np.maximum.accumulate(self.known_order), -1)[found]
        return np.where(known_end > self.starts[entities], found, -1)


class Segments:
    """Sorted times of several entities in one array, with one binary search for many (entity, time) pairs.

    Each pair is one integer: the entity's number in the high bits, the time's offset in the low ones (its rank, if
    the offset needs too many bits).
    """

    def __init__(self, entities: Array, moments: Array, entity_count: int) -> None:
        """Combine entities and times, which are sorted by both."""
        self._least = int(moments.min(initial=np.iinfo(np.int64).max))
        self._most = max(int(moments.max(initial=0)), self._least)
        self._ranks: Array | None = None
        self._bits = (self._most - self._least + 1).bit_length()
        if self._bits + entity_count.bit_length() > 62:
            self._ranks = np.unique(moments)
            self._bits = (len(self._ranks) + 1).bit_length()
        self._keys = self._combine(entities, moments)

    def end(self, entities: Array, moments: Array) -> Array:
        """Return for each (entity, time) the place after the entity's last row at or before the time.

        Fastest for sorted queries.
        """
        return np.searchsorted(self._keys, self._combine(entities, moments), side="right")

    def _combine(self, entities: Array, moments: Array) -> Array:
        if self._ranks is not None:
            offsets = np.searchsorted(self._ranks, moments, side="right")
        else:
            offsets = np.clip(moments, self._least - 1, self._most)
            offsets -= self._least - 1
        keys: Array = entities << self._bits
        keys |= offsets
        return keys


def in_order(entities: Array, times: Array, known: Array) -> Array:
    """Return the indices that sort rows by (entity, time, known, index). known: may be the same object as `times`."""
    rising = times[1:] >= times[:-1]
    if known is not times:
        rising &= (times[1:] != times[:-1]) | (known[1:] >= known[:-1])
    if bool(rising.all()):  # the usual case: the table is sorted
        return _stable_order(entities)
    order = np.argsort(times, kind="stable") if known is times else np.lexsort((known, times))
    return order[_stable_order(entities[order])]


def _stable_order(entities: Array) -> Array:
    """Return a stable argsort, 16 bits at a time: NumPy sorts uint16 by radix, several times as fast as int64."""
    order = np.argsort((entities & 0xFFFF).astype(np.uint16), kind="stable")
    bits = 16
    while int(entities.max(initial=0)) >> bits:
        digits = ((entities[order] >> bits) & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(digits, kind="stable")]
        bits += 16
    return order
