"""Pass rates of two prompts on the same items, and exact bounds of counts.

Only items on which the two differ say which one is better: b items that the candidate alone passes, c that the champion
alone passes. `confidence` is that of each bound, as gates look at one side; an `Interval` carries the two-sided one
(0.90 for bounds of 0.95). Repeated looks: stats/live.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.stats.intervals import Interval

if TYPE_CHECKING:
    from scipy import special
else:
    special = LazyLibrary("scipy.special")


def mcnemar(b: int, c: int) -> float:
    """Return the exact p-value of "the candidate passes no more items than the champion"; one-sided.

    Args:
        b: items that the candidate alone passes; 0 or more.
        c: items that the champion alone passes; 0 or more. Exchange both to test for a loss.

    Returns:
        P(X >= b) for X binomial(b + c, 1/2); 1 without items that differ.

    Raises:
        DataError: for negative counts.

    >>> round(mcnemar(12, 3), 4)
    0.0176

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12
    (1947), in its exact form.
    """
    if b < 0 or c < 0:
        raise DataError(f"{b} and {c} items: expected counts of 0 or more")
    return float(special.bdtrc(b - 1, b + c, 0.5)) if b else 1.0


def bonett_price(n: int, b: int, c: int, confidence: float = 0.95) -> Interval:
    """Return the difference of two pass rates on the same items, candidate minus champion.

    Args:
        n: items, 1 or more; independent.
        b: items that the candidate alone passes.
        c: items that the champion alone passes.
        confidence: of each bound.

    Returns:
        The difference (b - c) / n with its bounds, between -1 and 1.

    Raises:
        DataError: where b + c is more than n, for negative counts, and for a confidence that is not in [0.5, 1).

    >>> found = bonett_price(100, 12, 3)
    >>> f"{found.value:.2f} from {found.low:.3f} to {found.high:.3f}"
    '0.09 from 0.023 to 0.153'

    Source: D. G. Bonett & R. M. Price, Adjusted Wald confidence interval for a difference of binomial proportions based
    on paired data, Journal of Educational and Behavioral Statistics 37 (2012).
    """
    z = one_sided(confidence)
    if n < 1 or min(b, c) < 0 or b + c > n:
        raise DataError(f"{b} and {c} of {n} items: expected an item, and counts of 0 or more, together at most {n}")
    gained, lost = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = z * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    low, high = max(gained - lost - half, -1.0), min(gained - lost + half, 1.0)
    return Interval((b - c) / n, low, high, two_sided(confidence), n)


def clopper_pearson_upper(count: int, n: int, confidence: float = 0.95) -> float:
    """Return the exact upper bound of a share.

    Args:
        count: how often it happened, 0 to n.
        n: how often it could, 1 or more; independent.
        confidence: of the bound.

    Returns:
        The largest share at which `count` or fewer of n have a probability of 1 - confidence.

    Raises:
        DataError: for a count outside of 0 to n, and for a confidence that is not in [0.5, 1).

    >>> round(clopper_pearson_upper(0, 50), 3)
    0.058

    Source: C. J. Clopper & E. S. Pearson, The use of confidence or fiducial limits illustrated in the case of the
    binomial, Biometrika 26 (1934).
    """
    one_sided(confidence)
    if not 0 <= count <= n or n < 1:
        raise DataError(f"{count} of {n}: expected a count from 0 to {n}, of 1 or more")
    return 1.0 if count == n else float(special.betaincinv(count + 1, n - count, confidence))


def jeffreys(count: int, n: int, confidence: float = 0.95) -> Interval:
    """Return Jeffreys' interval of a share: quantiles of Beta(count + 1/2, n - count + 1/2).

    Args:
        count: how often it happened, 0 to n.
        n: how often it could, 1 or more; independent.
        confidence: of each bound.

    Returns:
        The share with its bounds; the lower one is 0 where the count is 0, the upper one 1 where it is n.

    Raises:
        DataError: for a count outside of 0 to n, and for a confidence that is not in [0.5, 1).

    >>> found = jeffreys(2, 5)
    >>> f"{found.value:.1f} from {found.low:.2f} to {found.high:.2f}"
    '0.4 from 0.13 to 0.74'

    Source: L. D. Brown, T. T. Cai & A. DasGupta, Interval estimation for a binomial proportion, Statistical Science 16
    (2001).
    """
    one_sided(confidence)
    if not 0 <= count <= n or n < 1:
        raise DataError(f"{count} of {n}: expected a count from 0 to {n}, of 1 or more")
    ends = special.betaincinv(count + 0.5, n - count + 0.5, [1 - confidence, confidence])
    low, high = (0.0 if count == 0 else float(ends[0])), (1.0 if count == n else float(ends[1]))
    return Interval(count / n, low, high, two_sided(confidence), n)


def one_sided(confidence: float) -> float:
    """Return the normal quantile of a one-sided confidence. Raises DataError unless it is in [0.5, 1)."""
    if not 0.5 <= confidence < 1:
        raise DataError(f"confidence {confidence}: expected a value from 0.5 to below 1")
    return NormalDist().inv_cdf(confidence)


def two_sided(confidence: float) -> float:
    """Return the confidence of an interval whose bounds have this one each."""
    return round(2 * confidence - 1, 12)
