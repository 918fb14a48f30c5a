"""The rules that are compared: at which live window each promotes, for many streams at once.

Each returns the number of the live window at which a stream is promoted, infinite when it never is, [streams].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trimtab.stats.paired_sequence import CONFIDENCE, MIN_LIVE_WINDOWS, MIN_WINDOWS, boundary, paired_bounds

Floats = npt.NDArray[np.float64]
Bounds = Callable[[Floats, int, int], Floats]
"""(differences so far [streams, windows], windows held out, looks) -> lower bounds, [streams]."""


PRIOR_MEAN, PRIOR_SD = 0.5, 0.5


def first_promotion(
    x: Floats,
    held_out: int,
    lower: Bounds,
    *,
    tolerate: float = 0.0,
    windows: int = MIN_WINDOWS,
    live: int = MIN_LIVE_WINDOWS,
) -> Floats:
    """Look after every live window; promoted when the mean is above 0 and its lower bound above -tolerate."""
    looks = x.shape[1] - held_out
    found = np.full(len(x), np.inf)
    for look in range(live, looks + 1):
        seen = x[:, : held_out + look]
        if seen.shape[1] < windows:
            continue
        gains = (seen.mean(axis=1) > 0) & (seen[:, held_out:].mean(axis=1) > -tolerate)
        promoted = gains & (lower(seen, held_out, looks) > -tolerate) & np.isinf(found)
        found[promoted] = look
    return found


def product(x: Floats, held_out: int, looks: int, confidence: float = CONFIDENCE) -> Floats:
    """The rule of the product."""
    return paired_bounds(x, held_out=held_out, max_windows=looks, confidence=confidence)[0]


def johnson(x: Floats, held_out: int, looks: int) -> Floats:
    """The rule of the product with Johnson's t as it stands: without the cubic term that makes it monotone.

    It has no bound, since a larger gain can have a smaller score; what is returned has the sign of its verdict.
    """
    score, _ = _score(x, cubic=False)
    found: Floats = score - boundary(x.shape[1], held_out=held_out, max_windows=looks)
    return found


def prior(x: Floats, held_out: int, looks: int, alpha: float = 1 - CONFIDENCE) -> Floats:
    """A Bayes factor of the score: a gain of 0 against gains as past challengers had them, here (0.5 +- 0.5) sd.

    Ville's inequality bounds its error at all looks where windows are normal and their autocorrelation is known. What
    is returned has the sign of its verdict.
    """
    score, tau = _score(x)
    n = x.shape[1] / tau
    seen = score / np.sqrt(n)
    factor = _log_density(seen, PRIOR_MEAN, PRIOR_SD**2 + 1 / n) - _log_density(seen, 0.0, 1 / n)
    found: Floats = np.where(seen > 0, factor + math.log(alpha), -1.0)
    return found


def _log_density(x: Floats, mean: float, variance: Floats) -> Floats:
    found: Floats = -((x - mean) ** 2) / (2 * variance) - np.log(variance) / 2
    return found


def _score(x: Floats, *, cubic: bool = True) -> tuple[Floats, Floats]:
    """Return the score of a gain above 0, and the autocorrelation time, as the documentation writes them; [streams]."""
    n = x.shape[1]
    mean, sd = x.mean(axis=1), x.std(axis=1, ddof=1)
    apart = x - mean[:, None]
    squares = (apart**2).sum(axis=1)
    r = (apart[:, 1:] * apart[:, :-1]).sum(axis=1) / squares
    r = r + (1 + 4 * r) / n
    r = np.clip((n * r + 10) / (n + 20) + 0.5 / math.sqrt(n + 20), 0, 0.9)
    tau = (1 + r) / (1 - r)
    z = mean / (sd * np.sqrt(tau / n))
    c = np.minimum((apart**3).mean(axis=1) / (squares / n) ** 1.5 - math.sqrt(6 / n), 0)
    z = z + c * (2 * z**2 + 1) / (6 * math.sqrt(n)) + (c**2 * z**3 / (27 * n) if cubic else 0)
    df = np.maximum(n / tau - 1, 1)
    return np.sign(z) * (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(z**2 / df)), tau


def asymptotic(x: Floats, held_out: int, looks: int, rho_squared: float = 1 / 20) -> Floats:
    """The rule before: an asymptotic confidence sequence, which takes windows for independent.

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Annals of Statistics 52 (2024). It used no held-out windows.
    """
    live = x[:, held_out:]
    n = live.shape[1]
    spread = n * rho_squared + 1
    radius = math.sqrt(2 * spread / (n**2 * rho_squared) * math.log(1 + math.sqrt(spread) / (2 * (1 - CONFIDENCE))))
    found: Floats = live.mean(axis=1) - live.std(axis=1, ddof=1) * radius
    return found


def empirical_bernstein(x: Floats, held_out: int, looks: int, alpha: float = 1 - CONFIDENCE) -> Floats:
    """A predictable plug-in empirical-Bernstein sequence, which is valid for bounded differences.

    Its range is not known here: the largest distance from the median so far, doubled, is taken for half of it, so it
    is a heuristic, too. Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, JRSS B 86
    (2024), theorem 2.
    """
    n = x.shape[1]
    middle = np.median(x, axis=1, keepdims=True)
    half = 2 * np.abs(x - middle).max(axis=1, keepdims=True)
    y = np.clip((x - middle) / (2 * half) + 0.5, 0, 1)
    t = np.arange(1, n + 1)
    means = (0.5 + y.cumsum(axis=1)) / (t + 1)
    variances = (0.25 + ((y - means) ** 2).cumsum(axis=1)) / (t + 1)
    before = np.concatenate([np.full((len(y), 1), 0.5), means[:, :-1]], axis=1)
    spread = np.concatenate([np.full((len(y), 1), 0.25), variances[:, :-1]], axis=1)
    bet = np.minimum(np.sqrt(2 * math.log(1 / alpha) / (spread * t * np.log(1 + t))), 0.5)
    cost = (-np.log1p(-bet) - bet) / 4
    used = (bet * y - 4 * (y - before) ** 2 * cost).sum(axis=1)
    lower = (used + math.log(alpha)) / bet.sum(axis=1)
    found: Floats = (lower - 0.5) * 2 * half[:, 0] + middle[:, 0]
    return found
