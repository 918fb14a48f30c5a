"""Student's t distribution with whole degrees of freedom, in closed form: without a library, for light processes.

Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 1964, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math
from functools import lru_cache

HALVINGS = 60
"""Of the interval that holds the angle, so that it is as exact as a float."""


@lru_cache(maxsize=256)
def t_quantile(confidence: float, degrees: int) -> float:
    """Return the value that |t| does not exceed with a probability.

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
