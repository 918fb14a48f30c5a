"""Effect sizes of a table against the reference, each beside what an ordinary window of the reference has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.stats.effects import cut_spans, shares_moved, stability_index, wasserstein
from trimtab.stats.profile import WindowProfile
from trimtab.stats.schemes import Bins, Floats, Ints, NumericBins
from trimtab.stats.window_pool import WindowPool

USUAL = 0.95
"""Share of the reference windows that differ from the other ones by at most the usual effect."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How far one column moved, and how far it moves in an ordinary window of the reference."""

    share_moved: float
    """Largest share of rows that moved across one threshold, or into or out of one category."""
    psi: float
    """Population stability index over 35 bins."""
    wasserstein_sd: float | None
    """In standard deviations of the reference; None for a category and for a constant column."""


@dataclass(frozen=True)
class UsualEffects:
    """The effects of reference windows, and the pooled reference that tables are compared with."""

    pool: WindowPool
    pooled: Ints
    """Counts of all reference rows [d, 35], ordered columns first."""
    usual: dict[str, Effect]

    @classmethod
    def fit(cls, windows: Sequence[WindowProfile], total: WindowProfile, schemes: Mapping[str, Bins]) -> UsualEffects:
        """Return the effects that 95 % of the reference windows do not exceed, each against the other windows."""
        pool = WindowPool(schemes)
        counts = np.array([pool.encode(window, reference=True).counts for window in windows])
        together = counts.sum(axis=0)
        each = np.array([_effects(pool, one, together - one) for one in counts])
        with np.errstate(invalid="ignore"):
            limits = np.quantile(each, USUAL, axis=0)
        pooled = pool.encode(total, reference=False).counts
        return cls(pool, pooled, _by_name(pool, limits))

    def of(self, total: WindowProfile) -> dict[str, Effect]:
        """Return the effects of a table against all rows of the reference."""
        return _by_name(self.pool, _effects(self.pool, self.pool.encode(total).counts, self.pooled))


def _effects(pool: WindowPool, window: Ints, others: Ints) -> Floats:
    """Return [3, d]: share moved, PSI, Wasserstein distance."""
    ordered = pool.ordered
    spans = cut_spans([bins for bins in pool.schemes.values() if isinstance(bins, NumericBins)])
    distances = np.full(len(pool.names), np.nan)
    if ordered:
        distances[:ordered] = wasserstein(window[:ordered], others[:ordered], spans)
    return np.array([shares_moved(window, others, ordered), stability_index(window, others), distances])


def _by_name(pool: WindowPool, effects: Floats) -> dict[str, Effect]:
    return {
        name: Effect(
            share_moved=float(effects[0, place]),
            psi=float(effects[1, place]),
            wasserstein_sd=float(effects[2, place]) if np.isfinite(effects[2, place]) else None,
        )
        for place, name in enumerate(pool.names)
    }
