"""The loss that a model expects of itself, and the excess over it.

binary      Brier - p (1 - p): a calibrated model's Brier loss is p (1 - p) in the mean, however hard the rows are
multiclass  log loss - entropy: a calibrated model's log loss is the entropy of its probabilities in the mean
regression  squared error - its mean in the reference among rows of a like prediction (20 quantile bins)
anomaly     1 for a wrong decision - the share of wrong ones in the reference among rows of a like score

The log loss counts a probability below LEAST as LEAST, in its expectation, too, so that one row cannot cost everything:
the mean of a calibrated model stays 0.

So a shift of the inputs alone, towards cases that are harder, is not taken for concept drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from trimtab.metric_catalog import Task
from trimtab.monitoring.mistakes import expected_pairs, mistakes
from trimtab.monitoring.row_money import RowMoney
from trimtab.tasks import RULES, true_probability

Floats = npt.NDArray[np.float64]

BINS = 20
MIN_ROWS_A_BIN = 50
LEAST = 1e-4
"""The smallest probability that a log loss distinguishes here."""


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """The loss that a model expects. Where scores are no probabilities, `losses[i]` in [edges[i-1], edges[i])."""

    task: Task
    edges: tuple[float, ...] = ()
    losses: tuple[float, ...] = (0.0,)
    errors: dict[str, tuple[float, ...]] = {}
    """Mean mistakes by kind, one a bin; references of earlier releases do not have them."""
    threshold: float = 0.0
    """Score from which a row counts as an anomaly."""

    @classmethod
    def fit(cls, y: Floats, score: Floats, *, task: Task, threshold: float = 0.0, own: RowMoney | None = None) -> Self:
        """Fit it to labels and out-of-sample scores, as `trimtab.tasks` says, without NaN. Raises ImpactFailed."""
        if RULES[task].confidence is not None or not len(y):
            return cls(task=task)
        bins = max(1, min(BINS, len(y) // MIN_ROWS_A_BIN))
        edges = np.unique(np.quantile(score, np.arange(1, bins) / bins))
        loss = RULES[task].squared(y, score, threshold)
        place = np.searchsorted(edges, score, side="right")
        rows = np.bincount(place, minlength=len(edges) + 1)
        sums = np.bincount(place, weights=loss, minlength=len(edges) + 1)
        means = np.where(rows > 0, sums / np.maximum(rows, 1), loss.mean())
        errors: dict[str, tuple[float, ...]] = {}
        for kind, made in mistakes(y, score, task=task, threshold=threshold, own=own).items():
            of_bin = np.bincount(place, weights=made, minlength=len(edges) + 1)
            errors[kind] = tuple(np.where(rows > 0, of_bin / np.maximum(rows, 1), made.mean()).tolist())
        losses = tuple(means.tolist())
        return cls(task=task, edges=tuple(edges.tolist()), losses=losses, errors=errors, threshold=threshold)

    def excess(self, y: Floats, score: Floats) -> Floats:
        """Return loss minus expected loss of each row, shape (rows,)."""
        if RULES[self.task].by_class:
            loss = -np.log(np.maximum(true_probability(y, score), LEAST))
        else:
            loss = RULES[self.task].squared(y, score, self.threshold)
        found: Floats = loss - self.expected(score)
        return found

    def expected(self, score: Floats) -> Floats:
        """Return the loss that the model expects of each row, shape (rows,)."""
        if self.task == "binary":
            variance: Floats = score * (1 - score)
            return variance
        if RULES[self.task].by_class:
            entropy: Floats = -(score * np.log(np.maximum(score, LEAST))).sum(axis=1)
            return entropy
        found: Floats = np.array(self.losses)[np.searchsorted(np.array(self.edges), score, side="right")]
        return found

    def mistakes(
        self, score: Floats, *, threshold: float, own: RowMoney | None = None, classes: Sequence[str] = ()
    ) -> dict[str, float]:
        """Return the mean of each kind of mistake that the model expects of rows; empty where that is not known.

        A calibrated binary model expects a false negative with probability p where it says no, and a false positive
        with probability 1 - p where it says yes; a multiclass model a wrong class with probability 1 - p; the others
        the mean mistakes of reference rows of a like score. classes: of a multiclass model whose pairs are wanted. The
        money of the project's function is expected likewise. Raises ImpactFailed.
        """
        rules = RULES[self.task]
        money = {own.function.kind: float(own.expected(score).mean())} if own is not None and rules.confidence else {}
        if rules.by_class:
            return {**money, "misclassification": float(1 - score.max(axis=1).mean()), **expected_pairs(score, classes)}
        if self.task == "binary":
            yes = score >= threshold
            return {
                **money,
                "false_negative": float(np.where(yes, 0.0, score).mean()),
                "false_positive": float(np.where(yes, 1 - score, 0.0).mean()),
            }
        place = np.searchsorted(np.array(self.edges), score, side="right")
        return {kind: float(np.array(made)[place].mean()) for kind, made in self.errors.items()}
