"""p-value of a window score beyond the rank of its reference, and which columns to name.

The rank alone cannot go below 1/(m+1). Above the k largest of m reference scores an exponential tail is assumed,
whose mean excess is estimated from those k; the estimate's own doubt gives a Pareto form (exact for an exponential).
Up to the largest reference score p is never below that of the rank: days that stand out, such as holidays, are more
frequent than an exponential tail allows. So for exchangeable windows P(p <= a) <= max(a, 1/(m+1)) is a theorem; how
far p falls beyond the largest score is a heuristic, held by measurement.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.stats.schemes import Floats

GLOBAL_FLOOR = 0.3
COLUMN_FLOOR = 0.1
"""Smallest mean excess that is believed, in the unit of the score."""
NAMED_BELOW = 0.05


def tail_p(reference: npt.ArrayLike, value: npt.ArrayLike, *, floor: float = GLOBAL_FLOOR) -> Floats:
    """Return p for one score, or for one score a column.

    Args:
        reference: scores of the m >= 2 other windows, [m] or [m, columns]; large means unusual.
        value: the score to judge, [] or [columns].
        floor: smallest mean excess over the threshold, in the unit of the score.
    """
    ranked = -np.sort(-np.asarray(reference, np.float64), axis=0)
    s = np.asarray(value, np.float64)
    m = len(ranked)
    k = tail_size(m)
    threshold = ranked[k]
    excess = np.maximum((ranked[:k] - threshold).sum(axis=0), floor * k)
    by_rank = (1 + (ranked >= s).sum(axis=0)) / (m + 1)
    beyond = (k + 1) / (m + 1) * (1 + np.maximum(s - threshold, 0) / excess) ** -k
    p: Floats = np.where(s > ranked[0], beyond, np.where(s > threshold, np.maximum(beyond, by_rank), by_rank))
    return p


def tail_size(m: int) -> int:
    """Return how many of m reference scores make the tail."""
    return min(max(8, -(-m // 5)), m - 1)


def holm(p: npt.ArrayLike) -> Floats:
    """Return Holm's adjusted p-values: naming all with adjusted p < a names a wrong one with probability <= a."""
    raw = np.asarray(p, np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
