"""How many windows count as one: the autocorrelation time of a statistic over reference windows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def autocorrelation_time(values: npt.ArrayLike) -> float:
    """Return tau0 = 1 + 2 (sum of the initial positive autocorrelations), at least 1; [m] in order of time.

    Sums of neighbouring autocorrelations are added in pairs while they stay positive (Geyer 1992, the initial
    positive sequence). A constant has 1.
    """
    x = np.asarray(values, np.float64)
    x = x - x.mean()
    variance = float(x @ x)
    if x.size < 3 or variance <= 1e-20:
        return 1.0
    rho = np.correlate(x, x, "full")[x.size - 1 :] / variance
    pairs = rho[: x.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    initial = pairs[: ends[0]] if ends.size else pairs
    return max(1.0, 2 * float(initial.sum()) - 1)


def tempering(values: npt.ArrayLike) -> float:
    """Return tau = tau0 (1 + sqrt(2 tau0 / m)): the autocorrelation time with room for its own doubt."""
    tau0 = autocorrelation_time(values)
    return tau0 * (1 + math.sqrt(2 * tau0 / np.size(values)))
