"""How far groups are apart in a rate: Fairlearn's metrics by counting, quick enough to bootstrap. Called by bias.py.

The figure itself comes from Fairlearn; this gives the same one (tests compare them) and serves the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from trimtab.gates.inputs import Array

RATES = {
    "demographic_parity": ("selection_rate",),
    "equalized_odds": ("tpr", "fpr"),
    "equal_opportunity": ("tpr",),
}
"""Which rates of the groups a family of fairness metrics compares; the widest of them makes the figure."""


def rates_of(metric: str) -> tuple[str, ...]:
    """Return the rates that a metric such as equalized_odds_difference compares."""
    return RATES[metric.rpartition("_")[0]]


def spread(metric: str, groups: int) -> Callable[[Array, Array, Array], float]:
    """Return the metric as a function of truth (0/1), answers (0/1) and group codes (0..groups-1)."""
    is_ratio = metric.endswith("_ratio")

    def statistic(truth: Array, said: Array, code: Array) -> float:
        found = []
        for rate in rates_of(metric):
            chosen = np.ones(len(truth), dtype=bool) if rate == "selection_rate" else truth == int(rate == "tpr")
            rows = np.bincount(code[chosen], minlength=groups)
            yes = np.bincount(code[chosen], weights=said[chosen], minlength=groups)
            shares = yes[rows > 0] / rows[rows > 0]
            if len(shares) < 2:
                return math.nan
            found.append(_ratio(shares) if is_ratio else float(shares.max() - shares.min()))
        return min(found) if is_ratio else max(found)

    return statistic


def _ratio(shares: Array) -> float:
    return float(shares.min() / shares.max()) if shares.max() > 0 else math.nan
