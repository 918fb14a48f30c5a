"""The loss that a model expects of itself, and the excess over it.

binary      Brier - p (1 - p): a calibrated model's Brier loss is p (1 - p) in the mean, however hard the rows are
regression  squared error - its mean in the reference among rows of a like prediction (20 quantile bins)

So a shift of the inputs alone, towards cases that are harder, is not taken for concept drift.
"""

from __future__ import annotations

from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.metric_catalog import Task
from trimtab.monitoring.mistakes import mistakes
from trimtab.monitoring.row_money import RowMoney

Floats = npt.NDArray[np.float64]

BINS = 20
MIN_ROWS_A_BIN = 50


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """The loss that a model expects. A regression's: `losses[i]` for predictions in [edges[i-1], edges[i])."""

    task: Task
    edges: tuple[float, ...] = ()
    losses: tuple[float, ...] = (0.0,)
    errors: dict[str, tuple[float, ...]] = {}
    """Mean errors of a regression by kind, one a bin; references of earlier releases do not have them."""

    @classmethod
    def fit(cls, y: Floats, score: Floats, *, task: Task, own: RowMoney | None = None) -> Self:
        """Fit it to labels and out-of-sample scores, shape (rows,), without NaN. Raises ImpactFailed."""
        if task == "binary" or not len(y):
            return cls(task=task)
        bins = max(1, min(BINS, len(y) // MIN_ROWS_A_BIN))
        edges = np.unique(np.quantile(score, np.arange(1, bins) / bins))
        loss, place = (y - score) ** 2, np.searchsorted(edges, score, side="right")
        rows = np.bincount(place, minlength=len(edges) + 1)
        sums = np.bincount(place, weights=loss, minlength=len(edges) + 1)
        means = np.where(rows > 0, sums / np.maximum(rows, 1), loss.mean())
        errors: dict[str, tuple[float, ...]] = {}
        for kind, made in mistakes(y, score, task=task, threshold=0.0, own=own).items():
            of_bin = np.bincount(place, weights=made, minlength=len(edges) + 1)
            errors[kind] = tuple(np.where(rows > 0, of_bin / np.maximum(rows, 1), made.mean()).tolist())
        return cls(task=task, edges=tuple(edges.tolist()), losses=tuple(means.tolist()), errors=errors)

    def excess(self, y: Floats, score: Floats) -> Floats:
        """Return loss minus expected loss of each row, shape (rows,)."""
        loss: Floats = (y - score) ** 2
        return loss - self.expected(score)

    def expected(self, score: Floats) -> Floats:
        """Return the loss that the model expects of each row, shape (rows,)."""
        if self.task == "binary":
            variance: Floats = score * (1 - score)
            return variance
        found: Floats = np.array(self.losses)[np.searchsorted(np.array(self.edges), score, side="right")]
        return found

    def mistakes(self, score: Floats, *, threshold: float, own: RowMoney | None = None) -> dict[str, float]:
        """Return the mean of each kind of mistake that the model expects of rows; empty where that is not known.

        A calibrated binary model expects a false negative with probability p where it says no, and a false positive
        with probability 1 - p where it says yes; a regression the mean error of reference rows of a like prediction.
        The money of the project's function is expected likewise. Raises ImpactFailed.
        """
        if self.task == "binary":
            yes = score >= threshold
            money = {} if own is None else {own.function.kind: float(own.expected(score).mean())}
            return {
                **money,
                "false_negative": float(np.where(yes, 0.0, score).mean()),
                "false_positive": float(np.where(yes, 1 - score, 0.0).mean()),
            }
        place = np.searchsorted(np.array(self.edges), score, side="right")
        return {kind: float(np.array(made)[place].mean()) for kind, made in self.errors.items()}
