"""Makes the plan of a training from the policy: what it adds to one fit, and the champion to start from or to beat."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import datetime

import numpy as np

from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.gate_inputs import champion_of, scorer_of, trained_until
from trimtab.clock import to_micros
from trimtab.definitions.models import Model
from trimtab.errors import StageError, TrimtabError
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.training.dataset import Frozen
from trimtab.training.selection.baselines import Rival
from trimtab.training.selection.plan import STUDIES, Plan
from trimtab.training.selection.previous import Previous, open_previous
from trimtab.training.selection.time_splits import validated
from trimtab.training.selection.validated_fit import addition_of

log = logging.getLogger(__name__)


def training_plan(workspace: Workspace, model: Model, frozen: Frozen) -> Plan:
    """Return what the policy adds to the training on a dataset.

    Raises StageError for a share of validation rows that the dataset cannot give, and for a dataset that was built
    for other features than the model has now.
    """
    version = frozen.version
    if (version.features, version.input) != (model.feature_names, model.input):
        raise StageError(
            f"training set {version.id[:12]} is a {version.input} of {', '.join(version.features)}; model "
            f"'{model.name}' now takes a {model.input} of {', '.join(model.feature_names)}. "
            "Build its training set: trimtab features"
        )
    policy = workspace.project.policy.training
    champion = champion_of(workspace, model.name)
    previous, cold = None, ""
    if policy.warm_start == "champion":
        rows, _ = validated(frozen.train, policy.validation, model=model.name, task=model.task)
        judged_on = frozen.holdout if rows.validation is None else rows.validation
        at = judged_on.timestamps[0].astype("datetime64[us]").astype(np.int64)
        previous, cold = _previous(workspace, champion, version, int(at))
        if cold:
            log.warning("model '%s' is trained without a warm start: %s", model.name, cold)
    return Plan(
        addition=addition_of(policy, model.task),
        folds=policy.folds,
        search=policy.search,
        studies=workspace.root / STUDIES,
        previous=previous,
        cold=cold,
        rivals=_rivals(workspace, champion, frozen),
    )


def training_key(workspace: Workspace, dataset: DatasetVersion, plan: Plan) -> str:
    """Return the key of a training by hand: the same dataset, code, parameters and seed give the same run."""
    policy, threshold = workspace.project.policy.training, workspace.project.policy.impact.threshold
    code = [path.read_text(encoding="utf-8") for path in sorted(workspace.project.folder.glob("*.py"))]
    asked = [dataset.id, policy.seed, policy.params, threshold, code]
    added = policy.model_dump(
        mode="json",
        include={"contamination", "validation", "folds", "warm_start", "calibrate", "search"},
        exclude_defaults=True,
    )
    if added:  # the keys of policies without them are as before
        asked += [added, plan.previous.run if plan.previous else None]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def previous_estimator(workspace: Workspace, run: Run) -> object:
    """Return the estimator that the fit of a run started from; None where it started from none."""
    if run.previous is None:
        return None
    before = workspace.metadata.get(Run, run.previous)
    folder = workspace.artifacts.open(before.staging)
    dataset = workspace.metadata.get(DatasetVersion, run.dataset)
    trust = workspace.project.policy.serving.trust
    previous, _ = open_previous(folder, before.id, dataset=dataset, trust=trust)
    return None if previous is None else previous.estimator


def _previous(
    workspace: Workspace, champion: Bundle | None, dataset: DatasetVersion, judged_from: int
) -> tuple[Previous | None, str]:
    """Return the champion's newest fit that has seen no row from a time on, or why there is none."""
    if champion is None:
        return None, "no champion serves yet"
    seen = workspace.metadata.get(DatasetVersion, champion.dataset).split_at
    ends: list[tuple[str, datetime]] = [(champion.run, seen)]
    if champion.refit is not None:
        ends.insert(0, (champion.refit, trained_until(workspace.metadata, champion)))
    for run, until in ends:
        if to_micros(until) <= judged_from:
            staging = workspace.metadata.get(Run, run).staging
            if not workspace.artifacts.exists(staging):
                continue  # of a promoted bundle only the run that serves has its files here
            folder = workspace.artifacts.open(staging)
            trust = workspace.project.policy.serving.trust
            return open_previous(folder, run, dataset=dataset, trust=trust)
    return None, f"{champion.id} has seen rows that the new model is judged on"


def _rivals(workspace: Workspace, champion: Bundle | None, frozen: Frozen) -> tuple[Rival, ...]:
    """Return the champion's scores of the holdout; none where nothing serves, or it cannot score these rows."""
    if champion is None:
        return ()
    try:
        scorer, rows = scorer_of(workspace, workspace.artifacts.open(champion.path), frozen.version, frozen)
        try:
            scores = scorer.score(rows)
        finally:
            scorer.close()
    except TrimtabError as error:
        log.warning("the new model is not compared with %s: %s", champion.id, error)
        return ()
    until = np.datetime64(to_micros(trained_until(workspace.metadata, champion)), "us")
    return (Rival(name=champion.id, scores=scores, unseen=frozen.holdout.timestamps >= until),)
