"""Confidence intervals of one look: of a statistic over few clusters of rows, and Wilson's of a share.

Rows of one day share weather, congestion and luck, so the day is the unit, and a holdout has few of them. A percentile
bootstrap of ten days covers 88 % where it says 95 %. What is used here covers 93 % or more from ten days on
(benchmarks/intervals shows where, and where not):

- the statistic without each cluster in turn (jackknife) gives one pseudo-value a cluster;
- the t-quantile and the studentised bootstrap of the pseudo-values both give the distance of the ends from the value:
  the first is right for few clusters, the second for skewed ones, and the larger distance counts;
- the ends are computed on the scale on which the value is closer to normal (`Scale`), and moved out by 1 / clusters.

`row_interval` gives the interval of a metric of one window from its rows, which it takes as independent.

For repeated looks use paired_sequence.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.metric_catalog import METRICS, Scale
from trimtab.stats.metrics import metric_value, placements, row_values
from trimtab.stats.schemes import Floats, Ints

if TYPE_CHECKING:
    from scipy import special
else:
    special = LazyLibrary("scipy.special")

RESAMPLES = 2000
MIN_DAYS = 10
"""With fewer days in the rows, hours are the clusters, and an interval is rough."""
MIN_BOOTSTRAPPED = 5
"""With fewer clusters resampling shows nothing that the t-quantile does not."""
MAX_STRETCH = 1.5
"""The studentised bootstrap moves an end out by at most this factor: where few clusters hold all that defines a value,
its quantiles run away, and beyond it coverage hardly rises (benchmarks/intervals)."""
MIN_ROWS = 30
"""With fewer rows a window shows no interval of its metric."""
MIN_OF_CLASS = 10
"""With fewer ones or zeros it shows none of its area under the ROC curve."""
MAX_CLUSTERS = 400
"""More of them are joined with their neighbours: the ends hardly move, and each cluster costs one evaluation."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; the limits are NaN where they are not defined."""

    value: float
    low: float
    high: float
    confidence: float
    clusters: int
    """Number of clusters that it rests on."""


def cluster_interval(
    statistic: Callable[[Ints], float],
    rows: int,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
    scale: Scale = "plain",
) -> Interval:
    """Return the interval of `statistic`, a function of row numbers (int64, any length).

    Args:
        statistic: a smooth function of the rows, NaN where it is not defined. For a paired difference let it compute
            both values on the same rows, or call `difference_interval`.
        rows: how many rows there are.
        confidence: two-sided; take 0.90 for a one-sided bound at 0.95.
        resamples: of the studentised bootstrap.
        seed: of the resampling; equal seeds give equal intervals.
        clusters: one value a row; rows of the same value belong together. None takes rows alone.
        scale: the scale on which the statistic is closer to normal; a value at the end of its range is not converted.

    Returns:
        The value and its interval. The limits are NaN with one cluster, and where the statistic is not defined without
        some cluster, because it then rests on that one alone.

    Raises:
        DataError: without rows, and for settings out of range.

    >>> days = np.repeat(np.arange(12), 50)
    >>> losses = np.random.default_rng(0).gamma(2.0, size=600)
    >>> found = cluster_interval(lambda rows: float(losses[rows].mean()), 600, clusters=days)
    >>> found.clusters, found.low < found.value < found.high
    (12, True)

    Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 11 (jackknife) and 12.5 (studentised);
    MacKinnon, Nielsen & Webb, Fast and reliable jackknife and bootstrap methods for cluster-robust inference, 2023.
    """
    if rows < 1 or resamples < 1 or not 0 < confidence < 1:
        raise DataError(
            f"rows {rows}, resamples {resamples}, confidence {confidence}: expected one row or more, one resample or "
            "more, and a confidence between 0 and 1"
        )
    place = np.arange(rows) if clusters is None else _places(np.asarray(clusters), rows)
    units = int(place.max()) + 1
    if units > MAX_CLUSTERS:
        place, units = place * MAX_CLUSTERS // units, MAX_CLUSTERS
    value = float(statistic(np.arange(rows)))
    without = np.array([statistic(kept) for kept in _without_each(place, units)]) if units > 1 else np.zeros(0)
    if units < 2 or not np.isfinite(value) or not np.isfinite(without).all():
        return Interval(value, math.nan, math.nan, confidence, units)
    there, back = SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, moved = float(there(np.array(value))), there(without)
    if not np.isfinite(centre) or not np.isfinite(moved).all():
        centre, moved, back = value, without, _same
    below, above = _reach(units * centre - (units - 1) * moved, confidence, resamples, seed)
    low, high = (float(back(np.array(end))) for end in (centre - below, centre + above))
    return Interval(value, min(low, value), max(high, value), confidence, units)


def difference_interval(
    metric: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float],
    y: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> Interval:
    """Return the interval of metric(y, first) - metric(y, second), both on the same rows.

    Args:
        metric: labels and scores -> the metric.
        y: labels, [rows].
        first: scores, [rows].
        second: scores of the same rows, [rows].
        confidence: two-sided.
        resamples: of the studentised bootstrap.
        seed: of the resampling.
        clusters: one value a row, as for `cluster_interval`.

    Returns:
        The difference and its interval.

    Raises:
        DataError: for arrays of different lengths, without rows, and for settings out of range.
    """
    label, a, b = np.asarray(y), np.asarray(first), np.asarray(second)
    if not len(label) == len(a) == len(b):
        raise DataError(f"{len(label)} labels, {len(a)} and {len(b)} scores: expected as many of each")

    def difference(rows: Ints) -> float:
        return metric(label[rows], a[rows]) - metric(label[rows], b[rows])

    return cluster_interval(
        difference, len(label), confidence=confidence, resamples=resamples, seed=seed, clusters=clusters
    )


def row_interval(
    name: str, y: npt.ArrayLike, scores: npt.ArrayLike, *, threshold: float | Floats = 0.5, confidence: float = 0.95
) -> Interval:
    """Return the interval of a metric of one window, from the spread of its rows.

    The standard error of a mean over rows is s / sqrt(n); of rmse, by the delta method, that of the mean square divided
    by twice the value; of the area under the ROC curve DeLong's, from the placements of ones and zeros. The ends are
    value plus and minus t standard errors, with n - 1 degrees of freedom, on the scale of the logarithm, or of the
    log-odds for values between 0 and 1. Rows count as independent, so it says how exactly the rows of this window
    show its metric, not how much windows differ. Simulated, an interval of 0.95 covers 92 % or more from 60 rows on; of
    rmse with heavy tails (errors of Student's t, 5 degrees of freedom) 88 % at 60 rows, 92 % at 150 and 94 % at 800.

    Args:
        name: a metric, such as log_loss; see `metric_value`.
        y: labels, [rows].
        scores: as of `metric_value`.
        threshold: as of `metric_value`.
        confidence: two-sided.

    Returns:
        The value and its interval; `clusters` is the number of rows. The limits are NaN for metrics that are neither a
        mean over rows nor an area, for fewer than MIN_ROWS rows, for an area of fewer than MIN_OF_CLASS ones or zeros,
        and where all rows are the same.

    Raises:
        UsageError: for an unknown metric.
        DataError: as `metric_value`.

    >>> y, p = np.tile([0.0, 1.0, 0.0, 0.0], 50), np.tile([0.2, 0.6, 0.1, 0.4], 50)
    >>> found = row_interval("log_loss", y, p)
    >>> f"{found.value:.3f} from {found.low:.3f} to {found.high:.3f}"
    '0.338 from 0.314 to 0.363'

    Source: DeLong, DeLong & Clarke-Pearson, Comparing the areas under two or more correlated receiver operating
    characteristic curves, Biometrics 44 (1988).
    """
    value = metric_value(name, y, scores, threshold=threshold)
    label, score = np.asarray(y, np.float64).ravel(), np.asarray(scores, np.float64)
    error = _row_error(name, value, label, score, threshold) if len(label) >= MIN_ROWS else math.nan
    bounded = METRICS[name].scale == "share"
    slope = value * (1 - value) if bounded else value
    if not error > 0 or not slope > 0:
        return Interval(value, math.nan, math.nan, confidence, len(label))
    there, back = SCALES["share" if bounded else "positive"]
    reach = t_quantile(confidence, len(label) - 1) * error / slope
    low, high = (float(back(there(np.array(value)) + step)) for step in (-reach, reach))
    return Interval(value, low, high, confidence, len(label))


def _row_error(name: str, value: float, label: Floats, score: Floats, threshold: float | Floats) -> float:
    """Return the standard error of a metric over independent rows; NaN where it is not defined."""
    if name == "roc_auc":
        ones = int((label > 0).sum())
        if min(ones, len(label) - ones) < MIN_OF_CLASS:
            return math.nan
        return math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in placements(label, score)))
    rows = row_values(name, label, score, threshold)
    if rows is None or not np.isfinite(rows).all():
        return math.nan
    error = float(rows.std(ddof=1)) / math.sqrt(len(rows))
    return error / (2 * value) if name == "rmse" and value else error


def time_clusters(timestamps: npt.NDArray[np.datetime64]) -> tuple[npt.NDArray[np.datetime64], str]:
    """Return the cluster of each row, and the unit of the clusters.

    Args:
        timestamps: in UTC, [rows].

    Returns:
        The UTC day of each row, or its hour where there are fewer than MIN_DAYS days; "days" or "hours".

    >>> time_clusters(np.array(["2026-03-01T09:30", "2026-03-01T10:00"], "datetime64[us]"))[1]
    'hours'
    """
    days = timestamps.astype("datetime64[D]")
    if len(np.unique(days)) >= MIN_DAYS:
        return days, "days"
    return timestamps.astype("datetime64[h]"), "hours"


def t_quantile(confidence: float, degrees: float) -> float:
    """Return the two-sided quantile of Student's t: 2.26 at 0.95 with 9 degrees of freedom."""
    return float(special.stdtrit(degrees, 0.5 + confidence / 2))


def small_sample_factor(clusters: int) -> float:
    """Return by how much ends are moved out: 1 + 1 / clusters, found by simulation (benchmarks/intervals)."""
    return 1 + 1 / clusters


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share.

    Args:
        successes: 0 or more.
        trials: 1 or more; independent.
        confidence: two-sided.

    Returns:
        The share and its interval, between 0 and 1.

    Raises:
        DataError: for more successes than trials, and without trials.

    >>> found = wilson(3, 10)
    >>> f"{found.value:.2f} from {found.low:.3f} to {found.high:.3f}"
    '0.30 from 0.108 to 0.603'

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(f"a share needs 0 <= successes <= trials and a trial; got {successes} of {trials}")
    z, p = NormalDist().inv_cdf(0.5 + confidence / 2), successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    low, high = max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))
    return Interval(p, low, high, confidence, trials)


def _places(clusters: npt.NDArray[Any], rows: int) -> Ints:
    """Return the number of each row's cluster, [rows]."""
    if clusters.size != rows:
        raise DataError(f"{rows} rows but {clusters.size} clusters: expected one cluster a row")
    place: Ints = np.unique(clusters, return_inverse=True)[1].ravel()
    return place


def _without_each(place: Ints, units: int) -> Iterator[Ints]:
    """Yield the rows without those of each cluster in turn."""
    for unit in range(units):
        yield np.flatnonzero(place != unit)


def _reach(pseudo: Floats, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Return how far the interval reaches below and above the value. pseudo: one value a cluster, [clusters]."""
    units = len(pseudo)
    error = float(pseudo.std(ddof=1)) / math.sqrt(units)
    least = below = above = t_quantile(confidence, units - 1)
    if units >= MIN_BOOTSTRAPPED and error > 0:
        drawn = pseudo[np.random.default_rng(seed).integers(0, units, (resamples, units))]
        spread = drawn.std(axis=1, ddof=1) / math.sqrt(units)
        varied = spread > 1e-9 * error  # a resample of one cluster alone has no spread
        t = (drawn.mean(axis=1)[varied] - pseudo.mean()) / spread[varied]
        if t.size:
            low, high = np.quantile(t, (0.5 - confidence / 2, 0.5 + confidence / 2))
            most = MAX_STRETCH * least
            below, above = min(max(least, float(high)), most), min(max(least, -float(low)), most)
    factor = error * small_sample_factor(units)
    return below * factor, above * factor


def _same(x: Floats) -> Floats:
    return x


def _from_reciprocal(u: Floats) -> Floats:
    x: Floats = np.where(u < 0, -1 / np.where(u < 0, u, -1), np.inf)
    return x


SCALES: dict[Scale, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "plain": (_same, _same),
    "share": (lambda x: special.logit(x), lambda u: special.expit(u)),
    "positive": (np.log, np.exp),
    "error": (lambda x: -1 / x, _from_reciprocal),
    "up_to_one": (lambda x: -np.log(1 - x), lambda u: 1 - np.exp(-u)),
}
"""The function to each scale, and back; both rise."""
