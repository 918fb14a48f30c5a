"""Exact tests of counts in plain Python, for processes that do not load SciPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

ALPHA = 1e-9
"""Significance level of one evaluation. Two evaluations a second are 63 million a year: a version exactly at its limit
breaks it by chance at most once in fifteen years."""
NEGLIGIBLE = 1e-17
"""A term that is this much smaller than the sum changes no digit of it: the summation ends."""

HALVINGS = 60
"""Of the interval that holds the angle, so that it is as exact as a float."""


def binomial_tail(count: int, n: int, share: float) -> float:
    """Return P(X >= count) for X binomial(n, share), exactly; 1 where count is at most the expected number.

    It is below alpha if and only if the lower bound of Clopper and Pearson (1934) for the share, at confidence
    1 - alpha, is above `share`.
    """
    if count <= n * share:
        return 1.0
    if share <= 0:
        return 0.0
    first = _choose(n, count) + count * math.log(share) + (n - count) * math.log1p(-share)
    odds = share / (1 - share)
    return _sum(first, ((n - k) / (k + 1) * odds for k in range(count, n)))


def fisher_tail(count: int, n: int, other_count: int, other_n: int) -> float:
    """Return Fisher's exact p-value of `count` or more of n, given equal shares; 1 if the share is not the larger one.

    Source: R. A. Fisher, The Design of Experiments, 1935; the tail of the hypergeometric distribution.
    """
    if not n or not other_n or count * other_n <= other_count * n:
        return 1.0
    failed = count + other_count
    first = _choose(n, count) + _choose(other_n, other_count) - _choose(n + other_n, failed)
    last = min(n, failed)
    return _sum(first, ((failed - k) * (n - k) / ((k + 1) * (other_n - failed + k + 1)) for k in range(count, last)))


def at_least_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Return a lower bound, at confidence 1 - ALPHA, of the distance between the distributions of two histograms.

    one, other: counts on the same bins. The bound is the total variation distance of the counts, less its expected
    excess over the true distance (at most half the sum of the bins' standard deviations, for each histogram) and less
    its deviation from the mean (McDiarmid 1989, On the method of bounded differences: one count changes it by 1/n).
    """
    n, m = sum(one), sum(other)
    if not n or not m or len(one) != len(other):
        return 0.0
    found = sum(abs(a / n - b / m) for a, b in zip(one, other, strict=True)) / 2
    deviation = math.sqrt(math.log(1 / ALPHA) * (1 / n + 1 / m) / 2)
    return max(0.0, found - _spread(one) - _spread(other) - deviation)


def _spread(counts: Sequence[float]) -> float:
    n = sum(counts)
    return sum(math.sqrt(count / n * (1 - count / n) / n) for count in counts) / 2


def _choose(n: int, k: int) -> float:
    """Return the logarithm of the binomial coefficient."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _sum(first: float, ratios: Iterator[float]) -> float:
    """Return a sum of positive terms, at most 1. first: log of the first; ratios: term to term before."""
    total = term = 1.0
    for ratio in ratios:
        term *= ratio
        total += term
        if term < total * NEGLIGIBLE:
            break
    return min(1.0, math.exp(first) * total)


@lru_cache(maxsize=256)
def t_quantile(confidence: float, degrees: int) -> float:
    """Return the value that |t| of Student's distribution does not exceed with a probability.

    In closed form: Abramowitz & Stegun, Handbook of Mathematical Functions, 1964, 26.7.3 and 26.7.4.

    Args:
        confidence: the probability, between 0 and 1.
        degrees: degrees of freedom, 1 or more.

    Returns:
        The quantile, without a unit.

    Raises:
        ValueError: an argument is out of range.

    >>> round(t_quantile(0.95, 6), 4)
    2.4469
    """
    if not (0 < confidence < 1 and degrees >= 1):
        raise ValueError(f"a probability of {confidence} with {degrees} degrees of freedom has no quantile")
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        angle = (low + high) / 2
        if _within(angle, degrees) < confidence:
            low = angle
        else:
            high = angle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    """Return the probability of |t| <= sqrt(degrees) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for n in range(2 if odd else 1, degrees, 2):
        total += term
        term *= cosine * cosine * n / (n + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
