"""Effect sizes of ordinary windows, which those of a new window are read against.

A population stability index of 4 on an ordinary day says nothing, since days differ: the index of each reference window
against all the others says how much. Effects are compared column by column, because a column such as the weekday moves
wholly on every day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from trimtab.stats.effects import cut_spans, shares_moved, stability_index, wasserstein
from trimtab.stats.profile import WindowProfile
from trimtab.stats.schemes import Bins, Floats, NumericBins
from trimtab.stats.step import ColumnDrift
from trimtab.stats.window_pool import WindowPool

HIGH = 0.95
SMALLEST = (0.02, 0.02, 0.05)
"""Share moved, index and distance: smaller ones are alike, however small those of the reference windows are."""


class Effect(NamedTuple):
    """Sizes of one column's change; the Wasserstein distance is None for categories and constants."""

    share_moved: float
    psi: float
    wasserstein_sd: float | None


@dataclass(frozen=True)
class UsualEffects:
    """Effects of each reference window against all the others, by column."""

    median: Mapping[str, Effect]
    high: Mapping[str, Effect]
    """95 % of the reference windows have smaller ones."""
    most: float = 1.0
    """95 % of the reference windows have a smaller ratio `times` in all columns."""

    @classmethod
    def fit(cls, reference: Sequence[WindowProfile], schemes: Mapping[str, Bins]) -> Self:
        """Return the effects of reference windows; empty with fewer than three windows or without columns."""
        if len(reference) < 3 or not schemes:
            return cls({}, {})
        pool = WindowPool(schemes)
        ordered = [bins for bins in pool.schemes.values() if isinstance(bins, NumericBins)]
        spans, windows = cut_spans(ordered), np.stack([pool.encode(w, reference=True).counts for w in reference])
        total, o = windows.sum(axis=0), len(ordered)
        found = np.full((len(windows), 3, len(pool.names)), np.nan)
        for place, window in enumerate(windows):
            others = total - window
            found[place, 0] = shares_moved(window, others, o)
            found[place, 1] = stability_index(window, others)
            found[place, 2, :o] = wasserstein(window[:o], others[:o], spans)
        distance = np.isfinite(found[0, 2])
        found[~np.isfinite(found)] = 0.0
        median, high = (np.quantile(found, share, axis=0, method="inverted_cdf") for share in (0.5, HIGH))
        ratios = (found / np.maximum(high, np.array(SMALLEST)[:, None])).max(axis=(1, 2))

        def by_column(sizes: Floats) -> dict[str, Effect]:
            each = zip(pool.names, sizes.T.tolist(), distance.tolist(), strict=True)
            return {name: Effect(moved, psi, sd if known else None) for name, (moved, psi, sd), known in each}

        most = float(np.quantile(ratios, HIGH, method="inverted_cdf"))
        return cls(by_column(median), by_column(high), max(1.0, most))

    def times(self, column: ColumnDrift) -> float:
        """Return how many times as large the largest effect is as in 95 % of the reference windows; 0 if not known."""
        high = self.high.get(column.name)
        if high is None:
            return 0.0
        own = (column.share_moved, column.psi, column.wasserstein_sd)
        return max(
            (
                size / max(usual, least)
                for size, usual, least in zip(own, high, SMALLEST, strict=True)
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
        usual = zip(keys, self.median[name], self.high[name], strict=True)
        return {f"{key}_{which}": size for key, m, h in usual for which, size in (("usual", m), ("high", h))}
