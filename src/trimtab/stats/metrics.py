"""The metrics that gates, monitoring and the policy name: one table of name, function, direction and task.

Functions take y and scores as 1-D arrays and a threshold. A window in which a metric is not defined (one class only,
no row) gives NaN, never an exception. Equal to scikit-learn's where that is defined, and quick: an interval evaluates
one for each day.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab import metric_catalog
from trimtab.errors import DataError, UsageError, nearest
from trimtab.stats.schemes import Floats

THRESHOLD = 0.5

Array = npt.NDArray[Any]
MetricFunction = Callable[[Array, Array, float], float]


@dataclass(frozen=True)
class Metric:
    """One metric: what computes it, which way is better, and for which task it is."""

    name: str
    function: MetricFunction
    higher_is_better: bool
    task: metric_catalog.Task


def metric_value(name: str, y: npt.ArrayLike, scores: npt.ArrayLike, *, threshold: float = THRESHOLD) -> float:
    """Return a metric by name.

    Args:
        name: a key of METRICS.
        y: labels 0 or 1 (binary) or values (regression), [rows].
        scores: probabilities of 1 (binary) or predictions (regression), [rows].
        threshold: a row counts as predicted 1 from this score on; read by accuracy, precision, recall and f1.

    Raises UsageError for an unknown name, DataError for arrays of different lengths and for NaN in them.
    """
    if name not in METRICS:
        raise UsageError(f"unknown metric '{name}'.{nearest(name, METRICS)}")
    label, score = np.asarray(y, np.float64).ravel(), np.asarray(scores, np.float64).ravel()
    if label.size != score.size:
        raise DataError(f"{label.size} labels but {score.size} scores: expected one score a label")
    if np.isnan(label).any() or np.isnan(score).any():
        raise DataError(f"{name} needs every label and score: leave rows without a label out")
    return METRICS[name].function(label, score, threshold)


def row_loss(name: str, y: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
    """Return the loss of each row, float64 [rows], for metrics that are means of losses.

    log_loss, brier (binary); mae, rmse as squared error (regression). Raises UsageError for another metric.
    """
    if name not in ROW_LOSSES:
        raise UsageError(f"metric '{name}' is no mean of row losses.{nearest(name, ROW_LOSSES)}")
    return ROW_LOSSES[name](np.asarray(y, np.float64), np.asarray(scores, np.float64))


def no_skill(name: str, y: npt.ArrayLike) -> float:
    """Return what the best constant score reaches on these labels, or a coin (roc_auc, precision).

    log_loss, brier, rmse: always the mean of y. mae: always its median. accuracy, f1: always the better answer. r2: 0.
    NaN for recall, which a model that always says yes brings to 1, and without rows.
    """
    label = np.asarray(y, np.float64)
    if not label.size or name == "recall":
        return math.nan
    share = float(label.mean())
    constants = {"roc_auc": 0.5, "average_precision": share, "precision": share, "r2": 0.0}
    constants |= {"accuracy": max(share, 1 - share), "f1": 2 * share / (1 + share) if share > 0 else math.nan}
    if name in constants:
        return constants[name]
    constant = float(np.median(label)) if name == "mae" else share
    return METRICS[name].function(label, np.full(label.size, constant), THRESHOLD)


def roc_auc(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Area under the ROC curve: the chance that a random 1 scores above a random 0, ties counting half."""
    hits, rows = _by_score(y, score)
    positives = hits.sum()
    misses = rows - hits
    negatives = misses.sum()
    if positives == 0 or negatives == 0:
        return math.nan
    above = hits.cumsum() - hits / 2
    return float((misses * above).sum() / (positives * negatives))


def average_precision(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Sum of the precision at each distinct score, weighted by the recall it adds."""
    hits, rows = _by_score(y, score)
    positives = hits.sum()
    return float((hits * hits.cumsum() / rows.cumsum()).sum() / positives) if positives else math.nan


def log_loss(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Mean negative log likelihood, in nats."""
    return _mean(_log_losses(y, score))


def brier(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Mean squared difference of probability and label."""
    return _mean(_squared(y, score))


def accuracy(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Share of rows on the right side of the threshold."""
    return _mean((score >= threshold) == (y > 0))


def precision(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Share of 1 among those predicted 1; NaN when none is."""
    predicted = score >= threshold
    return _share(np.count_nonzero(predicted & (y > 0)), np.count_nonzero(predicted))


def recall(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Share predicted 1 among those that are 1; NaN when none is."""
    positive = y > 0
    return _share(np.count_nonzero(positive & (score >= threshold)), np.count_nonzero(positive))


def f1(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Harmonic mean of precision and recall; NaN when nothing is 1 and nothing is predicted 1."""
    positive, predicted = y > 0, score >= threshold
    both = np.count_nonzero(positive) + np.count_nonzero(predicted)
    return _share(2 * np.count_nonzero(positive & predicted), both)


def rmse(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Root of the mean squared error, in the unit of y."""
    return math.sqrt(_mean(_squared(y, score)))


def mae(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Mean absolute error, in the unit of y."""
    return _mean(_absolute(y, score))


def r2(y: Array, score: Array, threshold: float = THRESHOLD) -> float:
    """Share of the variance of y that is explained; NaN when y does not vary."""
    spread = float(((y - y.mean()) ** 2).sum()) if y.size else 0.0
    return 1 - float(_squared(y, score).sum()) / spread if spread > 0 else math.nan


def _by_score(y: Array, score: Array) -> tuple[Floats, Floats]:
    """Return, for each distinct score from high to low, its rows that are 1 and all its rows."""
    order = np.argsort(-score)
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if ranked.size else np.zeros(0, np.int64)
    hits = np.cumsum(y[order] > 0)[last]
    return np.diff(hits, prepend=0).astype(np.float64), np.diff(last + 1, prepend=0).astype(np.float64)


def _log_losses(y: Array, score: Array) -> Floats:
    eps = np.finfo(np.float64).eps  # clipped, so that one certain mistake does not cost infinity
    p = np.clip(score, eps, 1 - eps)
    losses: Floats = -np.where(y > 0, np.log(p), np.log1p(-p))
    return losses


def _squared(y: Array, score: Array) -> Floats:
    squares: Floats = (score - y) ** 2
    return squares


def _absolute(y: Array, score: Array) -> Floats:
    sizes: Floats = np.abs(score - y)
    return sizes


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan


FUNCTIONS: dict[str, MetricFunction] = {
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "log_loss": log_loss,
    "brier": brier,
    "rmse": rmse,
    "mae": mae,
    "r2": r2,
}

METRICS: dict[str, Metric] = {
    name: Metric(name, FUNCTIONS[name], facts.higher_is_better, facts.task)
    for name, facts in metric_catalog.METRICS.items()
}

ROW_LOSSES: dict[str, Callable[[Array, Array], Floats]] = {
    "log_loss": _log_losses,
    "brier": _squared,
    "rmse": _squared,
    "mae": _absolute,
}
