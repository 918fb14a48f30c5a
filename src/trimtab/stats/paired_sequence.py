"""Champion or challenger: a score of their paired losses that may be looked at after every window.

The unit is the window: the difference of both losses on the same labelled rows of it. For a mean of losses that is the
mean of the paired differences, for rmse the difference of two roots. Rows of one day fail together (design effect 5.8
on flights): a test on rows with repeated looks promotes a model that is no better most of the time.

Two kinds of windows count: held-out windows from before the comparison, which neither model was trained on, and then
live windows. The mean of both is divided by a standard error that is widened for windows that resemble the one before,
for rare large losses and for few windows, and the result is compared with a boundary for repeated looks:

- autocorrelation: the lag-1 correlation r, corrected for its bias of -(1 + 4r) / n, drawn towards 1/2 as if by 20 more
  windows, plus half a standard error; the variance of the mean is multiplied by (1 + r) / (1 - r);
- skewness: Johnson's modified t, in Hall's form, which is monotone, for rare large losses alone;
- few windows: the t-statistic is converted to a normal one (Wallace), with n / tau - 1 degrees of freedom;
- repeated looks: the boundary of Wang & Tsiatis, c ((h + N) / n)^(1/4), for h held-out windows and N looks.

Theorem: no rule with error alpha and power 1 - beta at an effect of d standard deviations of a window decides in fewer
windows on average than kl(1 - beta, alpha) / (d^2 / 2), times the autocorrelation time (`fewest_windows`). The error is
exact for independent normal windows and a constant of the boundary that was computed for them. Heuristic, held by
measurement (benchmarks/comparison): the form of the autocorrelation and how far it is drawn, the guard against
skewness, the constant c, how it follows from `confidence`, and that held-out windows count like live ones. The rule is
valid for N looks; a new comparison has an error of its own. It does not hold where live windows differ from all windows
before, such as a season that was never seen: for that the former champion is compared with the new one after a
promotion (monitoring/verdict.py).

Sources: Johnson, Modified t tests and confidence intervals for asymmetrical populations, JASA 73 (1978); Hall, On the
removal of skewness by transformation, JRSS B 54 (1992); Wallace, Bounds on normal approximations to Student's and the
chi-square distributions, Annals of Mathematical Statistics 30 (1959); Wang & Tsiatis, Approximately optimal
one-parameter boundaries for group sequential trials, Biometrics 43 (1987); Marriott & Pope, Bias in the estimation of
autocorrelations, Biometrika 41 (1954); Kaufmann & Garivier, On the complexity of best-arm identification in multi-armed
bandit models, JMLR 17 (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import Floats, as_floats

CONFIDENCE = 0.95
MIN_WINDOWS = 20
MIN_LIVE_WINDOWS = 5
MAX_WINDOWS = 60
BOUNDARY, BOUNDARY_ALONE = 2.15, 0.30
"""The constant of the boundary at a confidence of 0.95, and what is added where no window is held out."""
ENOUGH_HELD_OUT = 72
"""Held-out windows from which on nothing is added."""
DRAWN_TO, DRAWN_BY = 0.5, 20
"""The lag-1 correlation is drawn towards this value as if by so many further windows."""
MOST_CORRELATED = 0.9
CONSTANT = 1e-9
"""Differences whose spread is below this share of the largest of them are constant."""

Verdict = Literal["promote", "futile", "continue"]


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """The state of a comparison. Differences are champion's loss minus challenger's: positive = challenger better."""

    verdict: Verdict
    n: int
    """Windows in all."""
    held_out: int
    """Windows of these that were held out."""
    mean: float
    """Mean difference of all windows, in the loss's unit; NaN without windows."""
    lower: float
    """Lower bound of the mean difference at the given confidence, at all looks together; -inf before min_windows."""
    upper: float
    """Upper bound, likewise; inf before min_windows."""
    reason: str


def compare(
    differences: npt.ArrayLike,
    *,
    held_out: npt.ArrayLike = (),
    confidence: float = CONFIDENCE,
    min_windows: int = MIN_WINDOWS,
    min_live_windows: int = MIN_LIVE_WINDOWS,
    max_windows: int = MAX_WINDOWS,
    smallest_effect: float = 0.0,
    tolerate: float = 0.0,
) -> PairedComparison:
    """Return whether to promote the challenger, to stop, or to continue; valid when called after every live window.

    The challenger is promoted when the mean of all windows is above 0, its lower bound above -tolerate, and the mean
    of the live windows alone above -tolerate. The comparison is futile when the upper bound is below the smallest
    effect. Constant differences are never promoted: their spread says nothing.

    Args:
        differences: for each matured live window, in order of time, champion loss minus challenger loss on the same
            labelled rows, [windows]. Positive: the challenger is better.
        held_out: the same for windows before the comparison that neither model was trained on, [windows].
        confidence: of each bound, at all looks together; from 0.5 to below 1.
        min_windows: before so many in all, the verdict is "continue"; at most held_out + max_windows are asked for.
        min_live_windows: before so many live ones, the verdict is "continue"; at most min_windows are asked for.
        max_windows: live windows up to which the bounds hold.
        smallest_effect: the smallest improvement worth having, in the loss's unit; 0 or more.
        tolerate: by how much the challenger's loss may at worst be higher, in the loss's unit; 0 or more.

    Returns:
        The verdict with its bounds and the reason.

    Raises:
        DataError: for differences that are not finite, and for settings out of range.

    >>> compare([0.02, 0.01, 0.03] * 10).verdict
    'promote'
    >>> compare([0.02, 0.01, 0.03] * 2, held_out=[0.03, 0.01, 0.02] * 10).verdict
    'promote'
    >>> compare([0.02, 0.01, 0.03]).reason
    '3 of at least 20 windows'
    """
    live, before = as_floats(differences).astype(np.float64), as_floats(held_out).astype(np.float64)
    x = np.concatenate([before, live])
    if not np.isfinite(x).all():
        raise DataError("a window has no finite loss difference: leave windows without labels out")
    _check(confidence, smallest_effect, tolerate, min(min_windows, max_windows), min_live_windows)
    mean = float(x.mean()) if x.size else math.nan
    needed, needed_live = min(min_windows, before.size + max_windows), min(min_live_windows, min_windows)
    verdict: Verdict = "continue"
    lower, upper, reason = -math.inf, math.inf, f"{x.size} of at least {needed} windows"
    if x.size >= needed:
        ends = paired_bounds(x, held_out=before.size, max_windows=max_windows, confidence=confidence)
        lower, upper = float(ends[0]), float(ends[1])
        if live.size < needed_live:
            reason = f"{live.size} of at least {needed_live} live windows"
        else:
            verdict, reason = _judge(mean, float(live.mean()), lower, upper, smallest_effect, tolerate)
    return PairedComparison(
        verdict=verdict, n=x.size, held_out=before.size, mean=mean, lower=lower, upper=upper, reason=reason
    )


def paired_bounds(
    differences: npt.ArrayLike, *, held_out: int, max_windows: int = MAX_WINDOWS, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Return the lower and the upper bound of the mean difference, each valid at all looks together.

    Args:
        differences: of one comparison or of many, in order of time, [..., windows]; at least 2 windows.
        held_out: how many of the first windows were held out; the rest are live.
        max_windows: live windows up to which the bounds hold.
        confidence: of each bound.

    Returns:
        Lower and upper bounds, [...]; infinite where all differences are equal.

    Raises:
        DataError: for fewer than 2 windows.

    >>> lower, upper = paired_bounds([[0.1, 0.3, 0.2] * 10, [-0.1, -0.3, -0.2] * 10], held_out=0)
    >>> lower.round(2).tolist(), upper.round(2).tolist()
    ([0.15, -0.25], [0.25, -0.15])
    """
    x = np.asarray(differences, np.float64)
    n = x.shape[-1] if x.ndim else 0
    if n < 2:
        raise DataError(f"{n} windows: bounds need at least 2")
    mean = x.mean(axis=-1)
    size = np.abs(x).max(axis=-1)
    scaled = (x - mean[..., None]) / np.where(size > 0, size, 1)[..., None]  # no power of it leaves the range of floats
    squares = (scaled**2).sum(axis=-1)
    varied = squares > CONSTANT**2 * n
    squares = np.where(varied, squares, 1)
    skewness = (scaled**3).mean(axis=-1) / (squares / n) ** 1.5
    tau = _autocorrelation_time((scaled[..., 1:] * scaled[..., :-1]).sum(axis=-1) / squares, n)
    error = size * np.sqrt(squares / (n - 1) * tau / n)
    t = _student(boundary(n, held_out=held_out, max_windows=max_windows, confidence=confidence), n / tau - 1)
    lower = mean - error * _unskewed(t, skewness, n)
    upper = mean + error * _unskewed(t, -skewness, n)
    return np.where(varied, lower, -np.inf), np.where(varied, upper, np.inf)


def boundary(n: int, *, held_out: int, max_windows: int, confidence: float = CONFIDENCE) -> float:
    """Return how many standard errors the mean of n windows must lie above a value to prove it, at this look.

    A confidence other than 0.95 moves the constant by the difference of the normal quantiles, which measured nulls
    bear out (benchmarks/comparison).
    """
    constant = BOUNDARY + BOUNDARY_ALONE * max(0.0, 1 - held_out / ENOUGH_HELD_OUT)
    constant += NormalDist().inv_cdf(confidence) - NormalDist().inv_cdf(CONFIDENCE)
    return constant * math.sqrt(math.sqrt(max(1.0, (held_out + max_windows) / n)))


def fewest_windows(effect: float, *, power: float, alpha: float = 1 - CONFIDENCE, tau: float = 1.0) -> float:
    """Return how many windows any rule needs on average to prove an effect.

    Args:
        effect: mean difference in standard deviations of a window; above 0.
        power: probability that the effect is found; above alpha.
        alpha: probability that a difference of 0 is taken for an effect.
        tau: autocorrelation time: the long-run variance of windows over their variance; 1 for independent ones.

    Returns:
        The bound kl(power, alpha) / (effect^2 / 2) tau.

    >>> round(fewest_windows(0.5, power=0.81), 1)
    15.6
    """
    information = power * math.log(power / alpha) + (1 - power) * math.log((1 - power) / (1 - alpha))
    return information / (effect**2 / 2) * tau


def window_means(values: npt.ArrayLike, windows: npt.ArrayLike) -> Floats:
    """Return the mean of the rows of each window, in order of the window ids; both [rows]."""
    _, place = np.unique(np.asarray(windows), return_inverse=True)
    means: Floats = np.bincount(place, weights=as_floats(values)) / np.bincount(place)
    return means


def _autocorrelation_time(r: Floats, n: int) -> Floats:
    """Return by how much correlation widens the variance of a mean. r: lag-1 correlation of n windows."""
    r = r + (1 + 4 * r) / n
    r = (n * r + DRAWN_BY * DRAWN_TO) / (n + DRAWN_BY) + 0.5 / math.sqrt(n + DRAWN_BY)
    r = np.clip(r, 0, MOST_CORRELATED)
    return (1 + r) / (1 - r)


def _student(z: float, degrees: Floats) -> Floats:
    """Return the t-statistic that is as improbable as a normal one of z > 0: the inverse of Wallace's conversion."""
    degrees = np.maximum(degrees, 1)
    return np.sqrt(degrees * np.expm1((z * (8 * degrees + 3) / (8 * degrees + 1)) ** 2 / degrees))


def _unskewed(t: Floats, skewness: Floats, n: int) -> Floats:
    """Return the unmodified statistic z whose modified form is t; modified for rare large losses alone.

    Hall's form of Johnson's t: z + c (2 z^2 + 1) / (6 sqrt n) + c^2 z^3 / (27 n), with c the skewness less its standard
    error, at most 0. It is the cube of a line, so z follows from t.
    """
    c = np.minimum(skewness - math.sqrt(6 / n), 0)
    root, modified = math.sqrt(n), np.where(c < 0, c, -1)
    z = 3 * root / modified * (np.cbrt(1 + modified / root * (t - modified / (6 * root))) - 1)
    return np.where(c < 0, z, t)


def _judge(
    mean: float, live: float, lower: float, upper: float, smallest_effect: float, tolerate: float
) -> tuple[Verdict, str]:
    """Return the verdict and its reason. live: mean of the live windows."""
    if not math.isfinite(lower):
        return "continue", "the difference is the same in all windows, so its spread says nothing"
    if upper < smallest_effect:
        return "futile", f"the challenger gains at most {upper:.3g}, {smallest_effect:.3g} is worth having"
    if mean <= 0 or lower <= -tolerate:
        return "continue", f"the challenger's gain lies between {lower:.3g} and {upper:.3g}: not decided"
    if live <= -tolerate:
        return "continue", f"the challenger gains {mean:.3g} in all, but {live:.3g} in live windows"
    if lower > 0:
        return "promote", f"the challenger's loss is lower by {lower:.3g} or more"
    return "promote", f"the challenger gains {mean:.3g} and loses at most {-lower:.3g}; {tolerate:.3g} is tolerated"


def _check(confidence: float, smallest_effect: float, tolerate: float, windows: int, live: int) -> None:
    if 0.5 <= confidence < 1 and 0 <= smallest_effect < math.inf and 0 <= tolerate < math.inf and windows > 1 <= live:
        return
    raise DataError(
        f"confidence {confidence}, smallest_effect {smallest_effect}, tolerate {tolerate}, windows {windows}, live "
        f"windows {live}: expected a confidence from 0.5 to below 1, an effect and a tolerated loss of 0 or more, 2 "
        "windows or more and 1 live window or more"
    )
