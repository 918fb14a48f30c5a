"""Gathers what the gates judge: a run's model and the champion that serves, on the same holdout rows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trimtab.app.project.definitions_file import load_definitions
from trimtab.app.project.own_models import open_own
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages.served_features import training_rows
from trimtab.bundle.limits import checked
from trimtab.bundle.outputs import in_order
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.typed_matrix import Schema
from trimtab.bundle.typed_packing import feature_schema
from trimtab.clock import to_micros
from trimtab.definitions.personal_columns import personal_columns
from trimtab.errors import StageError
from trimtab.gates.held_out import held_out_windows
from trimtab.gates.inputs import GateInputs
from trimtab.metric_catalog import Task, compared_metrics
from trimtab.records.gate_reports import HeldOutWindow
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import Metadata
from trimtab.tasks import RULES
from trimtab.training.columns.class_labels import indices
from trimtab.training.dataset import Frozen, examples, load


def gate_inputs(workspace: Workspace, run: Run) -> GateInputs:
    """Return the gates' inputs for a run, the champion it is compared with among them."""
    dataset = workspace.metadata.get(DatasetVersion, run.dataset)
    frozen = load(dataset, workspace.artifacts)
    folder = workspace.artifacts.open(run.staging)
    candidate, spec = open_own(workspace, folder)
    champion = compared_with(workspace, run)
    served = workspace.artifacts.open(champion.path) if champion else None
    scorer, rows = scorer_of(workspace, served, dataset, frozen) if served else (None, None)
    kept = judged_rows(frozen.holdout.y, spec.task)
    holdout = frozen.holdout.take(kept)
    return GateInputs(
        X=holdout.X,
        y=holdout.y,
        timestamps=holdout.timestamps,
        groups={name: values[kept] for name, values in frozen.holdout_groups.items()},
        classes=spec.classes if RULES[spec.task].by_class else (),
        feature_names=dataset.features,
        candidate=checked(candidate, spec),
        champion=scorer,
        champion_X=None if rows is None else rows[kept],
        champion_threshold=champion.threshold if champion else None,
        champion_id=champion.id if champion else None,
        champion_seen_until=trained_until(workspace.metadata, champion) if champion else None,
        objective=spec.objective,
        threshold=spec.threshold,
        folder=folder,
        seed=run.seed,
        contamination=workspace.project.policy.training.contamination,
        prices=workspace.project.policy.prices,
        own_gates=workspace.project.definitions.gates_of(run.model),
        trust=tuple(workspace.project.policy.serving.trust),
        personal=personal_columns(workspace.project.definitions),
    )


def judged_rows(y: np.ndarray[Any, Any], task: Task) -> np.ndarray[Any, Any]:
    """Return which rows the gates judge, bool (rows,). y: labels, NaN for an unknown one.

    Where labels are no must: the labelled rows if there are some of both classes, else all rows, as if without labels.
    """
    known = ~np.isnan(y)
    both = len(np.unique(y[known])) > 1
    return known if RULES[task].needs_labels or both else np.ones(len(y), dtype=bool)


def compared_with(workspace: Workspace, run: Run) -> Bundle | None:
    """Return the champion that a run is compared with; None when nothing else serves."""
    champion = champion_of(workspace, run.model)
    return None if champion is None or champion.run == run.id else champion


def champion_of(workspace: Workspace, model: str) -> Bundle | None:
    """Return the bundle that serves as champion; None before the first."""
    revision = open_rollouts(workspace, model).current()
    return workspace.metadata.get(Bundle, str(revision.bundle_in("champion"))) if revision else None


def trained_until(metadata: Metadata, bundle: Bundle) -> datetime:
    """Return the event time from which on a bundle's model was trained on no row."""
    dataset = metadata.get(DatasetVersion, bundle.dataset)
    return dataset.split_at if bundle.refit is None else dataset.as_of


def held_out_evidence(workspace: Workspace, run: Run, inputs: GateInputs) -> tuple[HeldOutWindow, ...]:
    """Return the comparison with the champion in the windows of the holdout that neither model was trained on."""
    champion = compared_with(workspace, run)
    if champion is None or inputs.champion is None:
        return ()
    policy, dataset = workspace.project.policy, workspace.metadata.get(DatasetVersion, run.dataset)
    return held_out_windows(
        inputs,
        metrics=compared_metrics(inputs.task, policy.rollout.promote_when.metric),
        window=policy.decide.window,
        start=to_micros(max(dataset.split_at, trained_until(workspace.metadata, champion))),
        end=to_micros(dataset.as_of) - policy.decide.labels_mature_after,
    )


def scorer_of(
    workspace: Workspace, folder: Path, dataset: DatasetVersion, frozen: Frozen
) -> tuple[Scorer, np.ndarray[Any, Any]]:
    """Return the scorer of a packaged model and the holdout rows as its own features."""
    scorer, spec = open_own(workspace, folder)
    scorer = in_order(scorer, spec.classes, dataset.classes)
    own, types = (spec.features, spec.views, spec.code_hash), (dict(spec.feature_types), spec.input)
    same = own == (dataset.features, dataset.views, dataset.code_hash)
    if same and types == (dict(dataset.feature_types), dataset.input):
        return scorer, frozen.holdout.X
    return scorer, other_features(workspace, folder / "code", frozen, feature_schema(spec))


def other_features(workspace: Workspace, code: Path, frozen: Frozen, schema: Schema | None) -> np.ndarray[Any, Any]:
    """Return the holdout's rows as another version of the project computes them.

    Rows with the same timestamp and label may come in another order than the candidate's. No metric depends on
    that: they are of the same day, which is the gates' unit, and have the same label. Raises StageError where that
    version has other rows.
    """
    dataset = frozen.version
    model = load_definitions(code).model(dataset.model)
    versions = {name: int(id_.rpartition("@")[2]) for name, id_ in dataset.tables.items()}
    found = training_rows(
        workspace,
        model,
        workspace.scan(versions, as_of=dataset.as_of),
        as_of=dataset.as_of,
        start=dataset.start,
        keep=(),
        without=dataset.without,
        features_from="log" if dataset.features_from == "log" else "offline",
        logged_by=dataset.created_at,
    )
    rows = found.frame.filter(pl.col("timestamp") >= dataset.split_at)
    if dataset.classes:
        rows = rows.with_columns(indices(rows["label"], dataset.classes))
    if RULES[model.task].needs_labels:
        rows = rows.filter(pl.col("label").is_not_null())
    data = examples(rows.sort("timestamp", "label", maintain_order=True, nulls_last=True), model.feature_names, schema)
    holdout = frozen.holdout
    same = np.array_equal(data.timestamps, holdout.timestamps) and np.array_equal(data.y, holdout.y, equal_nan=True)
    if not same:
        raise StageError(
            f"model '{model.name}' cannot be compared with the version whose definitions are in {code}: they give "
            f"{len(data.y)} rows of other times or labels where the holdout has {len(holdout.y)}"
        )
    return data.X
