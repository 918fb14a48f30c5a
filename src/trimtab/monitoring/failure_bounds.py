"""Lower bounds of a version's error rate and 99th percentile, from the rows of a window.

Limits are compared with these bounds and not with the raw values: one failure of twenty is 5 %, and hardly proves a
rate above zero. The gateway's guard uses the same rule (guard/live_limits.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from trimtab.lazy_library import LazyLibrary
from trimtab.stats.schemes import Floats

if TYPE_CHECKING:
    from scipy import special
else:  # scipy.stats, which has these distributions too, takes a second to import
    special = LazyLibrary("scipy.special")

CHANCE = 1e-6
"""Probability that the true value is below a bound."""


def p99_at_least(latency_ms: Floats) -> float:
    """Return what the 99th percentile of the version is at least, [rows] -> milliseconds; 0 when that is not known.

    How many rows lie beyond the true percentile is binomial, so the next row behind the most that chance puts
    there bounds it, whatever the distribution (David and Nagaraja, Order Statistics, 2003, section 7.1). One pause of
    the machine, which a handful of requests wait for together, so breaks no limit; slowness that stays does. The rows
    of one request are slow together: take the lower bound of rows and of requests.
    """
    rows = len(latency_ms)
    place = rows - 1 - _most_beyond(rows)
    return float(np.partition(latency_ms, place)[place]) if place >= 0 else 0.0


def error_rate_at_least(errors: float, rows: float, *, failed_requests: float | None = None) -> float:
    """Return what share of its predictions the version fails at least; 0 without rows or errors.

    The exact lower bound of a binomial share (Clopper and Pearson, Biometrika 26, 1934). The rows of one request
    fail together, so they are one witness and not many: both counts are divided by the mean rows of a failed
    request. None: each row was a request.
    """
    if rows <= 0 or errors <= 0:
        return 0.0
    together = max(1.0, errors / failed_requests) if failed_requests else 1.0
    failed, requests = errors / together, rows / together
    return float(special.betaincinv(failed, max(requests - failed, 0.0) + 1, CHANCE))


def _most_beyond(rows: int) -> int:
    """Return the number of rows beyond the percentile that is exceeded with a probability of at most CHANCE."""
    most = math.ceil(special.bdtrik(1 - CHANCE, rows, 0.01)) if rows else 0
    return most - int(most > 0 and special.bdtrc(most - 1, rows, 0.01) <= CHANCE)
