"""Cuts the rows of a table into windows: by time, or by their place in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNUSED = np.iinfo(np.int64).min
"""Window of rows that belong to none."""


class RowWindows(Protocol):
    """Gives each row its window."""

    def of(self, first: int, times: Ints | None, rows: int) -> Ints:
        """Return the window of some rows: `first` is the place of the first one, `times` are microseconds [rows]."""
        ...


@dataclass(frozen=True)
class TimeWindows:
    """Windows `[k size, (k + 1) size)` of microseconds since the epoch; the window is k."""

    size: int

    def of(self, first: int, times: Ints | None, rows: int) -> Ints:
        """Return k of each row."""
        assert times is not None
        return times // self.size


@dataclass(frozen=True)
class RowBlocks:
    """`count` windows of `rows` consecutive rows, spread evenly over `total` rows; the window is its place."""

    total: int
    rows: int
    count: int

    def __post_init__(self) -> None:
        """Refuse windows that would overlap."""
        assert self.rows * self.count <= self.total, f"{self.count} x {self.rows} rows do not fit {self.total}"

    @property
    def starts(self) -> Ints:
        """First row of each window."""
        spare = self.total - self.rows * self.count
        return np.arange(self.count) * self.rows + np.arange(self.count) * spare // max(self.count - 1, 1)

    def of(self, first: int, times: Ints | None, rows: int) -> Ints:
        """Return the window of each row, UNUSED for rows between two windows."""
        places = np.arange(first, first + rows)
        starts = self.starts
        window = np.searchsorted(starts, places, "right") - 1
        inside = (window >= 0) & (places < starts[np.maximum(window, 0)] + self.rows)
        return np.where(inside, window, UNUSED)


@dataclass(frozen=True)
class GivenBlocks:
    """Consecutive windows of known rows each; the window is its place."""

    rows: tuple[int, ...]

    def of(self, first: int, times: Ints | None, rows: int) -> Ints:
        """Return the window of each row."""
        return np.searchsorted(np.cumsum(self.rows), np.arange(first, first + rows), "right")


@dataclass(frozen=True)
class OneWindow:
    """All rows in window 0."""

    def of(self, first: int, times: Ints | None, rows: int) -> Ints:
        """Return zeros."""
        return np.zeros(rows, np.int64)
