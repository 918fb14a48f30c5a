"""Mistakes and their price. Called by reference.py, outcomes.py and whoever sums up money.

A binary model says yes from its threshold on; a missed yes is a false negative, a yes too many a false positive.
A regression's mistake is its absolute error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.definitions import Task

Floats = npt.NDArray[np.float64]

Mistake = Literal["false_negative", "false_positive", "absolute_error"]
"""Kinds of mistakes, as `impact.cost` in the policy names them."""
Costs = Mapping[Mistake, float]
"""Money a mistake; absolute_error is per unit of error."""
Made = Mapping[Mistake, float]
"""Mistakes a prediction, by kind."""


def mistakes(y: npt.ArrayLike, score: npt.ArrayLike, *, task: Task, threshold: float) -> dict[Mistake, Floats]:
    """Return each kind of mistake a row, shape (rows,): 0 or 1, or the size of the error.

    y: labels; score: probability of yes, or the predicted value. Neither has NaN.
    """
    truth, said = np.asarray(y, np.float64), np.asarray(score, np.float64)
    if task == "regression":
        return {"absolute_error": np.abs(truth - said)}
    yes = said >= threshold
    return {
        "false_negative": ((truth > 0.5) & ~yes).astype(np.float64),
        "false_positive": ((truth <= 0.5) & yes).astype(np.float64),
    }


def mean_mistakes(y: Floats, score: Floats, *, task: Task, threshold: float) -> dict[Mistake, float]:
    """Return the mean of each kind of mistake over rows (at least one)."""
    return {kind: float(each.mean()) for kind, each in mistakes(y, score, task=task, threshold=threshold).items()}


def money(made: Made, costs: Costs) -> float:
    """Return what mistakes cost; a kind without a price costs nothing."""
    return sum(value * costs.get(kind, 0.0) for kind, value in made.items())
