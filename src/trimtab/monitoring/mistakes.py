"""Mistakes and their price.

A binary model says yes from its threshold on; a missed yes is a false negative, a wrong yes a false positive. The same
holds for anomalies. A multiclass model names a wrong class. A regression's mistake is its error: as a whole, and by its
direction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trimtab.metric_catalog import Mistake, Task
from trimtab.tasks import RULES

Floats = npt.NDArray[np.float64]

Costs = Mapping[Mistake, float]
"""Money a mistake; of a regression, per unit of error."""
Made = Mapping[Mistake, float]
"""Mistakes a prediction, by kind."""


def mistakes(y: npt.ArrayLike, score: npt.ArrayLike, *, task: Task, threshold: float) -> dict[Mistake, Floats]:
    """Return each kind of mistake that has a price, a row, shape (rows,): 0 or 1, or the size of the error.

    y: labels; score: as `trimtab.tasks` says. Neither has NaN.
    """
    return RULES[task].mistakes(np.asarray(y, np.float64), np.asarray(score, np.float64), threshold)


def mean_mistakes(y: Floats, score: Floats, *, task: Task, threshold: float) -> dict[Mistake, float]:
    """Return the mean of each kind of mistake over rows (at least one)."""
    return {kind: float(each.mean()) for kind, each in mistakes(y, score, task=task, threshold=threshold).items()}


def money(made: Made, costs: Costs) -> float:
    """Return what mistakes cost; a kind without a price costs nothing."""
    return sum(value * costs.get(kind, 0.0) for kind, value in made.items())
