"""Which difference a set of examples can show, before money is spent: one-sided tests with a given power."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.stats.paired.pass_rates import one_sided
from trimtab.stats.schemes import Ints

if TYPE_CHECKING:
    from scipy import special
else:
    special = LazyLibrary("scipy.special")

POWER = 0.8
STEP = 0.0001
"""To how much an effect is computed."""
FAR = 9.0
"""Counts beyond so many standard deviations from their mean are left out: their probability is below 1e-18."""


def smallest_effect_passes(n: int, differing: float, *, confidence: float = 0.95, power: float = POWER) -> float | None:
    """Return the smallest difference of pass rates that the exact McNemar test finds.

    Args:
        n: items, 1 or more.
        differing: share of items that only one of the two prompts passes, above 0 and at most 1; at equal size more of
            them hide a difference better.
        confidence: of the test, 1 - its one-sided level.
        power: probability that the difference is found.

    Returns:
        The difference as a share, at most `differing`; None where even the largest one is not found with this power.

    Raises:
        DataError: for an argument that is out of range.

    >>> smallest_effect_passes(50, 0.1), smallest_effect_passes(200, 0.1)
    (None, 0.0577)
    """
    _check(n, confidence, power)
    if not 0 < differing <= 1:
        raise DataError(f"share of items that differ {differing}: expected a value above 0, at most 1")
    spread = FAR * math.sqrt(n * differing * (1 - differing)) + 1
    counts = np.arange(max(0, math.floor(n * differing - spread)), min(n, math.ceil(n * differing + spread)) + 1)
    weights = special.bdtr(counts, n, differing) - np.where(counts > 0, special.bdtr(counts - 1, n, differing), 0.0)
    fewest = _fewest_gained(counts, 1 - confidence)

    def found(effect: float) -> float:
        gained = (differing + effect) / (2 * differing)
        return float(weights @ special.bdtrc(fewest - 1, counts, min(gained, 1.0)))

    if found(differing) < power:
        return None
    low, high = 0, math.ceil(differing / STEP)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle * STEP) >= power else (middle, high)
    return min(round(high * STEP, 4), differing)


def smallest_margin_passes(n: int, differing: float, *, confidence: float = 0.95, power: float = POWER) -> float:
    """Return the smallest tolerated loss of the pass rate with which an equally good prompt is shown to be "not worse".

    Args:
        n: items, 1 or more.
        differing: share of items that only one of the two prompts passes, from 0 to 1.
        confidence: of the lower bound.
        power: probability that an equally good prompt passes.

    Returns:
        The margin as a share: how far the lower bound of `bonett_price` lies below 0 on average, plus the z of the
        power times the standard error.

    Raises:
        DataError: for an argument that is out of range.

    >>> [round(smallest_margin_passes(n, 0.1), 3) for n in (50, 200, 1000)]
    [0.12, 0.057, 0.025]
    """
    if not 0 <= differing <= 1:
        raise DataError(f"share of items that differ {differing}: expected a value from 0 to 1")
    _check(n, confidence, power)
    changed = n * differing
    return (one_sided(confidence) * math.sqrt(changed + 2) + one_sided(power) * math.sqrt(changed)) / (n + 2)


def smallest_effect_scores(n: int, sd: float, *, confidence: float = 0.95, power: float = POWER) -> float:
    """Return the smallest mean difference of scores that a one-sided test finds.

    It is also the smallest margin with which an equally good prompt is shown to be "not worse".

    Args:
        n: items, or clusters where items vary together; 1 or more.
        sd: standard deviation of the differences of items, or of the means of clusters; 0 or more.
        confidence: of the test, 1 - its one-sided level.
        power: probability that the difference is found.

    Returns:
        The difference, in the unit of sd.

    Raises:
        DataError: for an argument that is out of range.

    >>> round(smallest_effect_scores(200, 0.2), 3)
    0.035
    """
    if not 0 <= sd < math.inf:
        raise DataError(f"standard deviation {sd}: expected a value of 0 or more")
    return _check(n, confidence, power) * sd / math.sqrt(n)


def smallest_effect_unpaired(n: int, rate: float, *, confidence: float = 0.95, power: float = POWER) -> float:
    """Return the smallest difference of pass rates that two different sets of n items find: what pairing saves.

    Args:
        n: items of each set, 1 or more.
        rate: pass rate, from 0 to 1.
        confidence: of the test, 1 - its one-sided level.
        power: probability that the difference is found.

    Returns:
        The difference as a share.

    Raises:
        DataError: for an argument that is out of range.

    >>> round(smallest_effect_unpaired(200, 0.8), 3)
    0.099
    """
    if not 0 <= rate <= 1:
        raise DataError(f"pass rate {rate}: expected a value from 0 to 1")
    return _check(n, confidence, power) * math.sqrt(2 * rate * (1 - rate) / n)


def _check(n: int, confidence: float, power: float) -> float:
    """Return the sum of the normal quantiles of confidence and power: 2.49 for .95 and .8."""
    if n < 1 or not 0.5 <= power < 1:
        raise DataError(f"{n} items, power {power}: expected an item or more, and a power from 0.5 to below 1")
    return one_sided(confidence) + one_sided(power)


def _fewest_gained(differing: Ints, level: float) -> Ints:
    """Return, for so many items that differ, how many of them the better prompt must gain; one more where none do."""
    first = np.nan_to_num(special.bdtrik(1 - level, differing, 0.5)).astype(np.int64)
    candidates = first[:, None] + np.arange(3)
    enough = special.bdtrc(candidates - 1, differing[:, None], 0.5) <= level
    fewest: Ints = np.minimum(first + enough.argmax(axis=1), differing + 1)
    return fewest
