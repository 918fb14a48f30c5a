"""How many windows count as one: the autocorrelation time of a statistic over reference windows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def autocorrelation_time(values: npt.ArrayLike) -> float:
    """Return tau0 = 1 + 2 (sum of the initial positive autocorrelations), at least 1; [m] in order of time.

    Autocorrelations are added until the first that is not positive, after the initial positive sequence of Geyer 1992.
    His adds them in pairs; over some 60 windows single ones are steadier when windows are independent, and as honest
    when they are not (measured in benchmarks/drift). A constant has 1.
    """
    x = np.asarray(values, np.float64)
    x = x - x.mean()
    variance = float(x @ x)
    if x.size < 3 or variance <= 1e-20:
        return 1.0
    rho = np.correlate(x, x, "full")[x.size - 1 :] / variance
    initial = rho[: int(np.argmax(rho <= 0))]  # they sum to -1/2 beyond lag 0, so one of them is not positive
    return 2 * float(initial.sum()) - 1


def tempering(values: npt.ArrayLike) -> float:
    """Return tau = tau0 (1 + sqrt(2 tau0 / m)): the autocorrelation time with room for its own doubt."""
    tau0 = autocorrelation_time(values)
    return tau0 * (1 + math.sqrt(2 * tau0 / np.size(values)))
