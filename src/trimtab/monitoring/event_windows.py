"""Event-time windows: which window a row belongs to, and when a window has all its rows.

Windows are [k * size, (k + 1) * size) since the epoch. The watermark is the largest event time seen so far. A row
whose window was closed by an earlier row (its end and the allowed lateness lie behind the watermark) is late and
left out. That depends on the order of rows in the log alone, never on how many of them are read at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.units import MICROS

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

BEGINNING = np.iinfo(np.int64).min // 4
"""Before every event time."""


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of event time in microseconds, from one window or several merged ones."""

    start: int
    end: int
    windows: int
    """Windows in it that had rows."""

    def days(self, size: int) -> float:
        """Return how many days of traffic it holds."""
        return self.windows * size / MICROS["d"]


@dataclass(frozen=True)
class Windowing:
    """How event time is cut. size and lateness in microseconds."""

    size: int
    lateness: int

    def number(self, times: Ints) -> Ints:
        """Return k of each event time."""
        return times // self.size

    def in_time(self, times: Ints, watermark: int) -> tuple[Mask, int]:
        """Return which rows, in the order of the log, come before their window closed, and the new watermark."""
        seen = np.maximum.accumulate(np.concatenate([[watermark], times]))
        return (self.number(times) + 1) * self.size + self.lateness > seen[:-1], int(seen[-1])

    def closed(self, number: int, watermark: int) -> bool:
        """Return True if window k can get no more rows."""
        return (number + 1) * self.size + self.lateness <= watermark

    def span(self, numbers: list[int]) -> Span:
        """Return the span of some windows, oldest first."""
        return Span(numbers[0] * self.size, (numbers[-1] + 1) * self.size, len(numbers))


def split(numbers: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each window number with the positions of its rows, in the order of the log; oldest window first."""
    if not len(numbers):
        return
    if numbers[0] == numbers[-1] and (numbers == numbers[0]).all():
        yield int(numbers[0]), np.arange(len(numbers))
        return
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=numbers[order[0]] - 1))
    for rows in np.split(order, starts[1:]):
        yield int(numbers[rows[0]]), rows
