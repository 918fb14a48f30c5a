"""Trains a model once: fit, choose the form that serves, score, package, record.

A second training with the same key returns the finished run of the first one, so a retraining workflow that died after
training and is resumed continues with the same run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import ColumnCheck
from trimtab.clock import Clock
from trimtab.definitions.models import Dataset, Model, Task
from trimtab.errors import StageError
from trimtab.metric_catalog import BY_TASK, CONTAMINATION, OF_OBJECTIVE, with_metric
from trimtab.policy.model import Prices
from trimtab.records.training import Run
from trimtab.stats.metrics import metric_value
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.tasks import RULES
from trimtab.training.columns.objectives import level_of, objective_of
from trimtab.training.dataset import TIMESTAMP, Frozen, examples, schema_of
from trimtab.training.environment import Environment, capture
from trimtab.training.forms import Form, choose
from trimtab.training.package import Contents, package
from trimtab.training.parity import Parity, pick
from trimtab.training.rounds import with_rounds
from trimtab.training.scores import cross_fit, flagging
from trimtab.training.selection.baselines import compared_with_baselines, metrics_of
from trimtab.training.selection.calibrators import like
from trimtab.training.selection.plan import Plan, cross_validate, fold_metrics, search_parameters
from trimtab.training.selection.validated_fit import Fit, fit_validated
from trimtab.training.tracking import GROUP, Tracking
from trimtab.training.usage import Meter


@dataclass(frozen=True, kw_only=True)
class Scored:
    """All rows of a dataset with scores that do not depend on the row's own label; the reference of monitoring.

    rows: in order of time; an unlabelled row has label NaN. scores: float64, as `trimtab.tasks` says; before the
    holdout cross-fitted by stretches of time, in the holdout by the packaged model. split: index of the first row of
    the holdout. threshold: of the packaged model.
    """

    rows: Dataset
    scores: np.ndarray[Any, Any]
    split: int
    threshold: float


Reference = Callable[[Scored], Mapping[str, bytes]]
"""Returns further files of the bundle, content by relative path, such as reference/windows.json."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """Stores and settings that all trainings of one project share."""

    tracking: Tracking
    artifacts: Artifacts
    project: Path
    prices: Prices
    clock: Clock


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    form: Form
    holdout_scores: np.ndarray[Any, Any]
    extra: Mapping[str, bytes]
    threshold: float
    objective: str
    fit: Fit


def train(
    model: Model,
    frozen: Frozen,
    *,
    bench: Workbench,
    params: Mapping[str, Any],
    seed: int,
    key: str,
    threshold: float = 0.5,
    reference: Reference | None = None,
    request_types: Mapping[str, str] | None = None,
    checks: Mapping[str, ColumnCheck] | None = None,
    trust: Collection[str] = (),
    plan: Plan | None = None,
    contamination: float = CONTAMINATION,
) -> Run:
    """Train on a frozen dataset, publish the packaged model as `runs/MODEL/RUN`, and return the record.

    Args:
        model: the model.
        frozen: the dataset.
        bench: stores and settings of the project.
        params: parameters for the project's trainer.
        seed: seed for the trainer.
        key: identifies the training; a finished run with the same key is returned instead of training again.
        threshold: probability from which a binary model decides for class 1.
        reference: makes further files of the bundle from the scored dataset.
        request_types: kind of value of each request column.
        checks: checks of the values of request columns.
        trust: policy `serving.trust`.
        plan: what the policy adds to one fit; None adds nothing.
        contamination: policy `training.contamination`.

    Raises:
        StageError: the trainer fails, or neither ONNX Runtime nor the estimator's own library can serve the estimator;
            the MLflow run is then FAILED.
    """
    tracking, plan = bench.tracking, plan or Plan()
    if (done := tracking.finished(model.name, key)) is not None:
        return done
    environment = capture(bench.project)
    version = frozen.version
    tags = {
        "trimtab.model": model.name,
        "trimtab.dataset": version.id,
        "trimtab.code_hash": environment.code_hash,
        "trimtab.environment_hash": environment.hash,
        "trimtab.platform": environment.platform,
        "trimtab.python": environment.python,
        "mlflow.source.git.commit": environment.code_version,
        "mlflow.source.name": bench.project.name,
    }
    run = tracking.begin(model.name, key, name=f"{model.name}-{version.id[:8]}", tags=tags)
    with tracking.ending(run):
        with Meter() as meter:
            found, earlier = search_parameters(
                model,
                frozen,
                plan,
                params,
                seed,
                threshold=threshold,
                environment=environment,
                tracking=tracking,
                run=run,
                prices=bench.prices,
            )
            params = {**params, **(found.params if found else {})}
            folds = cross_validate(model, frozen.train, plan, params, seed, threshold=threshold)
            fitted = _fit(model, frozen, params, seed, reference, trust, plan, threshold, contamination)
        threshold = fitted.threshold
        staging = _package(model, frozen, fitted, run, environment, bench, threshold, request_types or {}, checks or {})
        used = meter.usage
        record = Run(
            id=run,
            created_at=bench.clock.now(),
            key=key,
            model=model.name,
            dataset=version.id,
            experiment=tracking.experiment_name(model.name),
            seed=seed,
            params=dict(params),
            metrics=_measure(model.task, frozen.holdout.y, fitted.holdout_scores, threshold, fitted.objective),
            code_version=environment.code_version,
            environment_hash=environment.hash,
            python=environment.python,
            platform=environment.platform,
            pins=environment.pins(),
            changes=environment.changes_hash,
            cpu_seconds=used.cpu_seconds + earlier.cpu_seconds,
            wall_seconds=used.wall_seconds + earlier.wall_seconds,
            peak_memory_mb=used.peak_memory_mb,
            cost=used.cost(bench.prices) + earlier.cost,
            model_hash=hashlib.sha256(fitted.form.content).hexdigest(),
            staging=staging,
            code_hash=environment.code_hash,
            rounds=fitted.fit.rounds,
            validation=plan.addition.validation,
            validation_rows=fitted.fit.validation_rows,
            left_out=fitted.fit.left_out,
            calibrate=plan.addition.calibrate if fitted.fit.calibrated else None,
            previous=plan.previous.run if plan.previous else None,
            folds=folds,
            baselines=compared_with_baselines(
                model,
                frozen.train,
                frozen.holdout,
                fitted.holdout_scores,
                threshold=threshold,
                seed=seed,
                rivals=plan.rivals,
            ),
            search=found,
        )
        tracking.finish(
            record,
            version,
            metrics=_all_metrics(record, frozen, fitted.form.parity),
            requirements=environment.listing,
            tags={
                "trimtab.runtime": fitted.form.runtime,
                "trimtab.runtime_reason": fitted.form.reason,
                "trimtab.warm_start": plan.previous.run if plan.previous else plan.cold,
                GROUP: found.key if found else "",
                "trimtab.search_ended": found.ended if found else "",
            },
        )
    return record


def _fit(
    model: Model,
    frozen: Frozen,
    params: Mapping[str, Any],
    seed: int,
    reference: Reference | None,
    trust: Collection[str],
    plan: Plan,
    threshold: float,
    contamination: float,
) -> _Fitted:
    previous = plan.previous.estimator if plan.previous else None
    fitted = fit_validated(model, frozen.train, params, seed, plan.addition, previous=previous)
    estimator = fitted.estimator
    rows = pick(np.concatenate([frozen.train.X, frozen.holdout.X]))
    form = choose(estimator, rows, task=model.task, features=frozen.version.features, trust=trust)
    scorer = form.scorer
    check_classes(estimator, scorer.score(rows[:1]), frozen.version.classes, model.task)
    if not RULES[model.task].needs_labels:
        threshold = flagging(scorer.score(frozen.train.X), contamination)
    objective = objective_of(estimator) if RULES[model.task].output == "value" else ""
    if RULES[model.task].output == "value":
        threshold = level_of(objective)
    extra = reference(_score_all(model, frozen, params, seed, scorer, fitted, threshold)) if reference else {}
    return _Fitted(
        form=form,
        holdout_scores=scorer.score(frozen.holdout.X),
        extra=extra,
        threshold=threshold,
        objective=objective,
        fit=fitted,
    )


def check_classes(estimator: Any, scores: np.ndarray[Any, Any], classes: Sequence[str], task: Task) -> None:
    """Raise StageError for an estimator with other classes than the training set."""
    if RULES[task].by_class and scores.shape[1] != len(classes):
        raise StageError(
            f"{type(estimator).__name__} gives {scores.shape[1]} probabilities a row; the training set has "
            f"{len(classes)} classes ({', '.join(classes[:5])}). Fit it on data.y"
        )


def _score_all(
    model: Model,
    frozen: Frozen,
    params: Mapping[str, Any],
    seed: int,
    scorer: Scorer,
    fitted: Fit,
    threshold: float,
) -> Scored:
    """Score all rows out of sample.

    Isotonic curves have seen the labels of the validation rows, the last part of `before`: in a simulation with 300 of
    them their excess loss was 0.005 too small, where fresh rows had 0.017; that of a logistic curve was not.
    """
    version = frozen.version
    early = frozen.frame.filter(pl.col(TIMESTAMP) < version.split_at)
    schema = schema_of(version)
    rows = replace(examples(frozen.frame, version.features, schema), classes=version.classes)
    split = len(early)
    rounds = fitted.rounds if fitted.validation_rows else None  # without validation rows a fit stops by itself again
    before = cross_fit(
        model,
        replace(frozen.train, rounds=rounds),
        with_rounds(params, rounds),
        seed,
        rows=examples(early, version.features, schema),
        adapt=(lambda plain: like(fitted.estimator, plain)) if fitted.calibrated else None,
    )
    after = scorer.score(rows.X[split:]) if split < len(rows.y) else before[:0]
    return Scored(rows=rows, scores=np.concatenate([before, after]), split=split, threshold=threshold)


def _package(
    model: Model,
    frozen: Frozen,
    fitted: _Fitted,
    run: str,
    environment: Environment,
    bench: Workbench,
    threshold: float,
    request_types: Mapping[str, str],
    checks: Mapping[str, ColumnCheck],
) -> str:
    folder = bench.artifacts.staging()
    contents = Contents(
        model=model,
        run=run,
        version=frozen.version,
        form=fitted.form,
        holdout=frozen.holdout,
        scores=fitted.holdout_scores,
        threshold=threshold,
        objective=fitted.objective,
        project=bench.project,
        environment=environment,
        extra=fitted.extra,
        request_types=request_types,
        checks=checks,
    )
    package(folder, contents)
    return bench.artifacts.publish(folder, f"runs/{model.name}/{run}")


def _measure(
    task: Task, y: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], threshold: float, objective: str = ""
) -> dict[str, float]:
    """Return the metrics that are finite; r2 of a constant label is not. Rows without a label are left out."""
    known = ~np.isnan(y)
    y, scores = y[known], scores[known]
    own = OF_OBJECTIVE.get(objective.partition(":")[0])
    names = with_metric(BY_TASK[task].training, own, task)
    found = {name: float(metric_value(name, y, scores, threshold=threshold)) for name in names}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _all_metrics(record: Run, frozen: Frozen, parity: Parity) -> dict[str, float]:
    """Return the metrics for MLflow: of the holdout, sizes, parity, resources, money."""
    return {
        **record.metrics,
        **fold_metrics(record.folds),
        **metrics_of(record.baselines),
        **({f"search.{record.search.metric}": record.search.value} if record.search else {}),
        "train_rows": len(frozen.train.y),
        "holdout_rows": len(frozen.holdout.y),
        "label_mean": frozen.version.label_mean,
        "parity_max_difference": parity.max_difference,
        "parity_share_over": parity.share_over,
        "cpu_seconds": record.cpu_seconds,
        "wall_seconds": record.wall_seconds,
        "peak_memory_mb": record.peak_memory_mb,
        "cost": record.cost,
    }
