"""Where the values of a view stand: the part of the table that is taken in, and when they were brought up to date."""

from __future__ import annotations

import msgspec

from trimtab.stores.online.contract import Online
from trimtab.units import MICROS

FORMAT = 1
KEY = b"p"
"""Key of the position in the state of a view."""
GAP, MOST_GAPS = MICROS["m"], 500
"""Longest time between two steps (microseconds) that is not remembered, and how many longer ones are."""


class Position(msgspec.Struct, frozen=True):
    """What is taken in: the first `rows` rows of the table, as far as they are known.

    due: when the next of them becomes known or counts, NEVER for none. horizon: that of entities that have values, but
    no recent rows. types: the columns that features read, with their types. version: of the table, as the caller
    numbers them. gaps: the last stretches of more than GAP between two steps; in each the values were of its beginning.
    """

    rows: int
    due: int
    horizon: int
    types: dict[str, str]
    version: int = -1
    gaps: tuple[tuple[int, int], ...] = ()
    format: int = FORMAT

    def age(self, watermark: int, start: int, end: int) -> int:
        """Return the greatest age of the values in a stretch of time, microseconds; 0 for less than GAP."""
        gaps = (*self.gaps, (watermark, end))
        return max((age for at, to in gaps if to > start and at < end and (age := min(to, end) - at) > GAP), default=0)

    def after(self, watermark: int, until: int) -> tuple[tuple[int, int], ...]:
        """Return the gaps when a step follows at `until`."""
        return self.gaps if until - watermark <= GAP else (*self.gaps, (watermark, until))[-MOST_GAPS:]

    def pack(self) -> bytes:
        """Return the bytes that are stored."""
        return msgspec.msgpack.encode(self)


def read_position(online: Online, view: str) -> Position | None:
    """Return the position of a view version, None when there is no state."""
    (stored,) = online.state(view, [KEY])
    if stored is None:
        return None
    position = msgspec.msgpack.decode(stored, type=Position)
    return position if position.format == FORMAT else None
