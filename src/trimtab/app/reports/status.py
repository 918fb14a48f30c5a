"""What serves, how it does, what waits for a decision, what it costs. Read from the stores alone."""

from __future__ import annotations

import math
from contextlib import closing, suppress
from typing import Any

import msgspec

from trimtab.app.alerts.alert_list import alert_report
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.gateway.prompt_gateway import running_prompts
from trimtab.app.ingestion.progress import read_ingestion
from trimtab.app.ingestion.streaming import streaming_sources
from trimtab.app.llm.spend.spend_report import served_spend
from trimtab.app.loop.machine_use import NO_MODEL
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.loop.workflows import Workflows
from trimtab.app.project.process_files import read_progress, write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.answer_money import cost_per_million
from trimtab.app.reports.kpi_streams import kpi_streams
from trimtab.app.reports.label_waits import estimates, label_waits
from trimtab.app.reports.trigger_list import trigger_list
from trimtab.clock import from_micros, to_micros
from trimtab.control.holds import active_freeze, event_time, freeze_reason
from trimtab.control.reviews import ESCALATE, open_notes, pending_reviews
from trimtab.control.suspects import HELD, suspected_stretches
from trimtab.errors import NotFound, StoreError
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.kinds import RECORDS
from trimtab.records.monitoring import Comparison, Signal, WindowReport
from trimtab.records.serving import Assignment, Revision
from trimtab.records.stream_progress import StreamProgress
from trimtab.records.training import Run
from trimtab.serving.processes.listening import Announcement
from trimtab.stores.metadata.contract import Metadata, latest, newest_until
from trimtab.stores.predictions.contract import PREDICTION_FIELDS
from trimtab.units import MICROS

LAST_WINDOWS = 5
LAST_DECISIONS = 5
MOST_PROCESSES = 64
LAST_ENTRIES = 500
"""Of the ledger, which are verified; `trimtab ledger verify` and doctor verify all."""
SERVED = "served-{model}.json"
"""In the run folder: what the windows of a model cost up to one of them."""
NOT_READ = "no process reads it; run: trimtab up, or: trimtab stream"
KEPT_AFTER = 100
"""Windows that are summed up before the sum is kept."""


class ServingCost(msgspec.Struct, frozen=True, kw_only=True):
    """Money and rows answered of all closed windows up to one. last: id of its report."""

    last: str
    answers: int
    cost: float


def status(workspace: Workspace) -> dict[str, Any]:
    """Return the state of a project as plain values."""
    gateway, prompts = running_gateway(workspace.run_folder), running_prompts(workspace)
    progress = read_progress(workspace.run_folder)
    return {
        "project": workspace.project.policy.project,
        "gateway": _gateway(gateway),
        "prompt_gateway": _gateway(prompts),
        "steering": msgspec.to_builtins(progress) if progress else None,
        "ledger": msgspec.to_builtins(workspace.metadata.verify(last=LAST_ENTRIES)),
        "streams": [_plain(one) for one in _streams(workspace)],
        **_workflows(workspace),
        "kpis": kpi_streams(workspace),
        "alerts": alert_report(workspace),
        "triggers": msgspec.to_builtins(trigger_list(workspace)),
        "views": _views(workspace),
        "processes": _processes(workspace),
        "models": {name: _model(workspace, name) for name in workspace.project.definitions.served},
        "records": _records(workspace),
    }


def _gateway(found: Announcement | None) -> dict[str, Any] | None:
    return {"url": found.url, "pid": found.pid, "troubles": found.troubles} if found else None


def _views(workspace: Workspace) -> list[dict[str, Any]]:
    """Return how old the online values of each view are, and how old they may be; seconds."""
    policy, now = workspace.project.policy.features, to_micros(workspace.now())
    found = []
    for name, view in workspace.project.definitions.views.items():
        watermark = workspace.online.watermark(view.version_id)
        age = None if watermark is None else max(0, now - watermark) / MICROS["s"]
        limit = policy.freshness.get(name)
        found.append(
            {
                "view": name,
                "version": view.version_id,
                "until": None if watermark is None else from_micros(watermark).isoformat(),
                "age_s": age,
                "limit_s": None if limit is None else limit / MICROS["s"],
                "stale": limit is not None and (age is None or age > limit / MICROS["s"]),
            }
        )
    return found


def _streams(workspace: Workspace) -> list[StreamProgress]:
    """Return how far each stream is, by the process that reads it."""
    found = read_ingestion(workspace.run_folder)
    known = {} if found is None else {one.source: one for one in found.streams}
    names = [source.name for source in streaming_sources(workspace)]
    return [known.get(name) or StreamProgress(source=name, trouble=NOT_READ) for name in names]


def _workflows(workspace: Workspace) -> dict[str, Any]:
    """Return the retrainings that ended without a result, and why their database cannot be read, or None."""
    with closing(Workflows(workspace.workflows_url)) as workflows:
        try:
            return {"dead_workflows": msgspec.to_builtins(workflows.dead()), "workflows_trouble": None}
        except StoreError as error:
            return {"dead_workflows": [], "workflows_trouble": str(error)}


def _processes(workspace: Workspace) -> list[dict[str, Any]]:
    """Return what each process and the disk used in the newest window of infrastructure."""
    found = workspace.metadata.find(Signal, model=NO_MODEL, kind="infrastructure", limit=MOST_PROCESSES)
    return [_plain(signal) for signal in found if signal.start == found[0].start]


def _model(workspace: Workspace, model: str) -> dict[str, Any]:
    metadata = workspace.metadata
    revision = latest(metadata, Revision, model=model)
    decisions = metadata.find(Decision, model=model, limit=LAST_DECISIONS)
    steps = metadata.find(WorkflowStep, model=model, limit=LAST_DECISIONS)
    freeze = active_freeze(metadata, model, event_time(metadata, model, workspace.clock))
    return {
        "frozen": None if freeze is None else freeze_reason(freeze),
        "serving": [
            {**msgspec.to_builtins(a), "since": _since(workspace, model, a)}
            for a in (revision.assignments if revision else ())
        ],
        "revision": _plain(revision),
        "comparison": _plain(_comparison(metadata, revision)),
        "windows": [_plain(w) for w in metadata.find(WindowReport, model=model, limit=LAST_WINDOWS)],
        "signals": [_plain(s) for s in metadata.find(Signal, model=model, limit=LAST_WINDOWS)],
        "decisions": [_plain(d) for d in decisions],
        "suspected": [_plain(s) for s in suspected_stretches(metadata, model) if s.state == HELD],
        "open_reviews": [{**_plain(d), "escalated": _escalated(metadata, d)} for d in pending_reviews(metadata, model)],
        "to_look_at": [_plain(d) for d in open_notes(metadata, model)],
        "workflow_steps": [_plain(s) for s in steps],
        "money": _money(workspace, model),
        "label_delay": label_waits(workspace, model),
        "estimates": estimates(workspace, model),
    }


def _comparison(metadata: Metadata, revision: Revision | None) -> Comparison | None:
    """Return the newest comparison of what challenges or shadows the champion now."""
    serving = {a.role: a.version for a in (revision.assignments if revision else ()) if not a.kept}
    version, champion = serving.get("challenger", serving.get("shadow")), serving.get("champion")
    if revision is None or version is None or champion is None:
        return None
    return latest(metadata, Comparison, model=revision.model, version=version, against=champion)


def _escalated(metadata: Metadata, review: Decision) -> str | None:
    """Return why a review is escalated, or None."""
    step = latest(metadata, WorkflowStep, workflow=workflow_id(review.id), step=ESCALATE)
    return None if step is None else step.outcome


def _since(workspace: Workspace, model: str, assignment: Assignment) -> str:
    """Return since when a bundle has been in its role, without a break."""
    since = ""
    for revision in workspace.metadata.find(Revision, model=model):
        if all((a.role, a.bundle) != (assignment.role, assignment.bundle) for a in revision.assignments):
            break
        since = revision.created_at.isoformat()
    return since


def _money(workspace: Workspace, model: str) -> dict[str, Any]:
    runs = [run for run in workspace.metadata.find(Run, model=model) if run.made_in is None]
    served = _served(workspace, model)
    return {
        "currency": workspace.project.policy.impact.currency,
        "training": sum(run.cost for run in runs),
        "runs": len(runs),
        "trainings": sum(run.refit_of is None and run.purpose == "train" for run in runs),
        "evaluations": sum(run.purpose == "evaluate" for run in runs),
        "tunes": sum(run.purpose == "tune" for run in runs),
        "serving": served.cost,
        "spend": served_spend(workspace, model),
        "serving_per_million": cost_per_million(served.cost, served.answers),
    }


def _served(workspace: Workspace, model: str) -> ServingCost:
    """Return what closed windows cost in all; the sum up to some window ago is kept in a file, which is a hint."""
    path = workspace.run_folder / SERVED.format(model=model)
    known = ServingCost(last="", answers=0, cost=0.0)
    with suppress(OSError, msgspec.DecodeError, NotFound):
        found = msgspec.json.decode(path.read_bytes(), type=ServingCost)
        workspace.metadata.get(WindowReport, found.last)
        known = found
    where = {"model": model, "stage": "closed"}
    windows = newest_until(workspace.metadata, WindowReport, lambda w: w.id == known.last, **where)
    if not windows:
        return known
    answers = known.answers + sum(w.served_rows for w in windows)
    cost = math.fsum([known.cost, *(w.metrics.get("cost", 0.0) for w in windows)])
    served = ServingCost(last=windows[0].id, answers=answers, cost=cost)
    if len(windows) >= KEPT_AFTER:
        with suppress(OSError):
            write_atomically(path, msgspec.json.encode(served))
    return served


def _records(workspace: Workspace) -> dict[str, Any]:
    """Return count and newest record of every kind, and the prediction log's size."""
    kinds: dict[str, Any] = {
        name: {"count": workspace.metadata.count(kind), "latest": _plain(latest(workspace.metadata, kind))}
        for name, kind in RECORDS.items()
    }
    count = workspace.predictions.count()
    newest, _ = workspace.predictions.read(workspace.predictions.tail(1))
    kinds["prediction_log"] = {
        "count": count.predictions,
        "labels": count.labels,
        "fields": list(PREDICTION_FIELDS),
        "latest": newest.slice(newest.num_rows - 1).to_pylist()[0] if newest.num_rows else None,
    }
    return kinds


def _plain(record: Any) -> Any:
    return msgspec.to_builtins(record) if record is not None else None
