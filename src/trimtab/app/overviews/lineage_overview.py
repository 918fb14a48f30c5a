"""Where an answer, or any record of the loop, comes from and what followed from it, step by step."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.overviews import wording
from trimtab.app.overviews.reads.child_reader import reader
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import policy_says
from trimtab.app.reports.lineage import bundle_of, origin_of
from trimtab.app.runs.found_run import find_run
from trimtab.bundle.manifest import verify
from trimtab.clock import from_micros, parse_time, to_micros
from trimtab.errors import DataError, NotFound, StoreError
from trimtab.metric_catalog import Task
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import latest
from trimtab.stores.metadata.training_sets import training_set
from trimtab.training.environment import DIRTY
from trimtab.units import plural, short

KINDS: tuple[type[Record], ...] = (
    Decision, Bundle, Revision, Run, DatasetVersion, TableVersion, FeatureViewVersion, WindowReport
)  # fmt: skip
"""Whose ids are looked up, before those of predictions."""
_OF_MODELS = Decision | Bundle | Revision | Run | DatasetVersion | WindowReport
SHOWN = 12
"""Characters of a long hash."""
START_LENGTH = 6
"""Characters from which the start of a run's id is looked for."""
MOST_FOLLOWING = 10
"""Records of one kind that followed."""


class LineageStep(msgspec.Struct, frozen=True, kw_only=True):
    """One record on the way. path: its page in the console, "" for none."""

    kind: str
    """prediction, label, window, decision, resolution, step, revision, bundle, gates, run, dataset, view, table or
    source."""
    id: str
    at: datetime | None
    """When it was written, or, of what happened in event time, when that was."""
    by: str
    text: str
    path: str = ""
    facts: Mapping[str, str] = {}


class LineageOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The way back from one id. steps: from it to the sources; followed: what came of it later."""

    id: str
    kind: str
    sentence: str
    models: tuple[str, ...]
    """The models that it is about; empty for tables and views."""
    steps: tuple[LineageStep, ...]
    followed: tuple[LineageStep, ...]
    features: Mapping[str, Any] | None
    """Of a prediction: its inputs by name; None where they were not asked for."""


def lineage_overview(workspace: Workspace, id_: str, *, features: bool = False) -> LineageOverview:
    """Return where something comes from.

    Args:
        workspace: an open project.
        id_: of a prediction, decision, bundle, revision, run, training set, table version, view version or window; of
            a run the start, too.
        features: return the inputs of a prediction by name.

    Raises:
        NotFound: there is nothing with this id; the message says which log was read.
        UsageError: several runs begin so.
    """
    id_ = id_.strip()
    record = _record(workspace, id_)
    if record is not None:
        return _of_record(workspace, record)
    try:
        found = reader(workspace).read("lineage", dict[str, Any], prediction_id=id_)
    except NotFound as error:
        if len(id_) >= START_LENGTH and set(id_) <= set(string.hexdigits):
            return _of_record(workspace, find_run(workspace, id_))
        raise NotFound(f"{error}; {_log_text(workspace)}") from None
    return _of_prediction(workspace, id_, found, features=features)


def _record(workspace: Workspace, id_: str) -> Record | None:
    for kind in KINDS:
        try:
            return workspace.metadata.get(kind, id_)
        except NotFound:
            continue
    return None


def _log_text(workspace: Workspace) -> str:
    """Return which rows of the log were looked at."""
    span = reader(workspace).read("log_span", dict[str, Any])
    if not span["predictions"]:
        return "the log is empty"
    times = [wording.instant(parse_time(span[name])) for name in ("first", "last")]
    kept = short(workspace.project.policy.serving.log.retention)
    return (
        f"read were {plural(span['predictions'], 'row')} that were logged from {times[0]} to {times[1]}; rows are kept "
        f"for {kept} (serving.log.retention), so an older one may have been removed"
    )


def _of_prediction(workspace: Workspace, id_: str, found: Mapping[str, Any], *, features: bool) -> LineageOverview:
    rows: Sequence[Mapping[str, Any]] = found["predictions"]
    row = next((each for each in reversed(rows) if each["served"]), rows[-1])
    model, at = row["model"], parse_time(row["event_time"])
    bundle = workspace.metadata.get(Bundle, bundle_of(workspace, dict(row)))
    origin = list(_back_from_bundle(workspace, bundle))
    revision = workspace.metadata.get(Revision, f"{model}#{row['revision']}")
    answer = _answer(workspace, row, bundle.threshold)
    who = f"{model} {row['version']}" if row["version"] else f"the fallback of {model}"
    said = f"answered {answer} by {who}" if row["served"] else f"scored {answer} by {who} for comparison alone"
    others = [
        f"{each['model']} {each['version']} ({each['role']}): {_answer(workspace, each, bundle.threshold)}"
        for each in rows
        if each is not row
    ]
    step = LineageStep(
        kind="prediction",
        id=id_,
        at=at,
        by=row["route"],
        text=f"{said}, as {row['role']}, in {wording.metric(row['latency_us'] / 1000)} ms",
        facts={
            **{f"entity {name}": str(value) for name, value in row["entities"].items()},
            "score": wording.metric(row["score"]),
            "threshold": wording.metric(bundle.threshold),
            "logged at": wording.instant(parse_time(row["logged_at"])),
            **({"error": row["error"]} if row["error"] else {}),
            **({"also scored by": "; ".join(others)} if others else {}),
        },
    )
    label = _label(found["label"])
    return LineageOverview(
        id=id_,
        kind="prediction",
        sentence=wording.sentence(f"{said} on {wording.instant(at)}", _digest(workspace, bundle)),
        models=(model,),
        steps=(step, _revision(revision), *origin),
        followed=(*([label] if label else []), *_counted_in(workspace, model, row["version"], at)),
        features=row["features"] if features else None,
    )


def _answer(workspace: Workspace, row: Mapping[str, Any], threshold: float) -> str:
    """Return the score of a row, and what it means for the task."""
    if row["score"] is None:
        return "an error"
    score, model = wording.metric(row["score"]), workspace.project.definitions.served.get(row["model"])
    if row["probabilities"]:
        name, share = max(row["probabilities"].items(), key=lambda each: each[1])
        return f"{name} ({wording.share(share)})"
    if model is None or model.task not in _SIDES:
        return score
    above, below = _SIDES[model.task]
    return f"{score} ({(above if row['score'] >= threshold else below).format(label=model.label)})"


_SIDES: Mapping[Task, tuple[str, str]] = {"binary": ("{label}", "not {label}"), "anomaly": ("unusual", "usual")}
"""What a score at or above the threshold means, and one below."""


def _label(label: Mapping[str, Any] | None) -> LineageStep | None:
    if label is None:
        return None
    value = label["class_name"] if label["class_name"] is not None else wording.metric(label["label"])
    received = wording.instant(parse_time(label["received_at"]))
    return LineageStep(
        kind="label", id="", at=parse_time(label["known_at"]), by="", text=f"the label is {value}; received {received}"
    )


def _counted_in(workspace: Workspace, model: str, version: int, at: datetime) -> Iterator[LineageStep]:
    """Yield the window in which a row counted, and the decision about that window."""
    size = workspace.project.policy.decide.window
    start = from_micros(to_micros(at) // size * size)
    windows = workspace.metadata.find(WindowReport, model=model, version=version, start=start)
    if not windows:
        yield LineageStep(kind="window", id="", at=start, by="", text="its window is not closed yet")
    for window in windows[:1]:
        yield _window(window)
    for decision in workspace.metadata.find(Decision, model=model, start=start):
        yield _decision(decision)


def _of_record(workspace: Workspace, record: Record) -> LineageOverview:
    steps = tuple(_back(workspace, record))
    first = steps[0]
    return LineageOverview(
        id=record.id,
        kind=first.kind,
        sentence=wording.sentence(f"{_NAMES[first.kind]} {_short(record.id)}: {first.text}"),
        models=(record.model,) if isinstance(record, _OF_MODELS) else (),
        steps=steps,
        followed=tuple(_forward(workspace, record)),
        features=None,
    )


_NAMES = {
    "decision": "decision",
    "bundle": "bundle",
    "revision": "revision",
    "run": "run",
    "dataset": "training set",
    "table": "table version",
    "view": "view",
    "window": "window",
}


def _back(workspace: Workspace, record: Record) -> Iterator[LineageStep]:
    """Yield the record and everything that it comes from."""
    metadata = workspace.metadata
    if isinstance(record, Decision):
        yield _decision(record)
        yield _window(metadata.get(WindowReport, record.window))
        yield from _back_from_version(workspace, record.model, record.version)
    elif isinstance(record, WindowReport):
        yield _window(record)
        yield from _back_from_version(workspace, record.model, record.version)
    elif isinstance(record, Revision):
        yield _revision(record)
        champion = record.bundle_in("champion")
        if champion is not None:
            yield from _back_from_bundle(workspace, metadata.get(Bundle, champion))
    elif isinstance(record, Bundle):
        yield from _back_from_bundle(workspace, record)
    elif isinstance(record, Run):
        yield _run(record)
        if record.refit_of is not None:
            yield _run(metadata.get(Run, record.refit_of))
        yield from _back_from_dataset(workspace, training_set(metadata, record))
    elif isinstance(record, DatasetVersion):
        yield from _back_from_dataset(workspace, record)
    elif isinstance(record, FeatureViewVersion):
        yield _view(record)
        yield _source(workspace, record.source)
    elif isinstance(record, TableVersion):
        yield _table(record)
        yield _source(workspace, record.table)


def _back_from_version(workspace: Workspace, model: str, version: int) -> Iterator[LineageStep]:
    try:
        bundle = workspace.metadata.get(Bundle, f"{model}/{version}")
    except NotFound:
        return  # a recording, whose model was not trained here
    yield from _back_from_bundle(workspace, bundle)


def _back_from_bundle(workspace: Workspace, bundle: Bundle) -> Iterator[LineageStep]:
    origin = origin_of(workspace, bundle)
    yield LineageStep(
        kind="bundle",
        id=bundle.id,
        at=bundle.created_at,
        by="",
        text=f"{plural(len(bundle.features), 'feature')}; {_digest(workspace, bundle)}",
        path=f"/models/{bundle.model}/versions/{bundle.version}",
        facts={"digest": bundle.digest, "threshold": wording.metric(bundle.threshold)},
    )
    failed = [result.reason for result in origin.gates.results if result.verdict == "fail"]
    text = f"{origin.gates.verdict}: {plural(len(origin.gates.results), 'result')}"
    yield LineageStep(
        kind="gates",
        id=origin.gates.id,
        at=origin.gates.created_at,
        by="",
        text="; ".join([text, *failed]),
        path=f"/experiments/{origin.run.id}",
        facts={"compared with": origin.gates.champion or "no champion"},
    )
    if origin.refit is not None:
        yield _run(origin.refit)
    yield _run(origin.run)
    yield from _back_from_dataset(workspace, origin.dataset)


def _back_from_dataset(workspace: Workspace, dataset: DatasetVersion) -> Iterator[LineageStep]:
    yield LineageStep(
        kind="dataset",
        id=dataset.id,
        at=dataset.created_at,
        by="",
        text=f"{plural(dataset.rows, 'row')} of {wording.instant(dataset.start)} to {wording.instant(dataset.as_of)}, "
        f"{wording.count(dataset.labelled)} labelled; it holds what was known at its end",
        facts={"features": wording.count(len(dataset.features)), "transforms": dataset.code_hash},
    )
    for id_ in dataset.views:
        yield _view(workspace.metadata.get(FeatureViewVersion, id_))
    tables = [workspace.metadata.get(TableVersion, id_) for id_ in dataset.tables.values()]
    for table in tables:
        yield _table(table)
    for table in tables:
        yield _source(workspace, table.table)


def _forward(workspace: Workspace, record: Record) -> Iterator[LineageStep]:
    """Yield what came of a record, the newest first and at most MOST_FOLLOWING of a kind."""
    metadata = workspace.metadata
    if isinstance(record, Decision):
        resolution = latest(metadata, Resolution, decision=record.id)
        if resolution is not None:
            yield _answered(resolution)
        steps = metadata.find(WorkflowStep, model=record.model, workflow=f"retrain/{record.id}", oldest_first=True)
        for step in steps:
            yield _workflow_step(step)
    elif isinstance(record, WindowReport):
        for decision in metadata.find(Decision, model=record.model, start=record.start):
            yield _decision(decision)
    elif isinstance(record, Bundle):
        revisions = [each for each in metadata.find(Revision, model=record.model) if _holds(each, record.id)]
        for revision in revisions[:MOST_FOLLOWING]:
            yield _revision(revision)
    elif isinstance(record, Run):
        ids = (record.id, record.refit_of) if record.refit_of else (record.id,)
        for bundle in metadata.find(Bundle, run=ids, limit=MOST_FOLLOWING):
            yield _bundle_alone(bundle)
    elif isinstance(record, DatasetVersion):
        for run in metadata.find(Run, dataset=record.id, limit=MOST_FOLLOWING):
            yield _run(run)
    elif isinstance(record, TableVersion | FeatureViewVersion):
        for dataset in metadata.find(DatasetVersion):
            if record.id in dataset.tables.values() or record.id in dataset.views:
                yield LineageStep(
                    kind="dataset",
                    id=dataset.id,
                    at=dataset.created_at,
                    by="",
                    text=f"{plural(dataset.rows, 'row')} for model {dataset.model}",
                )


def _holds(revision: Revision, bundle: str) -> bool:
    return any(assignment.bundle == bundle for assignment in revision.assignments)


def _digest(workspace: Workspace, bundle: Bundle) -> str:
    """Return if the files of a bundle are those that were registered."""
    try:
        verify(workspace.artifacts.open(bundle.path), bundle.digest)
    except (DataError, StoreError) as error:
        return f"the digest does not match: {error}"
    return "digest matches"


def _bundle_alone(bundle: Bundle) -> LineageStep:
    return LineageStep(
        kind="bundle",
        id=bundle.id,
        at=bundle.created_at,
        by="",
        text=f"version {bundle.version} of model {bundle.model}",
        path=f"/models/{bundle.model}/versions/{bundle.version}",
    )


def _run(run: Run) -> LineageStep:
    uncommitted = ", with uncommitted changes" if run.code_version.endswith(DIRTY) else ""
    what = f"a fit on all rows of run {_short(run.refit_of)}" if run.refit_of else "trained and judged"
    return LineageStep(
        kind="run",
        id=run.id,
        at=run.created_at,
        by="",
        text=f"{what}; code {_short(run.code_version.removesuffix(DIRTY))}{uncommitted}, seed {run.seed}",
        path=f"/experiments/{run.id}",
        facts={
            "code": run.code_version,
            "environment": run.environment_hash,
            "Python": run.python or wording.NOT_KNOWN,
            "model": run.model_hash,
        },
    )


def _view(view: FeatureViewVersion) -> LineageStep:
    return LineageStep(
        kind="view",
        id=view.id,
        at=view.created_at,
        by="",
        text=f"{plural(len(view.features), 'feature')} of {view.entity}, from {view.source}",
        path=f"/data/views/{view.view}",
    )


def _table(table: TableVersion) -> LineageStep:
    return LineageStep(
        kind="table",
        id=table.id,
        at=table.created_at,
        by="",
        text=f"{plural(table.rows, 'row')}, {wording.count(table.added_rows)} of them new, from {table.source}",
        path=f"/data/tables/{table.table}/{table.version}",
        facts={"contents": table.content_hash},
    )


def _source(workspace: Workspace, name: str) -> LineageStep:
    source = workspace.project.definitions.sources.get(name)
    text = f"{type(source).__name__}: {source.origin}" if source else "definitions.py has it no more"
    return LineageStep(kind="source", id=name, at=None, by="", text=text, path=f"/data/tables/{name}")


def _revision(revision: Revision) -> LineageStep:
    roles = wording.joined([f"{each.role} {each.bundle}" for each in revision.assignments])
    return LineageStep(
        kind="revision",
        id=revision.id,
        at=revision.created_at,
        by=revision.by,
        text=f"{revision.action}: {roles}; {revision.reason}",
        path=f"/models/{revision.model}/revisions/{revision.number}",
        facts={"cause": revision.cause},
    )


def _window(window: WindowReport) -> LineageStep:
    complete = "labels complete" if window.stage == "matured" else "its labels are not complete yet"
    return LineageStep(
        kind="window",
        id=window.id,
        at=window.start,
        by="",
        text=f"{wording.window_name(window.start, window.end)}: {plural(window.rows, 'row')} of version "
        f"{window.version}; {complete}",
        path=f"/models/{window.model}/windows/{wording.iso(window.start)}?version={window.version}",
    )


def _decision(decision: Decision) -> LineageStep:
    return LineageStep(
        kind="decision",
        id=decision.id,
        at=decision.end,
        by=decision.by,
        text=f"{decision.action}: {decision.band} x {decision.impact}; {policy_says(decision)}",
        path=f"/models/{decision.model}/decisions/{decision.number}",
        facts={"hash": decision.hash},
    )


def _answered(resolution: Resolution) -> LineageStep:
    return LineageStep(
        kind="resolution",
        id=resolution.id,
        at=resolution.created_at,
        by=resolution.by,
        text=f"{resolution.verdict}: {resolution.reason}",
    )


def _workflow_step(step: WorkflowStep) -> LineageStep:
    return LineageStep(kind="step", id=step.id, at=step.created_at, by="", text=f"{step.step}: {step.outcome}")


def _short(id_: str | None) -> str:
    """Return an id with a long hash cut."""
    hex_ = id_ is not None and len(id_) > SHOWN and set(id_) <= set(string.hexdigits)
    return id_[:SHOWN] if hex_ and id_ else id_ or ""
