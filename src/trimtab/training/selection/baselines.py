"""Compares a model with what needs no model, and with the model that serves, on the rows of the holdout.

Without a model: the frequencies of the classes in the training rows (their most frequent one, for metrics of
decisions), the mean and the median of a regression's labels, one score for all rows of an anomaly model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.bundle.limits import answered
from trimtab.definitions.models import Dataset, Model
from trimtab.metric_catalog import BY_TASK, METRICS, Task
from trimtab.records.training import Baseline
from trimtab.stats.intervals import cluster_interval, time_clusters
from trimtab.stats.metrics import metric_value

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Scores of the holdout rows by another model. unseen: which rows it was not fitted on, bool (rows,)."""

    name: str
    scores: Array
    unseen: Array


def compared_with_baselines(
    model: Model,
    train: Dataset,
    holdout: Dataset,
    scores: Array,
    *,
    threshold: float,
    seed: int,
    rivals: Sequence[Rival] = (),
) -> tuple[Baseline, ...]:
    """Return each baseline's metrics on the holdout, and by how much the model is better, with its interval.

    Args:
        model: the model.
        train: labelled rows that baselines take frequencies from.
        holdout: labelled rows.
        scores: of the holdout by the model, float64 (rows,), or (rows, classes).
        threshold: probability from which a binary model decides for class 1.
        seed: of the resampling of the intervals.
        rivals: other models' scores of the same rows.

    Returns:
        One entry for each baseline and metric: the task's metric of promotions, and that of the accuracy gate.
    """
    facts = BY_TASK[model.task]
    found = []
    for rival in (*_constants(model.task, train.y, scores), *rivals):
        for name in dict.fromkeys((facts.promotion, facts.accuracy_gate)):
            compared = _compared(name, rival, holdout, scores, threshold=threshold, seed=seed)
            if compared is not None:
                found.append(compared)
    return tuple(found)


def metrics_of(baselines: Sequence[Baseline]) -> Mapping[str, float]:
    """Return the baselines as metrics of MLflow: baseline.NAME.METRIC, its gain, and the ends of the interval."""
    found: dict[str, float] = {}
    for each in baselines:
        name = f"{each.name.replace('/', '.')}.{each.metric}"
        found[f"baseline.{name}"] = each.value
        found[f"gain_over.{name}"] = each.gain
        if each.low is not None and each.high is not None:
            found |= {f"gain_over.{name}.low": each.low, f"gain_over.{name}.high": each.high}
    return found


def _constants(task: Task, y: Array, scores: Array) -> Iterator[Rival]:
    """Yield one score for all rows, as it follows from the training labels."""
    rows = len(scores)
    seen = np.ones(rows, bool)
    if task == "regression":
        for name, value in (("mean", float(np.mean(y))), ("median", float(np.median(y)))):
            yield Rival(name=name, scores=np.full(rows, value), unseen=seen)
    elif scores.ndim == 2:
        shares = np.bincount(y[y >= 0].astype(np.int64), minlength=scores.shape[1])[: scores.shape[1]]
        yield Rival(name="prior", scores=np.tile(shares / shares.sum(), (rows, 1)), unseen=seen)
    elif task == "binary":
        yield Rival(name="prior", scores=np.full(rows, float(np.mean(y))), unseen=seen)
    else:
        yield Rival(name="constant", scores=np.zeros(rows), unseen=seen)


def _compared(
    metric: str, rival: Rival, holdout: Dataset, scores: Array, *, threshold: float, seed: int
) -> Baseline | None:
    """Return the comparison on the rows that both have not seen; None where the metric is not defined on them."""
    chosen = np.flatnonzero(rival.unseen & answered(scores) & answered(rival.scores) & ~np.isnan(holdout.y))
    if not chosen.size:
        return None
    y, own, other = holdout.y[chosen], scores[chosen], rival.scores[chosen]
    facts = METRICS[metric]

    def value(of: Array, rows: Array) -> float:
        return metric_value(metric, y[rows], of[rows], threshold=threshold)

    clusters, unit = time_clusters(holdout.timestamps[chosen])
    everything = np.arange(len(chosen))
    reached = value(other, everything)
    interval = cluster_interval(
        lambda rows: facts.gain(value(own, rows), value(other, rows)), len(chosen), seed=seed, clusters=clusters
    )
    if not (np.isfinite(reached) and np.isfinite(interval.value)):
        return None
    known = np.isfinite(interval.low) and np.isfinite(interval.high)
    return Baseline(
        name=rival.name,
        metric=metric,
        value=reached,
        gain=interval.value,
        low=interval.low if known else None,
        high=interval.high if known else None,
        confidence=interval.confidence,
        rows=len(chosen),
        unit=unit,
        clusters=interval.clusters,
    )
