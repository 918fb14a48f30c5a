"""The smallest drift worth an alarm: with many rows a difference that harms nothing is significant.

A column of a window whose change is smaller counts for nothing in that window: it does not carry the window score, and
its bets win nothing. Bets that can only lose more keep what is proved of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.stats.schemes import MISSING, Floats, Ints

Bools = npt.NDArray[np.bool_]

LARGE_SHARE = 0.2
"""So many rows across one threshold count however short their way is, such as a new value for "unknown"."""


@dataclass(frozen=True)
class Smallest:
    """What a column or a pair of columns must at least have changed by."""

    sd: float = 0.075
    """Wasserstein distance of an ordered column, in standard deviations of the reference."""
    share: float = 0.01
    """Share of rows that became missing, or moved into or out of one category."""
    correlation: float = 0.05
    """Change of the correlation of two columns."""

    def columns(self, moved: Floats, distances: Floats, window: Ints, pool: Ints) -> Bools:
        """Return which columns changed by so much, [d], ordered ones first.

        Args:
            moved: shares moved, [d].
            distances: Wasserstein distances of the o ordered columns in standard deviations, [o]; NaN for constants.
            window: counts of the window, [d, 35].
            pool: counts of all other windows together, [d, 35].
        """
        ordered = len(distances)
        missing = np.abs(_missing(window) - _missing(pool)) >= self.share
        enough: Bools = moved >= self.share
        far = ~(distances < self.sd)  # a constant column has no standard deviation: any value that moves counts
        enough[:ordered] = missing[:ordered] | far | (moved[:ordered] >= LARGE_SHARE)
        return enough


SMALLEST = Smallest()


def _missing(counts: Ints) -> Floats:
    shares: Floats = counts[:, MISSING] / np.maximum(counts.sum(axis=1), 1)
    return shares
