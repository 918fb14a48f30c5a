"""Confidence intervals: bootstrap of any statistic over clustered rows, and Wilson's for a share.

Rows of one day share weather, congestion and luck: resampling whole clusters (days) keeps that, resampling rows
would promise more than the data holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from trimtab.errors import DataError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval. clusters: how many units were resampled."""

    value: float
    low: float
    high: float
    confidence: float
    clusters: int


def bootstrap(
    statistic: Callable[[Array], float],
    rows: int,
    *,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
    clusters: Array | None = None,
) -> Interval:
    """Return the percentile interval of `statistic`, a function of row indices (int64, any length).

    clusters: one value a row; rows with the same value are drawn together. None draws rows alone.
    For a paired difference, let `statistic` compute both figures on the same indices and subtract.
    Resamples on which the statistic is not defined (NaN) are left out. Raises DataError without rows.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 8 (clusters).
    """
    if rows == 0:
        raise DataError("a bootstrap needs at least one row; it was given none")
    members = _members(rows, clusters)
    random = np.random.default_rng(seed)
    draws = np.array([statistic(_draw(members, random)) for _ in range(resamples)])
    defined = draws[~np.isnan(draws)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
    return Interval(statistic(np.arange(rows)), float(low), float(high), confidence, len(members))


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share. Source: E. B. Wilson, JASA 22 (1927). Raises DataError."""
    if not 0 <= successes <= trials or trials == 0:
        raise DataError(f"a share needs 0 <= successes <= trials and a trial; got {successes} of {trials}")
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)))
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half), confidence, trials)


def _members(rows: int, clusters: Array | None) -> list[Array]:
    if clusters is None:
        return list(np.arange(rows).reshape(rows, 1))
    order = np.argsort(clusters, kind="stable")
    _, starts = np.unique(clusters[order], return_index=True)
    return np.split(order, starts[1:])


def _draw(members: list[Array], random: np.random.Generator) -> Array:
    return np.concatenate([members[n] for n in random.integers(0, len(members), len(members))])
