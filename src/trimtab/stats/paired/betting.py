"""Bounds of the mean of bounded values that hold for every distribution, by betting against each possible mean.

For a mean m a bettor starts with 1 and stakes a share of the wealth on the next value being above m. If m is the mean,
the wealth is a martingale, and it ever reaches 1 / (1 - confidence) with a probability of at most 1 - confidence (Ville
1939). So the means for which it does are ruled out. The bound is wider than t's by a factor of 1.3 to 1.9, and holds
where rare large losses fool t.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.pass_rates import one_sided, two_sided
from trimtab.stats.schemes import Floats, as_floats

MOST_AT_STAKE = 0.75
"""Share of the wealth that one value may cost."""
HALVINGS = 40


def betting_bound(
    values: npt.ArrayLike,
    *,
    low: float = -1.0,
    high: float = 1.0,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of independent bounded values, with bounds that hold for every distribution.

    Args:
        values: from low to high, one an item; of items that vary together give one mean a cluster, [items].
        low: the smallest possible value.
        high: the largest possible value.
        confidence: of each bound.
        seed: of the order in which the values are taken, so that the order of a file has no say.

    Returns:
        The mean with its bounds, between low and high.

    Raises:
        DataError: without values, for values outside of [low, high], and for settings out of range.

    >>> gains = np.tile([0.1, 0.3, -0.1, 0.2, 0.0], 40)
    >>> found = betting_bound(gains)
    >>> f"{found.value:.2f} from {found.low:.2f} to {found.high:.2f}"
    '0.10 from 0.07 to 0.12'

    Source: I. Waudby-Smith & A. Ramdas, Estimating means of bounded random variables by betting, JRSS B 86 (2024), with
    its predictable plug-in stakes for a fixed number of values.
    """
    one_sided(confidence)
    x = as_floats(values).astype(np.float64).ravel()
    if not low < high or not x.size or not ((x >= low) & (x <= high)).all():
        raise DataError(f"{x.size} values: expected one or more, all from {low} to {high}")
    shares = np.random.default_rng(seed).permutation((x - low) / (high - low))
    lower = _lower(shares, 1 - confidence)
    upper = 1 - _lower(1 - shares, 1 - confidence)
    mean = float(x.mean())
    ends = low + (high - low) * lower, low + (high - low) * upper
    return Interval(mean, min(ends[0], mean), max(ends[1], mean), two_sided(confidence), x.size)


def _lower(shares: Floats, alpha: float) -> float:
    """Return the lower bound of the mean of values in [0, 1]. The wealth falls as the mean rises: it is bisected."""
    stakes = _stakes(shares, alpha)
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        mean = (low + high) / 2
        wealth = np.cumsum(np.log1p(np.minimum(stakes, MOST_AT_STAKE / mean) * (shares - mean)))
        low, high = (mean, high) if wealth.max() >= math.log(1 / alpha) else (low, mean)
    return low


def _stakes(shares: Floats, alpha: float) -> Floats:
    """Return the stake on each value from the variance of those before it: sqrt(2 log(1 / alpha) / (n variance))."""
    n = shares.size
    seen = np.arange(1, n + 1) + 1
    means = (0.5 + np.cumsum(shares)) / seen
    variances = (0.25 + np.cumsum((shares - means) ** 2)) / seen
    before = np.concatenate([[0.25], variances[:-1]])
    stakes: Floats = np.sqrt(2 * math.log(1 / alpha) / (n * before))
    return stakes
