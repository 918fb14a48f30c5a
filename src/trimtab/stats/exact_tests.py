"""What chance explains of counts: exact tails in plain Python; the supervisor loads no SciPy. Called by guard.py."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

ALPHA = 1e-9
"""Probability of what is taken for no chance any more. Two looks a second are 63 million a year, so that a version
which is exactly at its limit breaks it by chance once in fifteen years or more rarely, and a better one never."""
NEGLIGIBLE = 1e-17
"""A term of a sum that is this much smaller than the sum changes no digit of it."""


def binomial_tail(count: int, n: int, share: float) -> float:
    """Return P(X >= count) for X binomial(n, share), exactly; 1 where count is no more than expected.

    It is below alpha exactly when the lower bound of Clopper and Pearson (1934) of the share, at the confidence
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
    """Return Fisher's exact p-value: how likely `count` of n or more is, when both fail alike; 1 where it is less.

    Source: R. A. Fisher, The Design of Experiments, 1935; the tail of the hypergeometric distribution.
    """
    if not n or not other_n or count * other_n <= other_count * n:
        return 1.0
    failed = count + other_count
    first = _choose(n, count) + _choose(other_n, other_count) - _choose(n + other_n, failed)
    last = min(n, failed)
    return _sum(first, ((failed - k) * (n - k) / ((k + 1) * (other_n - failed + k + 1)) for k in range(count, last)))


def at_least_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how far the distributions behind two histograms on the same bins are apart at least, with 1 - ALPHA.

    The total variation distance of what was counted, less the most that chance makes it exceed the true one: its
    mean (at most half the sum over the bins of the standard deviations, for each histogram) and its deviation from
    the mean (McDiarmid 1989, On the method of bounded differences: a single count changes it by 1/n).
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
    """Return the sum of terms: the logarithm of the first, and how each next one follows from the one before."""
    total = term = 1.0
    for ratio in ratios:
        term *= ratio
        total += term
        if term < total * NEGLIGIBLE:
            break
    return min(1.0, math.exp(first) * total)
