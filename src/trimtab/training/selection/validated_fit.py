"""One fit with what the policy adds to it (validation rows, calibration), and the scores of such fits on folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trimtab.clock import from_micros
from trimtab.definitions.models import Dataset, Model
from trimtab.metric_catalog import CONTAMINATION, Task
from trimtab.policy.model import Training
from trimtab.records.training import FoldScore
from trimtab.stats.metrics import metric_value
from trimtab.tasks import RULES
from trimtab.training.columns.objectives import level_of, objective_of
from trimtab.training.rounds import rounds_of
from trimtab.training.scores import flagging, native_scores
from trimtab.training.selection.calibrators import Method, calibrated
from trimtab.training.selection.time_splits import Split, validated
from trimtab.training.trainer import as_given, fit


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What is added to a fit. validation: share of the time span of the rows. contamination: of an anomaly model."""

    validation: float | None = None
    calibrate: Method | None = None
    contamination: float = CONTAMINATION


def addition_of(policy: Training, task: Task) -> Addition:
    """Return what the policy adds to a fit of a task."""
    calibrate = policy.calibrate if RULES[task].confidence is not None else None
    return Addition(validation=policy.validation, calibrate=calibrate, contamination=policy.contamination)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted estimator. plain: without calibration. rounds: after which it stopped early, or None."""

    estimator: Any
    plain: Any
    rounds: int | None
    validation_rows: int
    left_out: int

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities are calibrated."""
        return self.estimator is not self.plain


def fit_validated(
    model: Model, data: Dataset, params: Mapping[str, Any], seed: int, addition: Addition, *, previous: Any = None
) -> Fit:
    """Fit on the earlier rows, with the latest as validation where the policy has one, and calibrate on these.

    previous: the estimator that the trainer may start from. Raises StageError, TrainerFailed.
    """
    rows, left_out = validated(data, addition.validation, model=model.name, task=model.task)
    plain = fit(model, replace(rows, previous=previous), dict(params), seed)
    estimator = plain
    if addition.calibrate is not None and rows.validation is not None:
        estimator = calibrated(plain, as_given(rows.validation), addition.calibrate)
    return Fit(
        estimator=estimator,
        plain=plain,
        rounds=rounds_of(plain, previous),
        validation_rows=0 if rows.validation is None else len(rows.validation.y),
        left_out=left_out,
    )


def score_folds(
    model: Model,
    folds: Sequence[Split],
    params: Mapping[str, Any],
    seed: int,
    addition: Addition,
    *,
    metrics: Sequence[str],
    threshold: float,
) -> Iterator[FoldScore]:
    """Yield the metrics of one fold after another, each by a fit on the rows that were known before it.

    Metrics that are not finite are left out. The threshold of a regression is the level of the quantile that the fit
    predicts, that of an anomaly model is found on the rows of the fit. Raises StageError, TrainerFailed.
    """
    rules = RULES[model.task]
    for fold in folds:
        estimator = fit_validated(model, fold.train, params, seed, addition).estimator
        classes = len(fold.test.classes) if rules.by_class else 0
        if rules.output == "value":
            threshold = level_of(objective_of(estimator))
        elif not rules.needs_labels:
            threshold = flagging(native_scores(estimator, fold.train.X, model.task), addition.contamination)
        rows = ~np.isnan(fold.test.y)
        y, scores = fold.test.y[rows], native_scores(estimator, fold.test.X[rows], model.task, classes)
        values = {name: float(metric_value(name, y, scores, threshold=threshold)) for name in metrics}
        yield FoldScore(
            start=from_micros(int(fold.at.astype("datetime64[us]").astype(np.int64))),
            end=from_micros(int(fold.test.timestamps[-1].astype("datetime64[us]").astype(np.int64))),
            train_rows=len(fold.train.y),
            rows=len(y),
            left_out=fold.left_out,
            metrics={name: value for name, value in values.items() if np.isfinite(value)},
        )
