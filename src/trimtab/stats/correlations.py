"""How columns of a window go together: mergeable sums of products of pairs of ordered columns.

A change of how columns relate need not show in any column alone. Each value becomes a level: its distance from the
middle of the reference in widths of its middle half, u, pressed into u / (1 + |u|) and rounded to one of 63 whole
numbers. So outliers have a bounded say, a missing value is the middle, and sums are whole numbers: they merge in any
order to the same bits. From the sums of levels, of their squares and of their products follow the correlations.

The sums are one more entry of a window's profile, under the name ENTRY.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.stats.profile import ColumnProfile
from trimtab.stats.schemes import Bins, Floats, Ints, NumericBins

ENTRY = "(correlations)"
"""Name of the entry in a window's profile; no column can have it."""
MOST_PAIRS = 300
"""Pairs of a wider table (more than 25 ordered columns): those nearest to each other in the order of its columns."""
LEVELS = 31
# Products of so many rows add up exactly in float32, which multiplies matrices fastest: 31 * 31 * 16,384 < 2**24.
BLOCK_ROWS = 16_384
# Fisher's transform of a correlation of 1 is infinite.
LARGEST = 0.9999


class Correlations:
    """The pairs of ordered columns of some schemes; counts their sums, and reads correlations from such sums.

    >>> x = np.random.default_rng(0).normal(size=(2_000, 2))
    >>> schemes = {"a": NumericBins.from_reference(x[:, 0]), "b": NumericBins.from_reference(x[:, 1])}
    >>> pairs = Correlations(schemes)
    >>> same = pairs.profile({"a": x[:, 0], "b": x[:, 0]})
    >>> pairs.names, pairs.of(np.array([same.counts]), np.array([same.n])).round(2).tolist()
    (('a', 'b'), [[1.0]])
    """

    def __init__(self, schemes: Mapping[str, Bins]) -> None:
        ordered = {name: bins for name, bins in schemes.items() if isinstance(bins, NumericBins) and bins.sd > 0}
        self.names = tuple(ordered)
        """Ordered columns that vary."""
        self._bins = tuple(ordered.values())
        d = len(ordered)
        near = sorted((b - a, a, b) for a in range(d) for b in range(a + 1, d))[:MOST_PAIRS]
        self.first = np.array([a for _, a, _ in near], np.int64)
        self.second = np.array([b for _, _, b in near], np.int64)
        """Places of the two columns of each pair, [pairs]."""
        limits = [_middle(bins) for bins in self._bins]
        self._centre = np.array([centre for centre, _ in limits])
        self._width = np.array([width for _, width in limits])

    @property
    def size(self) -> int:
        """How many pairs there are."""
        return len(self.first)

    @cached_property
    def fingerprint(self) -> str:
        """Short hash: sums merge and compare only for equal columns and schemes."""
        about = [*self.names, *(bins.fingerprint for bins in self._bins)]
        return hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]

    def profile(self, columns: Mapping[str, npt.ArrayLike]) -> ColumnProfile:
        """Return the sums of a window's rows. columns: values by name, each [rows]; raises KeyError without one."""
        return self.profile_matrix(np.column_stack([np.asarray(columns[name], np.float64) for name in self.names]))

    def profile_matrix(self, values: npt.NDArray[Any]) -> ColumnProfile:
        """Return the sums of a window's rows; values are [rows, columns], in the order of `names`."""
        sums, products = np.zeros(len(self.names)), np.zeros((len(self.names),) * 2)
        for start in range(0, len(values), BLOCK_ROWS):
            levels = self._levels(values[start : start + BLOCK_ROWS])
            sums += levels.sum(axis=0)
            products += levels.T @ levels
        counts = np.concatenate([sums, products.diagonal(), products[self.first, self.second]])
        return ColumnProfile("correlations", self.fingerprint, tuple(counts.astype(np.int64).tolist()), len(values))

    def of(self, sums: Ints, rows: Ints | Floats) -> Floats:
        """Return the correlation of each pair, [w, pairs]; sums are [w, 2 columns + pairs], rows [w].

        0 where a column does not vary.
        """
        d = len(self.names)
        n = np.maximum(np.asarray(rows, np.float64), 1)[:, None]
        mean = sums[:, :d] / n
        variance = np.maximum(sums[:, d : 2 * d] / n - mean * mean, 0)
        together = sums[:, 2 * d :] / n - mean[:, self.first] * mean[:, self.second]
        spread = np.sqrt(variance[:, self.first] * variance[:, self.second])
        r: Floats = np.where(spread > 1e-9, together / np.maximum(spread, 1e-9), 0.0)
        return np.clip(r, -1.0, 1.0)

    def transforms(self, sums: Ints, rows: int) -> Floats:
        """Return Fisher's transforms of one window's correlations, [pairs]."""
        found: Floats = fisher(self.of(sums[None], np.array([rows])))[0]
        return found

    def name(self, pair: int) -> tuple[str, str]:
        """Return the names of the two columns of a pair."""
        return self.names[self.first[pair]], self.names[self.second[pair]]

    def _levels(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        u = (values - self._centre) / self._width
        with np.errstate(invalid="ignore"):
            levels = np.rint(LEVELS * u / (1 + np.abs(u)))
        levels = np.where(np.isinf(u), LEVELS * np.sign(u), levels)
        found: npt.NDArray[np.float32] = np.nan_to_num(levels, nan=0.0).astype(np.float32)
        return found


def fisher(r: Floats) -> Floats:
    """Return Fisher's transform of correlations: about normal, with variance 1/n whatever the correlation."""
    transformed: Floats = np.arctanh(np.clip(r, -LARGEST, LARGEST))
    return transformed


def _middle(bins: NumericBins) -> tuple[float, float]:
    """Return the middle of the reference, and the width of its middle half; from its bins."""
    edges = bins.edges or (bins.floor,)
    low, middle, high = (edges[len(edges) * quarter // 4] for quarter in (1, 2, 3))
    return middle, high - low or bins.sd
