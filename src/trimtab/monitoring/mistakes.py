"""Mistakes and their price.

A binary model says yes from its threshold on; a missed yes is a false negative, a wrong yes a false positive. The same
holds for anomalies. A multiclass model names a wrong class. A regression's mistake is its error: as a whole, and by its
direction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trimtab.metric_catalog import Task
from trimtab.monitoring.row_money import RowMoney
from trimtab.tasks import RULES

Floats = npt.NDArray[np.float64]

Costs = Mapping[str, float]
"""Money a mistake, by kind; of a regression, per unit of error. A kind is a Mistake or that of an ImpactFunction."""
Made = Mapping[str, float]
"""Mistakes a prediction, by kind."""


def mistakes(
    y: npt.ArrayLike, score: npt.ArrayLike, *, task: Task, threshold: float, own: RowMoney | None = None
) -> dict[str, Floats]:
    """Return each kind of mistake that has a price, a row, shape (rows,): 0 or 1, or the size of the error.

    y: labels; score: as `trimtab.tasks` says. Neither has NaN. own: adds the money of the project's function as one
    more kind. Raises ImpactFailed.
    """
    truth, said = np.asarray(y, np.float64), np.asarray(score, np.float64)
    made: dict[str, Floats] = dict(RULES[task].mistakes(truth, said, threshold).items())
    if own is not None:
        made[own.function.kind] = own.lost(truth, said)
    return made


def mean_mistakes(
    y: Floats, score: Floats, *, task: Task, threshold: float, own: RowMoney | None = None
) -> dict[str, float]:
    """Return the mean of each kind of mistake over rows (at least one). Raises ImpactFailed."""
    made = mistakes(y, score, task=task, threshold=threshold, own=own)
    return {kind: float(each.mean()) for kind, each in made.items()}


def row_costs(made: Mapping[str, Floats], costs: Costs) -> Floats:
    """Return the money lost on each row, shape (rows,), by what `mistakes` returned."""
    found: Floats = np.sum([each * costs.get(kind, 0.0) for kind, each in made.items()], axis=0)
    return found


def money(made: Made, costs: Costs) -> float:
    """Return what mistakes cost; a kind without a price costs nothing."""
    return sum(value * costs.get(kind, 0.0) for kind, value in made.items())
