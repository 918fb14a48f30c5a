"""Several answers to the same item: the share of chance in a difference, how many answers to ask for, flaky items."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.pass_rates import jeffreys
from trimtab.stats.schemes import Floats, as_floats


@dataclass(frozen=True, kw_only=True)
class RepeatVariance:
    """Variance of the paired difference of two prompts, by its source."""

    n: int
    """Items that both answered."""
    mean: float
    """Mean difference, candidate minus champion."""
    within: float
    """Of one answer of each around the item's mean, summed over both prompts; NaN where no item has two answers."""
    between: float
    """Of the items' true differences."""
    error: float
    """Standard error of the mean difference, with the answers that there are."""

    def error_at(self, repeats: int) -> float:
        """Return the standard error with so many answers of each prompt to each item."""
        return math.sqrt((self.between + self.within / repeats) / self.n)


@dataclass(frozen=True, kw_only=True)
class FlakyItem:
    """An item that passes in some of its repeats."""

    item: int
    """Its row."""
    passes: int
    repeats: int
    interval: Interval
    """Jeffreys' interval of its pass rate."""


def repeat_variance(champion: npt.ArrayLike, candidate: npt.ArrayLike) -> RepeatVariance:
    """Return the variance between and within items of the difference of two prompts.

    Args:
        champion: scores of each answer, [items, repeats]; NaN where an answer is missing.
        candidate: scores on the same items, [items, repeats]; the number of repeats may differ.

    Returns:
        The decomposition, over items that have an answer of each. within is the mean of the variances of an item's
        answers, of both prompts; between is the variance of the items' differences less what `within` adds, 0 at least.

    Raises:
        DataError: for arrays of other shapes, and where fewer than two items have answers of both.

    >>> found = repeat_variance([[1, 0], [1, 1], [0, 0]], [[1, 1], [1, 0], [1, 1]])
    >>> round(found.mean, 3), round(found.within, 3), round(found.between, 3)
    (0.333, 0.333, 0.417)

    Sources: law of total variance; E. Miller, Adding error bars to evals, arXiv 2411.00640 (2024).
    """
    a, b = _answers(champion), _answers(candidate)
    if len(a) != len(b):
        raise DataError(f"{len(a)} items of the champion, {len(b)} of the candidate: expected the same items")
    counts = [np.isfinite(x).sum(axis=1) for x in (a, b)]
    both = (counts[0] > 0) & (counts[1] > 0)
    n = int(both.sum())
    if n < 2:
        raise DataError(f"{n} items have answers of both prompts: expected 2 or more")
    a, b, counts = a[both], b[both], [count[both] for count in counts]
    d = np.nanmean(b, axis=1) - np.nanmean(a, axis=1)
    variances = [_within(x, count) for x, count in zip((a, b), counts, strict=True)]
    spread = float(d.var(ddof=1))
    chance = sum(v * float((1 / count).mean()) for v, count in zip(variances, counts, strict=True))
    return RepeatVariance(
        n=n,
        mean=float(d.mean()),
        within=sum(variances),
        between=max(spread - chance, 0.0) if math.isfinite(chance) else spread,
        error=math.sqrt(spread / n),
    )


def next_repeats(found: RepeatVariance, max_repeats: int) -> int:
    """Return how many answers an item should get: the fewest whose chance is at most half of what items differ by.

    Args:
        found: of a first run with two answers or more.
        max_repeats: never more; 1 or more.

    Returns:
        1 where answers to the same item do not differ; max_repeats where all is chance, or nothing is known.

    Raises:
        DataError: for max_repeats below 1.

    >>> found = repeat_variance([[1, 0], [1, 1], [0, 0]], [[1, 1], [1, 0], [1, 1]])
    >>> next_repeats(found, 5)
    2
    """
    if max_repeats < 1:
        raise DataError(f"max_repeats {max_repeats}: expected 1 or more")
    if found.within == 0:
        return 1
    if not found.within > 0 or found.between <= 0:
        return max_repeats
    return min(max(1, math.ceil(2 * found.within / found.between - 1e-9)), max_repeats)


def flaky_items(passes: npt.ArrayLike, confidence: float = 0.95) -> Iterator[FlakyItem]:
    """Yield the items that pass in some repeats and fail in others, in their order.

    Args:
        passes: 1 for a pass, 0 for a failure, NaN for a missing answer, [items, repeats].
        confidence: of each bound of an item's pass rate.

    Yields:
        The item with the interval of its pass rate.

    Raises:
        DataError: for values other than 0, 1 and NaN, and for arrays of another shape.

    >>> [(each.item, each.passes, each.repeats) for each in flaky_items([[1, 1, 1], [1, 0, 1], [0, 0, 0]])]
    [(1, 2, 3)]
    """
    x = _answers(passes)
    if not np.isin(x[np.isfinite(x)], (0.0, 1.0)).all():
        raise DataError("an item passes or fails: expected 0, 1 and NaN alone")
    sums, counts = np.nansum(x, axis=1), np.isfinite(x).sum(axis=1)
    for item in np.flatnonzero((sums > 0) & (sums < counts)):
        passed, repeats = int(sums[item]), int(counts[item])
        yield FlakyItem(item=int(item), passes=passed, repeats=repeats, interval=jeffreys(passed, repeats, confidence))


def _answers(values: npt.ArrayLike) -> Floats:
    given = np.asarray(values)
    x = as_floats(given.ravel()).astype(np.float64).reshape(given.shape)
    if x.ndim != 2 or np.isinf(x).any():
        raise DataError(f"scores of shape {x.shape}: expected [items, repeats], finite or NaN")
    return x


def _within(x: Floats, counts: npt.NDArray[np.int64]) -> float:
    """Return the mean variance of an item's answers, over the items with two or more; NaN without such items."""
    repeated = x[counts > 1]
    return float(np.nanvar(repeated, axis=1, ddof=1).mean()) if len(repeated) else math.nan
