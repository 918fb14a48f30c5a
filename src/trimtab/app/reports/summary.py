"""What the loop has done over a stretch of event time, read from the stores alone.

The metrics are those of the model's task. Requests that no replay sent are counted apart and are not compared.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from trimtab.app.project.own_models import open_own
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.paired_rows import LABEL, VersionClasses, latest_labels
from trimtab.bundle.typed_packing import logged_rows
from trimtab.errors import ImpactFailed
from trimtab.metric_catalog import BY_TASK, METRICS
from trimtab.monitoring import mistakes
from trimtab.monitoring.row_money import RowMoney, prices
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stats.metrics import metric_value
from trimtab.stores.predictions.contract import START
from trimtab.tasks import RULES

log = logging.getLogger(__name__)

BLOCK_ROWS = 100_000
REPLAYED = r"^{}-\d+$"
"""Ids of predictions that a replay of a source sends: its name and the number of the row."""


@dataclass(frozen=True)
class FrozenComparison:
    """The loop compared with its first champion, never retrained, on the same labelled rows.

    metric: the one of `loop` and `frozen` that says which is better: what promotes a challenger. Money is None where
    the policy names no costs for the task.
    """

    rows: int
    metric: str
    loop: dict[str, float]
    frozen: dict[str, float]
    frozen_version: int
    loop_money_lost: float | None
    frozen_money_lost: float | None

    @property
    def gain(self) -> float:
        """By how much the loop is better in `metric`, in its unit; less than 0 when worse, NaN when not defined."""
        return METRICS[self.metric].gain(self.loop[self.metric], self.frozen[self.metric])


@dataclass(frozen=True)
class Version:
    """One trained model and what became of it."""

    version: int | None
    run: str
    as_of: datetime
    gates: str
    fate: str


@dataclass(frozen=True)
class OtherPredictions:
    """Predictions of a model that no replay sent, such as requests that were made by hand."""

    predictions: int = 0
    newest: datetime | None = None
    """Their latest event time."""


@dataclass(frozen=True)
class Summary:
    """Everything that the table at the end of a replay shows."""

    predictions: int
    others: OtherPredictions
    """Of these, what no replay sent."""
    scored_for_comparison: int
    errors: int
    labels: int
    windows: int
    cells: dict[tuple[str, str, str], int]
    """(band, impact, action) -> decisions."""
    acted: tuple[Decision, ...]
    versions: tuple[Version, ...]
    comparison: FrozenComparison | None
    training_cost: float
    serving_cost: float
    currency: str


def summarise(workspace: Workspace, model: str) -> Summary:
    """Gather the summary of one model."""
    metadata = workspace.metadata
    labels = latest_labels(workspace, model)
    log = _read_log(workspace, model, labels)
    decisions = metadata.find(Decision, model=model, oldest_first=True)
    windows = metadata.find(WindowReport, model=model, stage="closed")
    return Summary(
        predictions=log.served,
        others=log.others,
        scored_for_comparison=log.compared,
        errors=log.errors,
        labels=labels.height,
        windows=len({w.start for w in windows}),
        cells=dict(Counter((d.band, d.impact, d.action) for d in decisions)),
        acted=tuple(d for d in decisions if d.action != "monitor"),
        versions=tuple(_versions(workspace, model)),
        comparison=_compare(workspace, model, log.labelled),
        training_cost=sum(run.cost for run in metadata.find(Run, model=model) if run.made_in is None),
        serving_cost=sum(w.metrics.get("cost", 0.0) for w in windows),
        currency=workspace.project.policy.impact.currency,
    )


class _Log(NamedTuple):
    served: int
    compared: int
    errors: int
    labelled: pl.DataFrame
    """Served rows that a replay sent and that have a label, with it."""
    others: OtherPredictions


def other_predictions(workspace: Workspace, model: str) -> OtherPredictions:
    """Return which predictions of a model in the log no replay sent."""
    return _read_log(workspace, model, latest_labels(workspace, model).clear()).others


def _read_log(workspace: Workspace, model: str, labels: pl.DataFrame) -> _Log:
    """Read the prediction log in blocks, and keep only what is compared."""
    served = compared = errors = others = 0
    times: list[datetime] = []
    found: list[pl.DataFrame] = []
    replayed = pl.col("prediction_id").str.contains(REPLAYED.format(workspace.model(model).examples.name))
    block, cursor = workspace.predictions.read(START, limit=BLOCK_ROWS)
    while block.num_rows or not found:
        frame = pl.from_arrow(block)
        assert isinstance(frame, pl.DataFrame)
        frame = frame.filter(pl.col("model") == model)
        answers = frame.filter("served")
        served += answers.height
        compared += frame.height - answers.height
        errors += frame["error"].len() - frame["error"].null_count()
        foreign = answers.filter(~replayed)
        others += foreign.height
        times = sorted([*times, *foreign["event_time"].to_list()])[-1:]
        known = answers.filter(replayed).join(labels, on="prediction_id", how="inner", maintain_order="left")
        found.append(known)
        block, cursor = workspace.predictions.read(cursor, limit=BLOCK_ROWS)
    return _Log(served, compared, errors, pl.concat(found), OtherPredictions(others, times[-1] if times else None))


def _versions(workspace: Workspace, model: str) -> list[Version]:
    metadata = workspace.metadata
    revisions = metadata.find(Revision, model=model, oldest_first=True)
    steps = metadata.find(WorkflowStep, model=model, oldest_first=True)
    found = []
    for run in (run for run in metadata.find(Run, model=model, oldest_first=True) if run.refit_of is None):
        bundle = next(iter(metadata.find(Bundle, model=model, run=run.id)), None)
        reports = metadata.find(GateReport, model=model, run=run.id, limit=1)
        fate = _fate(bundle, revisions, steps) if bundle else "refused by a gate"
        dataset = run.dataset
        found.append(
            Version(
                version=bundle.version if bundle else None,
                run=run.id,
                as_of=_as_of(workspace, dataset),
                gates=reports[0].verdict if reports else "not judged",
                fate=fate,
            )
        )
    return found


def _as_of(workspace: Workspace, dataset: str) -> datetime:
    return workspace.metadata.get(DatasetVersion, dataset).as_of


def _fate(bundle: Bundle, revisions: Any, steps: Any) -> str:
    """Return in words what became of a bundle, and on what evidence."""
    last = revisions[-1] if revisions else None
    if last and last.bundle_in("champion") == bundle.id:
        first = next(r for r in revisions if r.bundle_in("champion") == bundle.id)
        return "champion" if first.action == "deploy" else f"champion: {first.reason}"
    if last and last.bundle_in("challenger") == bundle.id:
        return "still challenging"
    if last and last.bundle_in("shadow") == bundle.id:
        return "still scoring as shadow"
    if not any(bundle.id in (each.bundle for each in r.assignments) for r in revisions):
        return "not deployed"
    served = any(r.bundle_in("champion") == bundle.id for r in revisions)
    workflow = next((s.workflow for s in steps if s.refers_to == bundle.id), None)
    evidence = next((s.outcome for s in steps if s.workflow == workflow and s.step == "compare"), "")
    return "replaced as champion" if served else f"abandoned: {evidence}" if evidence else "abandoned"


def _types(workspace: Workspace, bundle: Bundle) -> dict[str, str]:
    """Return the types of a bundle's features that are no plain numbers."""
    return dict(workspace.metadata.get(DatasetVersion, bundle.dataset).feature_types)


def _compare(workspace: Workspace, model: str, rows: pl.DataFrame) -> FrozenComparison | None:
    """Score the rows that the loop answered with the first champion, from the features as they were logged.

    Each row is judged by the threshold of the version that answered it.
    """
    first = next(iter(workspace.metadata.find(Revision, model=model, oldest_first=True, limit=1)), None)
    if first is None or rows.is_empty():
        return None
    frozen = workspace.metadata.get(Bundle, str(first.bundle_in("champion")))
    same = {
        b.version: b
        for b in workspace.metadata.find(Bundle, model=model)
        if b.features == frozen.features
        and b.views == frozen.views
        and _types(workspace, b) == _types(workspace, frozen)
    }
    rows = rows.filter(pl.col("score").is_not_null() & pl.col("version").is_in(list(same)))
    known_classes = VersionClasses.read(workspace, workspace.model(model), same.values())
    labels = known_classes.labels(rows.select(LABEL))
    rows = rows.drop(LABEL[1:]).join(labels, on="prediction_id", maintain_order="left")
    if rows.is_empty():
        return None
    folder = workspace.artifacts.open(frozen.path)
    scorer, spec = open_own(workspace, folder)
    X = logged_rows(spec, rows["features"].to_list(), rows["typed"].to_list())
    scores = np.concatenate([scorer.score(X[n : n + BLOCK_ROWS]) for n in range(0, len(X), BLOCK_ROWS)])
    scores = known_classes.spread(scores, frozen.version)
    known = np.isfinite(RULES[workspace.model(model).task].main_score(scores)) & np.isfinite(rows["score"].to_numpy())
    y, answered, scores = rows["label"].to_numpy()[known], known_classes.scores(rows)[known], scores[known]
    if not len(y):
        return None
    policy, task = workspace.project.policy, workspace.model(model).task
    limits = {v: RULES[task].threshold_beside(frozen.threshold, bundle.threshold) for v, bundle in same.items()}
    own_limit = np.array([limits[version] for version in rows["version"].to_numpy()[known]])
    first_limit = np.full(len(y), frozen.threshold)
    function = workspace.model(model).money
    metric, costs = policy.rollout.promote_when.quality_for(task), prices(policy.impact, task, function)
    columns = {name: X[known, place] for place, name in enumerate(frozen.features)}
    own = RowMoney.of(function, columns, names=spec.feature_categories, classes=known_classes.names)
    names = tuple(dict.fromkeys((metric, *BY_TASK[task].summary)))

    def measured(score: np.ndarray[Any, Any], limit: np.ndarray[Any, Any]) -> dict[str, float]:
        if RULES[task].output == "anomaly_score":  # versions have scores of their own scale: 0 is the threshold of each
            score, limit = score - limit, np.zeros(len(y))
        return {name: metric_value(name, y, score, threshold=limit) for name in names}

    def lost(score: np.ndarray[Any, Any], limit: np.ndarray[Any, Any]) -> float | None:
        try:
            made = mistakes.mean_mistakes(y, score, task=task, threshold=limit, own=own, classes=known_classes.names)
        except ImpactFailed as error:
            log.error("money lost is not known: %s", error)
            return None
        return mistakes.money(made, costs) * len(y) if costs else None

    return FrozenComparison(
        rows=len(y),
        metric=metric,
        loop=measured(answered, own_limit),
        frozen=measured(scores, first_limit),
        frozen_version=frozen.version,
        loop_money_lost=lost(answered, own_limit),
        frozen_money_lost=lost(scores, first_limit),
    )
