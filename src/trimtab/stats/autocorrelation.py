"""How many windows count as one: the autocorrelation time of a statistic over reference windows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def autocorrelation_time(values: npt.ArrayLike) -> float:
    """Return tau0 = 1 + 2 (sum of the initial large autocorrelations), at least 1; [m] in order of time.

    Autocorrelations are added until the first that is within 1/sqrt(m), the standard error of one of independent
    values; after the initial positive sequence of Geyer 1992, which adds them in pairs until the first negative pair.
    Over some 60 windows this is steadier when windows are independent, and as honest when they are not (measured in
    benchmarks/drift). A constant has 1.
    """
    x = np.asarray(values, np.float64)
    x = x - x.mean()
    variance = float(x @ x)
    if x.size < 3 or variance <= 1e-20:
        return 1.0
    rho = np.correlate(x, x, "full")[x.size - 1 :] / variance
    initial = rho[: int(np.argmax(rho <= x.size**-0.5))]  # they sum to -1/2 beyond lag 0, so one of them is small
    return 2 * float(initial.sum()) - 1


def tempering(values: npt.ArrayLike) -> float:
    """Return tau = tau0 (1 + sqrt(2 tau0 / m)): the autocorrelation time with room for its own doubt."""
    tau0 = autocorrelation_time(values)
    return tau0 * (1 + math.sqrt(2 * tau0 / np.size(values)))
