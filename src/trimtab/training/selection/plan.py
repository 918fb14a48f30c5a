"""What the policy adds to a training, and how it is done: search, folds over time, where the fit starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.definitions.models import Dataset, Model
from trimtab.metric_catalog import BY_TASK
from trimtab.policy.model import Prices
from trimtab.policy.search import Search
from trimtab.records.training import FoldScore, SearchResult
from trimtab.training.dataset import Frozen
from trimtab.training.environment import Environment
from trimtab.training.selection.baselines import Rival
from trimtab.training.selection.previous import Previous
from trimtab.training.selection.time_splits import expanding_folds
from trimtab.training.selection.trials import Objective, Trial, search
from trimtab.training.selection.validated_fit import Addition, score_folds
from trimtab.training.tracking import TAG_CHARACTERS, Tracking

STUDIES = "search"
"""Folder of the journals of searches, in that of the project's embedded stores."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done in addition to one fit.

    addition: to each fit. folds: of the cross-validation; 0 for none. search: section of the policy. studies: folder of
    the journals of searches. previous: the estimator to start from. cold: why there is none, where the policy asks for
    one. rivals: other models' scores of the holdout.
    """

    addition: Addition = field(default_factory=Addition)
    folds: int = 0
    search: Search | None = None
    studies: Path = Path(STUDIES)
    previous: Previous | None = None
    cold: str = ""
    rivals: Sequence[Rival] = ()


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Resources of trials that an earlier process finished."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    cost: float = 0.0


def search_parameters(
    model: Model,
    frozen: Frozen,
    plan: Plan,
    params: Mapping[str, Any],
    seed: int,
    *,
    threshold: float,
    environment: Environment,
    tracking: Tracking,
    run: str,
    prices: Prices,
) -> tuple[SearchResult | None, Spent]:
    """Search the parameters that the policy names, each trial a run nested under `run`.

    environment: code and packages, on which the values of trials depend.

    Returns:
        What was found, None without a search; and what trials of an earlier process had used. Raises StageError.
    """
    policy = plan.search
    if policy is None:
        return None, Spent()
    metric = policy.metric or BY_TASK[model.task].promotion
    folds = expanding_folds(frozen.train, policy.folds, model=model.name, task=model.task, key="training.search.folds")
    code = f"{environment.code_hash}/{environment.hash}"
    key = _key(frozen.version.id, code, policy, metric, plan.addition, params, seed, threshold)
    written = tracking.children(model.name, key)
    earlier: list[Trial] = []

    def watch(trial: Trial, again: bool) -> None:
        own = f"{key}/{trial.number}"
        counts = tracking.adopt(written[own], run) if own in written else True
        if again and counts:  # another run, which has finished, has paid for those that it keeps
            earlier.append(trial)
        if own not in written:
            _write(tracking, run, model.name, own, key, metric, trial)

    objective = Objective(
        model=model, folds=folds, params=params, seed=seed, addition=plan.addition, threshold=threshold
    )
    result = search(
        policy,
        objective,
        key=key,
        metric=metric,
        file=plan.studies / f"{model.name}-{key}.journal",
        prices=prices,
        watch=watch,
    )
    spent = Spent(
        cpu_seconds=sum(trial.usage.cpu_seconds for trial in earlier),
        wall_seconds=sum(trial.usage.wall_seconds for trial in earlier),
        cost=sum(trial.cost for trial in earlier),
    )
    return result, spent


def _key(
    dataset: str,
    code: str,
    policy: Search,
    metric: str,
    addition: Addition,
    params: Mapping[str, Any],
    seed: int,
    threshold: float,
) -> str:
    """Return the hash of what the values of trials depend on; the number of trials and the budgets are not part."""
    asked = policy.model_dump(mode="json", include={"space", "folds", "sampler", "pruner", "seed"})
    parts = [dataset, code, asked, metric, dict(params), seed, threshold, asdict(addition)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _write(tracking: Tracking, run: str, model: str, own: str, key: str, metric: str, trial: Trial) -> None:
    used = {"cpu_seconds": [trial.usage.cpu_seconds], "wall_seconds": [trial.usage.wall_seconds], "cost": [trial.cost]}
    tracking.write_child(
        run,
        model,
        own,
        group=key,
        name=f"trial-{trial.number}",
        params=trial.params,
        metrics={metric: trial.values, **used},
        tags={"trimtab.trial": trial.state, **({"trimtab.error": trial.error[:TAG_CHARACTERS]} if trial.error else {})},
    )


def cross_validate(
    model: Model, data: Dataset, plan: Plan, params: Mapping[str, Any], seed: int, *, threshold: float
) -> tuple[FoldScore, ...]:
    """Return the metrics of each fold over time; none where the policy has none. Raises StageError, TrainerFailed."""
    if not plan.folds:
        return ()
    folds = expanding_folds(data, plan.folds, model=model.name, task=model.task, key="training.folds")
    metrics = BY_TASK[model.task].training
    return tuple(score_folds(model, folds, params, seed, plan.addition, metrics=metrics, threshold=threshold))


def fold_metrics(folds: Sequence[FoldScore]) -> dict[str, float]:
    """Return mean, standard deviation, lowest and highest value of each metric that all folds have, for MLflow."""
    found: dict[str, float] = {}
    for name in folds[0].metrics if folds else ():
        values = [fold.metrics[name] for fold in folds if name in fold.metrics]
        if len(values) == len(folds):
            found |= {f"cv.{name}.mean": float(np.mean(values)), f"cv.{name}.min": min(values)}
            found |= {f"cv.{name}.max": max(values)}
            if len(values) > 1:
                found[f"cv.{name}.sd"] = float(np.std(values, ddof=1))
    return found
