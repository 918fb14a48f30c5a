"""Quality metrics by name, for gates, monitoring and summaries. Fast enough for a bootstrap.

Each takes labels y and scores, float64 (rows,), and the threshold from which a score says yes. A metric that
the rows do not define (one class only, no rows) is NaN, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

from trimtab.errors import UsageError, nearest

Array = np.ndarray[Any, Any]

CLIP = 1e-15
"""Probabilities are kept this far from 0 and 1, so that one certain mistake does not cost infinity."""


@dataclass(frozen=True)
class Metric:
    """A metric: how to compute it, and which direction is better."""

    name: str
    task: Literal["binary", "regression"]
    higher_is_better: bool
    function: Callable[[Array, Array, float], float]


def metric_value(name: str, y: Array, score: Array, *, threshold: float = 0.5) -> float:
    """Return a metric by name. Raises UsageError with the nearest name."""
    if name not in METRICS:
        raise UsageError(f"unknown metric '{name}'.{nearest(name, METRICS)}")
    if len(y) == 0:
        return float("nan")
    return METRICS[name].function(np.asarray(y, dtype=float), np.asarray(score, dtype=float), threshold)


def row_loss(name: str, y: Array, score: Array) -> Array:
    """Return the loss of each row, float64 (rows,), for metrics that are means of losses.

    log_loss, brier (binary); mae, rmse as squared error (regression). Raises UsageError for another metric.
    """
    if name not in ROW_LOSSES:
        raise UsageError(f"metric '{name}' is no mean of row losses.{nearest(name, ROW_LOSSES)}")
    return ROW_LOSSES[name](np.asarray(y, dtype=float), np.asarray(score, dtype=float))


def _log_losses(y: Array, score: Array) -> Array:
    p = np.clip(score, CLIP, 1 - CLIP)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def _squared(y: Array, score: Array) -> Array:
    return np.asarray((score - y) ** 2)


def _absolute(y: Array, score: Array) -> Array:
    return np.asarray(np.abs(score - y))


def _roc_auc(y: Array, score: Array, threshold: float) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic, ties counted half."""
    positives = float((y == 1).sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _average_precision(y: Array, score: Array, threshold: float) -> float:
    """Sum over thresholds of precision times the gain in recall; tied scores are one threshold."""
    positives = (y == 1).sum()
    if positives == 0:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(y[order] == 1)
    last = np.append(ranked[1:] != ranked[:-1], True)
    hits, said = hits[last], np.flatnonzero(last) + 1
    return float((np.diff(hits, prepend=0) * hits / said).sum() / positives)


def _counts(y: Array, score: Array, threshold: float) -> tuple[float, float, float]:
    said, true = score >= threshold, y == 1
    return float((said & true).sum()), float((said & ~true).sum()), float((~said & true).sum())


def _accuracy(y: Array, score: Array, threshold: float) -> float:
    return float(((score >= threshold) == (y == 1)).mean())


def _precision(y: Array, score: Array, threshold: float) -> float:
    hit, false_alarm, _ = _counts(y, score, threshold)
    return _ratio(hit, hit + false_alarm)


def _recall(y: Array, score: Array, threshold: float) -> float:
    hit, _, missed = _counts(y, score, threshold)
    return _ratio(hit, hit + missed)


def _f1(y: Array, score: Array, threshold: float) -> float:
    hit, false_alarm, missed = _counts(y, score, threshold)
    return _ratio(2 * hit, 2 * hit + false_alarm + missed)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _log_loss(y: Array, score: Array, threshold: float) -> float:
    return float(_log_losses(y, score).mean())


def _brier(y: Array, score: Array, threshold: float) -> float:
    return float(_squared(y, score).mean())


def _rmse(y: Array, score: Array, threshold: float) -> float:
    return float(np.sqrt(_squared(y, score).mean()))


def _mae(y: Array, score: Array, threshold: float) -> float:
    return float(_absolute(y, score).mean())


def _r2(y: Array, score: Array, threshold: float) -> float:
    total = float(((y - y.mean()) ** 2).sum())
    return 1 - float(_squared(y, score).sum()) / total if total else float("nan")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", "binary", True, _roc_auc),
        Metric("average_precision", "binary", True, _average_precision),
        Metric("accuracy", "binary", True, _accuracy),
        Metric("precision", "binary", True, _precision),
        Metric("recall", "binary", True, _recall),
        Metric("f1", "binary", True, _f1),
        Metric("log_loss", "binary", False, _log_loss),
        Metric("brier", "binary", False, _brier),
        Metric("rmse", "regression", False, _rmse),
        Metric("mae", "regression", False, _mae),
        Metric("r2", "regression", True, _r2),
    )
}

ROW_LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "log_loss": _log_losses,
    "brier": _squared,
    "rmse": _squared,
    "mae": _absolute,
}
