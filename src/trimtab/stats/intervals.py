"""Confidence intervals of one look: bootstrap and Wilson. Gates and reports use them; repeated looks belong elsewhere.

Rows that fail together (one day, one customer) are resampled together: pass their group, or the interval is too short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import Floats, Ints

DRAWS = 1_000
# With fewer usable draws than this share the interval says nothing (a metric is NaN where one class is absent).
USABLE_SHARE = 0.5


@dataclass(frozen=True)
class Interval:
    """An estimate with its limits; limits are NaN when it cannot be told."""

    estimate: float
    lower: float
    upper: float
    confidence: float


def bootstrap_interval(
    statistic: Callable[..., float],
    *columns: npt.ArrayLike,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of `statistic(*columns)`.

    Args:
        statistic: takes arrays of resampled rows, as many as there are columns; NaN where it is not defined.
        columns: arrays of equal length; rows are drawn together.
        confidence: two-sided; take 0.90 for a one-sided bound at 0.95.
        draws: number of resamples.
        seed: equal seeds give equal intervals.
        groups: [rows] group of each row; whole groups are drawn instead of rows.
    """
    arrays = [np.asarray(column) for column in columns]
    rows = _rows(arrays)
    if draws < 1 or not 0 < confidence < 1:
        raise DataError(
            f"draws {draws}, confidence {confidence}: expected 1 draw or more and a confidence within (0, 1)"
        )
    drawn = _draws(rows, draws, np.random.default_rng(seed), groups)
    found = np.array([statistic(*(array[index] for array in arrays)) for index in drawn])
    return _percentiles(float(statistic(*arrays)), found, confidence)


def paired_bootstrap_difference(
    statistic: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float],
    y: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Interval:
    """Return the interval of statistic(y, first) - statistic(y, second) on the same resampled rows."""

    def difference(label: npt.NDArray[Any], a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
        return statistic(label, a) - statistic(label, b)

    return bootstrap_interval(
        difference, y, first, second, confidence=confidence, draws=draws, seed=seed, groups=groups
    )


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a share (E. B. Wilson 1927); [0, 1] without rows."""
    if not 0 <= successes <= n:
        raise DataError(f"{successes} of {n}: expected a count from 0 to {n}")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, confidence)
    z, p = NormalDist().inv_cdf(0.5 + confidence / 2), successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)), confidence)


def _rows(arrays: list[npt.NDArray[Any]]) -> int:
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or lengths == {0}:
        raise DataError(f"columns of lengths {sorted(lengths)}: expected columns of one length, 1 row or more")
    return lengths.pop()


def _draws(rows: int, draws: int, random: np.random.Generator, groups: npt.ArrayLike | None) -> list[Ints]:
    if groups is None:
        return [random.integers(0, rows, rows) for _ in range(draws)]
    _, place, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if place.size != rows:
        raise DataError(f"{rows} rows but {place.size} groups: expected one group a row")
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(sizes)[:-1])
    chosen = random.integers(0, len(members), (draws, len(members)))
    return [np.concatenate([members[group] for group in draw]) for draw in chosen]


def _percentiles(estimate: float, found: Floats, confidence: float) -> Interval:
    usable = found[np.isfinite(found)]
    if usable.size < max(1, USABLE_SHARE * found.size):
        return Interval(estimate, math.nan, math.nan, confidence)
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(usable, (tail, 1 - tail))
    return Interval(estimate, float(lower), float(upper), confidence)
