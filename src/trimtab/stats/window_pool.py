"""The pool of windows as arrays, ready to be scored together."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from trimtab.errors import DataError, nearest
from trimtab.stats.correlations import ENTRY, Correlations
from trimtab.stats.profile import WindowProfile
from trimtab.stats.schemes import ABOVE, BELOW, OTHER, SLOTS, Bins, Floats, Ints, NumericBins


class Encoded(NamedTuple):
    """One window: its rows, its counts, int64 [columns, 35], ordered columns first, and its sums of correlations."""

    rows: int
    counts: Ints
    sums: Ints | None = None
    """None when the window was profiled without them, or for other columns."""


class Cells(NamedTuple):
    """Shares of w windows."""

    rows: Floats
    """[w]"""
    ordered: Floats
    """Cumulated shares of ordered columns, [35, o, w]."""
    category: Floats
    """Shares of categories, [35, c, w]."""
    total: Ints
    """Counts of all of them together, [o + c, 35]."""

    def total_shares(self) -> tuple[Floats, Floats]:
        """Return the shares of all windows together: cumulated ones [35, o], and those of categories [35, c]."""
        o, rows = self.ordered.shape[1], self.rows.sum()
        return self.total[:o].cumsum(axis=1).T / rows, self.total[o:].T / rows


class WindowPool:
    """Windows of one set of schemes."""

    def __init__(self, schemes: Mapping[str, Bins]) -> None:
        if not schemes:
            raise DataError("no columns to watch: expected a scheme for at least one column")
        ordered = [name for name, bins in schemes.items() if isinstance(bins, NumericBins)]
        category = [name for name in schemes if name not in ordered]
        self.names = (*ordered, *category)
        """Ordered columns first: the order of all results per column."""
        self.schemes = {name: schemes[name] for name in self.names}
        self.ordered = len(ordered)
        self._windows: list[Encoded] = []
        self._rows = np.zeros(0)
        self._ordered = np.zeros((SLOTS, len(ordered), 0))
        self._category = np.zeros((SLOTS, len(category), 0))
        self.correlations = Correlations(self.schemes)
        self._transforms = np.zeros((0, self.correlations.size))
        self._with_sums = np.zeros(0, np.bool_)
        self._total = np.zeros((len(schemes), SLOTS), np.int64)

    @property
    def size(self) -> int:
        """How many windows there are."""
        return len(self._windows)

    def encode(self, window: WindowProfile, *, reference: bool = False) -> Encoded:
        """Return the window as counts; raises DataError when a column is absent or of another scheme.

        A category that stands in one reference window alone is unseen from where all the others look, as a new
        category is for a new window; for any other window it is one of the "other" categories.
        """
        absent = [name for name in self.names if name not in window]
        if absent:
            raise DataError(f"the window has no profile of column '{absent[0]}'.{nearest(absent[0], window)}")
        for name, bins in self.schemes.items():
            if window[name].scheme != bins.fingerprint:
                raise DataError(
                    f"column '{name}' was profiled with scheme {window[name].scheme}, expected {bins.fingerprint}: "
                    "profile it with the reference scheme of the same model version"
                )
        rows = {window[name].n for name in self.names}
        if len(rows) > 1:
            raise DataError(f"columns of one window have different row counts ({min(rows)} to {max(rows)})")
        counts = np.array([window[name].counts for name in self.names], np.int64)
        category = counts[self.ordered :]
        category[:, BELOW if reference else OTHER] += category[:, ABOVE]
        category[:, ABOVE] = 0
        pairs = window.get(ENTRY)
        known = pairs is not None and pairs.scheme == self.correlations.fingerprint
        return Encoded(rows.pop(), counts, np.array(pairs.counts, np.int64) if pairs is not None and known else None)

    def append(self, window: Encoded) -> None:
        """Let a window join the pool."""
        self._place(window)
        self._windows.append(window)
        self._total += window.counts

    def cells(self) -> Cells:
        """Return the pool."""
        return self._first(self.size, self._total)

    def cells_with(self, window: Encoded) -> Cells:
        """Return the pool and, as its last row, a window that does not join it. Valid until the next call."""
        self._place(window)
        return self._first(self.size + 1, self._total + window.counts)

    def totals(self) -> tuple[int, Ints]:
        """Return rows and counts [columns, 35] of the whole pool."""
        return int(self._rows[: self.size].sum()), self._total.copy()

    def transforms(self) -> tuple[Floats, Floats]:
        """Return rows [w] and Fisher's transforms of correlations [w, pairs] of the windows that have them."""
        return self._having(self.size)

    def transforms_with(self) -> tuple[Floats, Floats]:
        """Return the same with, as the last row, the window of the last `cells_with`. Valid until the next call."""
        return self._having(self.size + 1)

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold; `restore` reads it back into a table of the same schemes."""
        return {
            "rows": [window.rows for window in self._windows],
            "counts": pack(np.array([window.counts for window in self._windows], np.int64)),
            "sums": [None if window.sums is None else pack(window.sums) for window in self._windows],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Append the windows of a state."""
        counts = unpack(state["counts"]).reshape(-1, len(self.names), SLOTS)
        for rows, window, sums in zip(state["rows"], counts, state["sums"], strict=True):
            self.append(Encoded(rows, window, None if sums is None else unpack(sums)))

    def _first(self, size: int, total: Ints) -> Cells:
        return Cells(self._rows[:size], self._ordered[..., :size], self._category[..., :size], total)

    def _having(self, size: int) -> tuple[Floats, Floats]:
        having = self._with_sums[:size]
        rows, transforms = self._rows[:size], self._transforms[:size]
        return (rows, transforms) if having.all() else (rows[having], transforms[having])

    def _place(self, window: Encoded) -> None:
        if self.size == len(self._rows):
            grow = max(64, self.size)
            self._rows = np.concatenate([self._rows, np.zeros(grow)])
            self._ordered, self._category = (
                np.concatenate([shares, np.zeros((*shares.shape[:2], grow))], axis=2)
                for shares in (self._ordered, self._category)
            )
            self._transforms = np.concatenate([self._transforms, np.zeros((grow, self.correlations.size))])
            self._with_sums = np.concatenate([self._with_sums, np.zeros(grow, np.bool_)])
        self._rows[self.size] = window.rows
        self._with_sums[self.size] = window.sums is not None
        if window.sums is not None:
            self._transforms[self.size] = self.correlations.transforms(window.sums, window.rows)
        rows = max(window.rows, 1)
        self._ordered[..., self.size] = window.counts[: self.ordered].cumsum(axis=1).T / rows
        self._category[..., self.size] = window.counts[self.ordered :].T / rows


def pack(counts: Ints) -> str:
    """Return counts as short text: little-endian int64, deflated, base64."""
    return base64.b64encode(zlib.compress(counts.astype("<i8").tobytes(), 1)).decode()


def unpack(text: str) -> Ints:
    """Return the flat counts that `pack` wrote."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8").astype(np.int64)
