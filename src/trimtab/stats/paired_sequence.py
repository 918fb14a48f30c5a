"""Champion or challenger: an anytime-valid interval for the difference of their losses.

The unit is the window: the difference of both losses on the same labelled rows of it. For a mean of losses that is the
mean of the paired differences, for rmse the difference of two roots. Rows of one day fail together (design effect 5.8
on flights): a test on rows with repeated looks promotes a model that is no better most of the time.

The interval is an asymptotic confidence sequence (Waudby-Smith et al., time-uniform central limit theory): it holds
at all looks together in the limit of many windows; at the first looks it is an approximation, hence min_windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import Floats, as_floats

RHO_SQUARED = 1 / 20
"""Where the sequence is tightest: around 20 to 60 windows."""
MIN_WINDOWS = 10

Verdict = Literal["promote", "futile", "continue"]


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """The state of a comparison. Differences are champion's loss minus challenger's: positive = challenger better."""

    verdict: Verdict
    n: int
    """Windows."""
    mean: float
    """Mean difference, in the loss's unit; NaN without windows."""
    lower: float
    """P(the true mean is ever below) <= 1 - confidence; -inf before min_windows."""
    upper: float
    """P(the true mean is ever above) <= 1 - confidence; inf before min_windows."""
    reason: str


def compare(
    differences: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    min_windows: int = MIN_WINDOWS,
    smallest_effect: float = 0.0,
) -> PairedComparison:
    """Return whether to promote the challenger, to stop, or to continue; valid when called after every window.

    Args:
        differences: for each matured window, in order of time, champion loss minus challenger loss on the same
            labelled rows, [windows]. Positive: the challenger is better.
        confidence: of each bound, at all looks together.
        min_windows: before so many, the verdict is "continue".
        smallest_effect: the smallest improvement worth having, in the loss's unit; 0 or more.

    Returns:
        The verdict with its bounds and the reason.

    Raises:
        DataError: for differences that are not finite, and for settings out of range.

    >>> compare([0.02, 0.01, 0.03] * 10).verdict
    'promote'
    >>> compare([0.02, 0.01, 0.03]).reason
    '3 of at least 10 windows'

    Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory and asymptotic confidence
    sequences, Annals of Statistics 52 (2024).
    """
    x = as_floats(differences).astype(np.float64)
    if not np.isfinite(x).all():
        raise DataError("a window has no finite loss difference: leave windows without labels out")
    if not 0.5 <= confidence < 1 or smallest_effect < 0 or min_windows < 2:
        raise DataError(
            f"confidence {confidence}, smallest_effect {smallest_effect}, min_windows {min_windows}: expected a "
            "confidence from 0.5 to below 1, an effect of 0 or more and at least 2 windows"
        )
    mean = float(x.mean()) if x.size else math.nan
    if x.size < min_windows:
        reason = f"{x.size} of at least {min_windows} windows"
        return PairedComparison(verdict="continue", n=x.size, mean=mean, lower=-math.inf, upper=math.inf, reason=reason)
    half = float(x.std(ddof=1)) * half_width(x.size, alpha=1 - confidence)
    lower, upper = mean - half, mean + half
    verdict, reason = _judge(lower, upper, smallest_effect)
    return PairedComparison(verdict=verdict, n=x.size, mean=mean, lower=lower, upper=upper, reason=reason)


def half_width(n: int, *, alpha: float, rho_squared: float = RHO_SQUARED) -> float:
    """Return the half width of a one-sided bound after n windows, in standard deviations of a window."""
    spread = n * rho_squared + 1
    return math.sqrt(2 * spread / (n * n * rho_squared) * math.log(1 + math.sqrt(spread) / (2 * alpha)))


def window_means(values: npt.ArrayLike, windows: npt.ArrayLike) -> Floats:
    """Return the mean of the rows of each window, in order of the window ids; both [rows]."""
    _, place = np.unique(np.asarray(windows), return_inverse=True)
    means: Floats = np.bincount(place, weights=as_floats(values)) / np.bincount(place)
    return means


def _judge(lower: float, upper: float, smallest_effect: float) -> tuple[Verdict, str]:
    if lower > 0:
        return "promote", f"the challenger's loss is lower by {lower:.3g} or more"
    if upper < smallest_effect:
        return "futile", f"the challenger gains at most {upper:.3g}, {smallest_effect:.3g} is worth having"
    return "continue", f"the challenger's gain lies between {lower:.3g} and {upper:.3g}: not decided"
