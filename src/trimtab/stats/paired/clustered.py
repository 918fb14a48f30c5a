"""Mean difference of scores of two prompts on the same items.

The unit is the cluster, as items of one conversation, document or customer vary together.
The t-interval is for scores whose differences are not dominated by rare large losses: where 3 % of the items lose
everything and the rest gain a little, its lower bound is wrong in 24 % of samples of 50 items. `betting_bound` of
betting.py holds for all bounded scores and is wider; shares of broken items are bounded by `clopper_pearson_upper`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.pass_rates import one_sided, two_sided
from trimtab.stats.schemes import as_floats

if TYPE_CHECKING:
    from scipy import special
else:
    special = LazyLibrary("scipy.special")

MIN_CLUSTERS = 10
"""With fewer clusters the bounds inform, and decide nothing."""


def clustered_mean(d: npt.ArrayLike, clusters: npt.ArrayLike | None = None, confidence: float = 0.95) -> Interval:
    """Return the mean of differences with bounds from the spread of clusters.

    Args:
        d: differences, candidate minus champion, one an item, [items].
        clusters: the cluster of each item, [items]; None takes each item alone.
        confidence: of each bound.

    Returns:
        The mean and its bounds: t times the standard error of Liang & Zeger with clusters - 1 degrees of freedom. The
        bounds are NaN with one cluster. `clusters` is their number; below MIN_CLUSTERS bounds are too rough to decide.

    Raises:
        DataError: without items, for values that are not finite, for arrays of different lengths, and for a confidence
            that is not in [0.5, 1).

    >>> found = clustered_mean([0.2, 0.3, -0.1, 0.0, 0.1, 0.2], ["a", "a", "b", "b", "c", "c"])
    >>> f"{found.value:.3f} from {found.low:.3f} to {found.high:.3f}, {found.clusters} clusters"
    '0.117 from -0.141 to 0.374, 3 clusters'

    Sources: K.-Y. Liang & S. L. Zeger, Longitudinal data analysis using generalized linear models, Biometrika 73
    (1986); E. Miller, Adding error bars to evals, arXiv 2411.00640 (2024).
    """
    one_sided(confidence)
    mean, error, count = _mean_and_error(d, clusters)
    if count < 2:
        return Interval(mean, math.nan, math.nan, two_sided(confidence), count)
    half = float(special.stdtrit(count - 1, confidence)) * error
    return Interval(mean, mean - half, mean + half, two_sided(confidence), count)


def clustered_p(d: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> float:
    """Return the one-sided p-value of "the mean difference is at most 0", by the t-test of `clustered_mean`.

    Args:
        d: differences, candidate minus champion, one an item, [items].
        clusters: the cluster of each item, [items]; None takes each item alone.

    Returns:
        The p-value; 1 with one cluster and where all differences are equal.

    Raises:
        DataError: as `clustered_mean`.

    >>> round(clustered_p([0.2, 0.3, -0.1, 0.0, 0.1, 0.2], ["a", "a", "b", "b", "c", "c"]), 3)
    0.158
    """
    mean, error, count = _mean_and_error(d, clusters)
    return float(special.stdtr(count - 1, -mean / error)) if count > 1 and error > 0 else 1.0


def _mean_and_error(d: npt.ArrayLike, clusters: npt.ArrayLike | None) -> tuple[float, float, int]:
    """Return mean, standard error and number of clusters."""
    x = as_floats(d).astype(np.float64).ravel()
    place = np.arange(x.size) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    if not x.size or place.size != x.size or not np.isfinite(x).all():
        raise DataError(
            f"{x.size} differences, {place.size} clusters, {int((~np.isfinite(x)).sum())} not finite: expected a "
            "finite difference and a cluster for each item, and an item"
        )
    mean, count = float(x.mean()), int(place.max()) + 1
    deviations = np.bincount(place, weights=x - mean)
    error = math.sqrt(count / max(count - 1, 1) * float(deviations @ deviations)) / x.size
    return mean, error if error > 1e-12 * float(np.abs(x).max()) else 0.0, count
