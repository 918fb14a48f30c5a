"""Effect sizes of ordinary windows, which those of a new window are read against.

A population stability index of 4 on an ordinary day says nothing, since days differ: the index of each reference window
against all the others says how much. Effects are compared column by column, because a column such as the weekday moves
wholly on every day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from trimtab.stats.effects import cut_spans, shares_moved, stability_index, wasserstein
from trimtab.stats.profile import WindowProfile
from trimtab.stats.schemes import Bins, Floats, Ints, NumericBins
from trimtab.stats.step import ColumnDrift
from trimtab.stats.window_pool import WindowPool

HIGH = 0.95
SMALLEST = (0.02, 0.02, 0.05)
"""Share moved, index and distance: smaller ones are alike, however small those of the reference windows are."""


@dataclass(frozen=True)
class Effect:
    """Sizes of one column's change."""

    share_moved: float
    """Largest share of rows that moved across one threshold, or into or out of one category."""
    psi: float
    """Population stability index over 35 bins."""
    wasserstein_sd: float | None
    """In standard deviations of the reference; None for a category and for a constant column."""

    @property
    def sizes(self) -> tuple[float, float, float | None]:
        """The three, in the order of their fields."""
        return self.share_moved, self.psi, self.wasserstein_sd


@dataclass(frozen=True)
class UsualEffects:
    """Effects of each reference window against all the others, by column."""

    median: Mapping[str, Effect]
    high: Mapping[str, Effect]
    """95 % of the reference windows do not exceed them."""
    most: float = 1.0
    """95 % of the reference windows do not exceed this ratio `times` in any column."""

    @classmethod
    def fit(cls, reference: Sequence[WindowProfile], schemes: Mapping[str, Bins]) -> Self:
        """Return the effects of reference windows; empty with fewer than three windows or without columns."""
        if len(reference) < 3 or not schemes:
            return cls({}, {})
        pool = WindowPool(schemes)
        windows = np.stack([pool.encode(window, reference=True).counts for window in reference])
        spans, total = _spans(pool), windows.sum(axis=0)
        found = np.stack([_effects(window, total - window, pool.ordered, spans) for window in windows])
        distance = np.isfinite(found[0, 2])
        found[~np.isfinite(found)] = 0.0
        median, high = (np.quantile(found, share, axis=0, method="inverted_cdf") for share in (0.5, HIGH))
        ratios = (found / np.maximum(high, np.array(SMALLEST)[:, None])).max(axis=(1, 2))
        median[2, ~distance] = high[2, ~distance] = np.nan
        most = float(np.quantile(ratios, HIGH, method="inverted_cdf"))
        return cls(_by_name(pool, median), _by_name(pool, high), max(1.0, most))

    def times(self, column: ColumnDrift) -> float:
        """Return how many times as large the largest effect is as in 95 % of the reference windows; 0 if not known."""
        high = self.high.get(column.name)
        if high is None:
            return 0.0
        own = (column.share_moved, column.psi, column.wasserstein_sd)
        return max(
            (
                size / max(usual, least)
                for size, usual, least in zip(own, high.sizes, SMALLEST, strict=True)
                if size and usual is not None
            ),
            default=0.0,
        )

    def of_window(self, columns: Sequence[ColumnDrift]) -> float:
        """Return how many times as far the furthest column is as in 95 % of the reference windows."""
        return max(map(self.times, columns), default=0.0) / self.most

    def furthest(self, columns: Sequence[ColumnDrift]) -> ColumnDrift | None:
        """Return the column that is furthest from what is usual for it."""
        return max(columns, key=self.times, default=None)

    def sizes(self, name: str) -> dict[str, float | None]:
        """Return the usual effects of a column, for a signal: `SIZE_usual` in half, `SIZE_high` in 95 % of windows."""
        if name not in self.median:
            return {}
        keys = ("max_share_moved", "psi", "wasserstein_sd")
        usual = zip(keys, self.median[name].sizes, self.high[name].sizes, strict=True)
        return {f"{key}_{which}": size for key, m, h in usual for which, size in (("usual", m), ("high", h))}


def effects(window: WindowProfile, reference: WindowProfile, schemes: Mapping[str, Bins]) -> dict[str, Effect]:
    """Return the effects of a window against the rows of a reference, by column."""
    pool = WindowPool(schemes)
    counts, before = pool.encode(window).counts, pool.encode(reference).counts
    return _by_name(pool, _effects(counts, before, pool.ordered, _spans(pool)))


def _spans(pool: WindowPool) -> Floats:
    return cut_spans([bins for bins in pool.schemes.values() if isinstance(bins, NumericBins)])


def _effects(window: Ints, others: Ints, ordered: int, spans: Floats) -> Floats:
    """Return [3, d]: share moved, index, and distance, which is NaN for categories and constants."""
    found = np.full((3, len(window)), np.nan)
    found[0], found[1] = shares_moved(window, others, ordered), stability_index(window, others)
    found[2, :ordered] = wasserstein(window[:ordered], others[:ordered], spans)
    return found


def _by_name(pool: WindowPool, sizes: Floats) -> dict[str, Effect]:
    each = zip(pool.names, sizes.T.tolist(), np.isfinite(sizes[2]).tolist(), strict=True)
    return {name: Effect(moved, psi, sd if known else None) for name, (moved, psi, sd), known in each}
