"""A Bloom filter of fixed size: which ids may have been added.

It says yes for every id that was added. For other ids it says yes in 0.1 % of cases when two million were added, in
1 % at six million, and ever more often beyond: the caller must compare, and the filter only saves work.
Bloom, Space/Time Trade-offs in Hash Coding with Allowable Errors, CACM 13(7), 1970; with two probes an id.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

BITS = 2**27
"""16 MiB; pages that no id has touched take no memory."""


class BloomFilter:
    """A set of ids that answers "may be in" or "is not in"."""

    def __init__(self) -> None:
        self._bits = np.zeros(BITS // 8, dtype=np.uint8)

    def add(self, ids: pl.Series) -> None:
        """Add ids (text)."""
        for probe in _probes(ids):
            np.bitwise_or.at(self._bits, probe >> 3, _bit(probe))

    def among(self, ids: pl.Series) -> pl.Series:
        """Return for each id whether it may have been added."""
        first, second = (self._bits[probe >> 3] & _bit(probe) != 0 for probe in _probes(ids))
        return pl.Series(first & second)


def _probes(ids: pl.Series) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    hashes = ids.hash().to_numpy()
    return hashes & np.uint64(BITS - 1), (hashes >> np.uint64(32)) & np.uint64(BITS - 1)


def _bit(probe: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    bits: npt.NDArray[np.uint8] = np.left_shift(np.uint8(1), (probe & np.uint64(7)).astype(np.uint8))
    return bits
