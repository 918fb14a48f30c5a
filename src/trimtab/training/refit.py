"""Fits a model that passed its gates again, on all labelled rows: the newest part, on which the gates measured, too.

Same trainer, parameters and seed. The fit is compared with its twin, the model that the gates judged, since no gate
measures it: no rows are left that it was not trained on. Scores of monitoring's reference stay those of the twin.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.bundle.limits import answered, checked
from trimtab.bundle.origin import check_origin
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import read_spec
from trimtab.definitions.models import Dataset, Model, Task
from trimtab.errors import StageError
from trimtab.metric_catalog import BY_TASK, METRICS
from trimtab.records.training import Run
from trimtab.runtimes.opening import open_scorer
from trimtab.stats.metrics import metric_value
from trimtab.tasks import RULES
from trimtab.training.dataset import Frozen
from trimtab.training.environment import capture
from trimtab.training.forms import choose
from trimtab.training.package import Contents, package
from trimtab.training.parity import pick
from trimtab.training.rounds import NAMES, more_rounds, with_rounds
from trimtab.training.scores import flagging
from trimtab.training.selection.calibrators import like, method_of
from trimtab.training.selection.validated_fit import Addition, fit_validated
from trimtab.training.train import Workbench, check_classes
from trimtab.training.trainer import fit
from trimtab.training.usage import Meter

MOST_MOVED = 0.5
"""Largest distance between the distributions of both models' scores of the holdout rows (Wasserstein's), in standard
deviations of the scores."""
WORSE = 0.02
"""By so much, relative, the mean loss on the fitted rows may be larger than the twin's."""
REFERENCE = "reference"
OWN_REFERENCE = ("rows.parquet", "background.npy")
"""Files of the reference that are of the rows and the model in the bundle; the others are the twin's."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The fit on all rows compared with its twin.

    moved: distance of the distributions of their scores of the holdout, in standard deviations. loss, twin_loss: on the
    fitted rows. closer: whether it is closer to the labels of the holdout, which it was fitted on, than the twin.
    """

    finite: bool
    moved: float
    metric: str
    loss: float
    twin_loss: float
    closer: bool = False

    @property
    def refused(self) -> str | None:
        """Why the twin is registered instead, or None."""
        if not self.finite:
            return "it gives scores that are not finite"
        if self.moved > MOST_MOVED and not self.closer:  # where the newest rows are another world, it must move
            return (
                f"its scores of the holdout rows are {self.moved:.2f} standard deviations away from the judged "
                f"model's; {MOST_MOVED:g} may be"
            )
        tolerated = WORSE * abs(self.twin_loss)
        more_is_better = METRICS[self.metric].higher_is_better
        if self.loss < self.twin_loss - tolerated if more_is_better else self.loss > self.twin_loss + tolerated:
            return (
                f"its {self.metric} on the rows that it was fitted on, {self.loss:.4g}, is worse than the judged "
                f"model's, {self.twin_loss:.4g}"
            )
        return None


def refit(
    model: Model,
    frozen: Frozen,
    twin: Run,
    *,
    bench: Workbench,
    key: str,
    trust: Collection[str] = (),
    previous: Any = None,
) -> Run:
    """Fit on all labelled rows, publish the packaged model as `runs/MODEL/RUN`, and return the record.

    Args:
        model: the model.
        frozen: the dataset of the judged run.
        twin: the judged run.
        bench: stores and settings of the project.
        key: identifies the fit; a finished run with the same key is returned instead of fitting again.
        trust: policy `serving.trust`.
        previous: the estimator that the judged fit could start from; None: there was none.

    Raises:
        StageError: the trainer fails, the fit cannot serve, or it differs too much from its twin; says why.
    """
    tracking = bench.tracking
    if (done := tracking.finished(model.name, key)) is not None:
        return done
    folder = bench.artifacts.open(twin.staging)
    spec, environment = read_spec(folder), capture(bench.project)
    tags = {
        "trimtab.model": model.name,
        "trimtab.dataset": frozen.version.id,
        "trimtab.refit_of": twin.id,
        "trimtab.judged_model_hash": twin.model_hash,
        "trimtab.code_hash": environment.code_hash,
        "trimtab.environment_hash": environment.hash,
        "mlflow.source.git.commit": environment.code_version,
        "mlflow.source.name": bench.project.name,
    }
    run = tracking.begin(model.name, key, name=f"{model.name}-{frozen.version.id[:8]}-refit", tags=tags)
    everything = joined(frozen)
    with tracking.ending(run):
        with Meter() as meter:
            estimator = _fit(model, everything, frozen.train, twin, previous)
            form = choose(estimator, pick(everything.X), task=model.task, features=frozen.version.features, trust=trust)
        check_origin(folder, spec, twin)
        judged = checked(open_scorer(folder, spec, trust=tuple(trust)), spec)
        check_classes(estimator, form.scorer.score(everything.X[:1]), spec.classes, model.task)
        threshold = spec.threshold
        if not RULES[model.task].needs_labels:
            flagged = float((judged.score(frozen.train.X) >= threshold).mean())
            threshold = flagging(form.scorer.score(everything.X), flagged)
        found = compare(form.scorer, judged, everything, frozen.holdout, model.task)
        if found.refused is not None:
            raise StageError(f"the fit on all rows is not used: {found.refused}")
        contents = Contents(
            model=model,
            run=run,
            version=frozen.version,
            form=form,
            holdout=frozen.holdout,
            scores=form.scorer.score(frozen.holdout.X),
            threshold=threshold,
            objective=spec.objective,
            project=bench.project,
            environment=environment,
            extra=_reference(folder),
            request_types=spec.request_types,
            checks=spec.checks,
            calibration=spec.calibration,
        )
        staging = bench.artifacts.staging()
        package(staging, contents)
        used = meter.usage
        record = Run(
            id=run,
            created_at=bench.clock.now(),
            key=key,
            model=model.name,
            dataset=frozen.version.id,
            experiment=tracking.experiment_name(model.name),
            seed=twin.seed,
            params=twin.params,
            metrics=twin.metrics,
            code_version=environment.code_version,
            environment_hash=environment.hash,
            python=environment.python,
            platform=environment.platform,
            pins=environment.pins(),
            changes=environment.changes_hash,
            cpu_seconds=used.cpu_seconds,
            wall_seconds=used.wall_seconds,
            peak_memory_mb=used.peak_memory_mb,
            cost=used.cost(bench.prices),
            model_hash=hashlib.sha256(form.content).hexdigest(),
            staging=bench.artifacts.publish(staging, f"runs/{model.name}/{run}"),
            rounds=twin.rounds,
            code_hash=environment.code_hash,
            validation=twin.validation,
            calibrate=twin.calibrate,
            previous=twin.previous,
            refit_of=twin.id,
        )
        tracking.finish(
            record,
            frozen.version,
            metrics={
                **{f"judged_{name}": value for name, value in twin.metrics.items()},
                "fitted_rows": len(everything.y),
                "moved": found.moved,
                f"fitted_{found.metric}": found.loss,
                f"judged_{found.metric}_on_fitted_rows": found.twin_loss,
                "cost": record.cost,
            },
            requirements=environment.listing,
            tags={"trimtab.runtime": form.runtime, "trimtab.runtime_reason": form.reason},
        )
    return record


def _fit(model: Model, everything: Dataset, train: Dataset, twin: Run, previous: Any) -> Any:
    """Fit on all rows, with the rounds and the calibration of the judged fit. Raises StageError, TrainerFailed.

    Calibration needs rows that a fit did not see, and here none are left: the judged fit is made again for its curves.
    """
    rounds = twin.rounds if twin.validation is not None else None
    data = replace(everything, rounds=rounds, previous=previous)
    estimator = fit(model, data, with_rounds(twin.params, twin.rounds), twin.seed)
    if rounds is not None and (more := more_rounds(estimator, rounds, previous)) is not None:
        raise StageError(
            f"the fit on all rows took {more} rounds, and the judged one stopped early after {rounds}: let the trainer "
            f"take data.rounds where it is given, or one of training.params that is called {', '.join(NAMES[:3])}, ..."
        )
    if twin.calibrate is None:
        return estimator
    addition = Addition(validation=twin.validation, calibrate=method_of(twin.calibrate))
    judged = fit_validated(model, train, twin.params, twin.seed, addition, previous=previous)
    return like(judged.estimator, estimator)


def joined(frozen: Frozen) -> Dataset:
    """Return all labelled rows of a dataset, in order of time."""
    return frozen.train.followed_by(frozen.holdout)


def compare(refitted: Scorer, twin: Scorer, rows: Dataset, holdout: Dataset, task: Task) -> Compared:
    """Compare the fit on all rows with the judged model. rows: those that the fit saw. holdout: the twin's."""
    own, other = refitted.score(rows.X), twin.score(rows.X)
    metric = BY_TASK[task].promotion
    finite = bool(np.isfinite(own).all())
    known = answered(own) & answered(other) & ~np.isnan(rows.y)
    loss, twin_loss = (
        float(metric_value(metric, rows.y[known], s[known])) if known.any() else float("nan") for s in (own, other)
    )
    late = known[-len(holdout.y) :]
    near = [
        float(metric_value(metric, holdout.y[late], s[-len(holdout.y) :][late])) if late.any() else float("nan")
        for s in (own, other)
    ]
    return Compared(
        finite=finite,
        moved=_distance(own[-len(holdout.y) :], other[-len(holdout.y) :]) if finite else math.inf,
        metric=metric,
        loss=loss,
        twin_loss=twin_loss,
        closer=METRICS[metric].gain(*near) > 0,
    )


def _distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Return Wasserstein's distance of two samples of one size, in standard deviations of both together.

    Of scores of several classes that of the class that differs most.
    """
    if a.ndim == 2:
        return max(_distance(one, other) for one, other in zip(a.T, b.T, strict=True))
    spread = float(np.std(np.concatenate([a, b])))
    return float(np.abs(np.sort(a) - np.sort(b)).mean() / spread) if spread > 0 else 0.0


def _reference(folder: Path) -> dict[str, bytes]:
    """Return the files of monitoring's reference in a packaged model."""
    found = sorted((folder / REFERENCE).glob("*"))
    return {f"{REFERENCE}/{path.name}": path.read_bytes() for path in found if path.name not in OWN_REFERENCE}
