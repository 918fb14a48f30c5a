"""Confidence intervals of one look: bootstrap over clustered rows, Wilson for a share. Gates and reports use them.

Rows of one day share weather, congestion and luck: resampling whole clusters (days) keeps that, resampling rows
would promise more than the data holds. Repeated looks need comparison.py instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import Ints

RESAMPLES = 500
# With fewer usable resamples than this share the interval says nothing (a metric is NaN where one class is absent).
USABLE_SHARE = 0.5


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval; limits are NaN when they cannot be told."""

    value: float
    low: float
    high: float
    confidence: float
    clusters: int
    """How many units were resampled."""


def bootstrap(
    statistic: Callable[[Ints], float],
    rows: int,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> Interval:
    """Return the percentile interval of `statistic`, a function of row numbers (int64, any length).

    Args:
        statistic: NaN where it is not defined; such resamples are left out. For a paired difference let it compute
            both figures on the same rows, or call `bootstrap_difference`.
        rows: how many rows there are.
        confidence: two-sided; take 0.90 for a one-sided bound at 0.95.
        resamples: how many times to draw; equal seeds give equal intervals.
        clusters: one value a row; rows of the same value are drawn together. None draws rows alone.

    Raises DataError without rows and for settings out of range.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 8 (clusters).
    """
    if rows < 1 or resamples < 1 or not 0 < confidence < 1:
        raise DataError(
            f"rows {rows}, resamples {resamples}, confidence {confidence}: expected one row or more, one resample or "
            "more, and a confidence between 0 and 1"
        )
    members = None if clusters is None else _members(np.asarray(clusters), rows)
    units = rows if members is None else len(members)
    drawn = np.array([statistic(draw) for draw in _draws(units, members, resamples, seed)])
    value, usable = float(statistic(np.arange(rows))), drawn[np.isfinite(drawn)]
    if usable.size < max(1, USABLE_SHARE * resamples):
        return Interval(value, math.nan, math.nan, confidence, units)
    tail = (1 - confidence) / 2
    low, high = np.quantile(usable, (tail, 1 - tail))
    return Interval(value, float(low), float(high), confidence, units)


def bootstrap_difference(
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
    """Return the interval of metric(y, first) - metric(y, second), both on the same resampled rows; all [rows]."""
    label, a, b = np.asarray(y), np.asarray(first), np.asarray(second)
    if not len(label) == len(a) == len(b):
        raise DataError(f"{len(label)} labels, {len(a)} and {len(b)} scores: expected as many of each")

    def difference(rows: Ints) -> float:
        return metric(label[rows], a[rows]) - metric(label[rows], b[rows])

    return bootstrap(difference, len(label), confidence=confidence, resamples=resamples, seed=seed, clusters=clusters)


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share. Source: E. B. Wilson, JASA 22 (1927). Raises DataError."""
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(f"a share needs 0 <= successes <= trials and a trial; got {successes} of {trials}")
    z, p = NormalDist().inv_cdf(0.5 + confidence / 2), successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    low, high = max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))
    return Interval(p, low, high, confidence, trials)


def _members(clusters: npt.NDArray[Any], rows: int) -> list[Ints]:
    if clusters.size != rows:
        raise DataError(f"{rows} rows but {clusters.size} clusters: expected one cluster a row")
    _, place, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    return np.split(np.argsort(place, kind="stable"), np.cumsum(sizes)[:-1])


def _draws(units: int, members: list[Ints] | None, resamples: int, seed: int) -> Iterator[Ints]:
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = random.integers(0, units, units)
        yield drawn if members is None else np.concatenate([members[unit] for unit in drawn])
