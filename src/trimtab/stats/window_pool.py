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
    """Several windows: rows [w], cumulated counts of ordered columns [w, o, 35], counts of categories [w, c, 35]."""

    rows: Floats
    ordered: Floats
    category: Floats


class WindowPool:
    """Windows of one set of schemes. Counts are whole numbers held as floats: sums are exact up to 2**53."""

    def __init__(self, schemes: Mapping[str, Bins]) -> None:
        if not schemes:
            raise DataError("no columns to watch: expected a scheme for at least one column")
        ordered = [name for name, bins in schemes.items() if isinstance(bins, NumericBins)]
        category = [name for name in schemes if name not in ordered]
        self.names = (*ordered, *category)
        """Ordered columns first: the order of all results per column."""
        self.schemes = {name: schemes[name] for name in self.names}
        self.ordered = len(ordered)
        self.size = 0
        self._rows = np.zeros(0)
        self._ordered = np.zeros((0, len(ordered), SLOTS))
        self._category = np.zeros((0, len(category), SLOTS))
        self.correlations = Correlations(self.schemes)
        self._sums: list[Ints | None] = []
        self._transforms = np.zeros((0, self.correlations.size))
        self._total = np.zeros((len(schemes), SLOTS), np.int64)

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
        self._sums.append(window.sums)
        self._total += window.counts
        self.size += 1

    def cells(self) -> Cells:
        """Return the pool."""
        return self._first(self.size)

    def cells_with(self, window: Encoded) -> Cells:
        """Return the pool and, as its last row, a window that does not join it. Valid until the next call."""
        self._place(window)
        return self._first(self.size + 1)

    def totals(self) -> tuple[int, Ints]:
        """Return rows and counts [columns, 35] of the whole pool."""
        return int(self._rows[: self.size].sum()), self._total.copy()

    def transforms(self) -> tuple[Floats, Floats]:
        """Return rows [w] and Fisher's transforms of correlations [w, pairs] of the windows that have them."""
        having = np.isfinite(self._transforms[: self.size]).all(axis=1)
        return self._rows[: self.size][having], self._transforms[: self.size][having]

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold; `restore` reads it back into a table of the same schemes."""
        cells = self.cells()
        counts = np.concatenate([np.diff(cells.ordered, prepend=0), cells.category], axis=1)
        return {
            "rows": cells.rows.astype(np.int64).tolist(),
            "counts": pack(counts.astype(np.int64)),
            "sums": [None if sums is None else pack(sums) for sums in self._sums],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Append the windows of a state."""
        counts = unpack(state["counts"]).reshape(-1, len(self.names), SLOTS)
        for rows, window, sums in zip(state["rows"], counts, state["sums"], strict=True):
            self.append(Encoded(rows, window, None if sums is None else unpack(sums)))

    def _first(self, size: int) -> Cells:
        return Cells(self._rows[:size], self._ordered[:size], self._category[:size])

    def _place(self, window: Encoded) -> None:
        if self.size == len(self._rows):
            grow = max(64, self.size)
            self._rows = np.concatenate([self._rows, np.zeros(grow)])
            self._ordered = np.concatenate([self._ordered, np.zeros((grow, *self._ordered.shape[1:]))])
            self._category = np.concatenate([self._category, np.zeros((grow, *self._category.shape[1:]))])
            self._transforms = np.concatenate([self._transforms, np.zeros((grow, self.correlations.size))])
        self._rows[self.size] = window.rows
        self._transforms[self.size] = self.correlations.transforms(window.sums, window.rows)
        self._ordered[self.size] = window.counts[: self.ordered].cumsum(axis=1)
        self._category[self.size] = window.counts[self.ordered :]


def pack(counts: Ints) -> str:
    """Return counts as short text: little-endian int64, deflated, base64."""
    return base64.b64encode(zlib.compress(counts.astype("<i8").tobytes(), 1)).decode()


def unpack(text: str) -> Ints:
    """Return the flat counts that `pack` wrote."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8").astype(np.int64)
