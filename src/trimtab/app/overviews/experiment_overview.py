"""Runs: which there are, what became of each, and what differs between some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import msgspec

from trimtab.app.overviews import wording
from trimtab.app.overviews.prompt_text import PromptText, prompt_text
from trimtab.app.overviews.reads.child_reader import reader
from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.found_run import find_run, judged_run
from trimtab.app.runs.run_differences import data_fields, differing, environment
from trimtab.app.runs.run_facts import RunFacts, run_facts
from trimtab.app.runs.run_rows import RunPage, RunRow, run_rows
from trimtab.errors import DataError, NotFound, UsageError, nearest
from trimtab.records.control import WorkflowStep
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Verdict
from trimtab.records.training import REFIT, Bundle, Run
from trimtab.stores.metadata.contract import latest
from trimtab.stores.metadata.training_sets import training_set
from trimtab.training.environment import DIRTY
from trimtab.units import plural

MOST_COMPARED = 10
NEWEST = "time"
"""Order of a list: the newest first."""


class ExperimentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a page."""

    id: str
    model: str
    created_at: datetime
    as_of: datetime
    """Its data was known then: event time."""
    bundle: str | None
    verdict: Verdict | None
    metrics: Mapping[str, float]
    """Those that were asked for."""
    params: Mapping[str, Any]
    dataset: str
    code_version: str
    uncommitted: bool
    """True if the code had uncommitted changes."""
    cost: float
    cpu_seconds: float
    wall_seconds: float
    peak_memory_mb: float


class ExperimentOverview(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs."""

    sentence: str
    runs: int
    """All judged runs, without the fits on all rows after the gates."""
    registered: int
    found: int
    """Runs that match the filter."""
    metrics: tuple[str, ...]
    """The columns that are shown."""
    params: tuple[str, ...]
    known_metrics: tuple[str, ...]
    """Of the runs of the page, to choose from."""
    known_params: tuple[str, ...]
    rows: tuple[ExperimentRow, ...]
    next: str | None
    """Id of the run after which the next page begins; None on the last one."""


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One run, with its gates and with what caused it."""

    sentence: str
    facts: RunFacts
    created_at: datetime
    as_of: datetime
    gates: tuple[GateResult, ...]
    gate_report: str | None
    decision: str | None
    """That started it; None: a person did."""
    refit: str | None
    """The run that serves in its place, fitted on all rows."""
    uncommitted: bool
    evaluation: bool = False
    """Whether it is the evaluation of a prompt, which has a page of items and answers."""
    purpose: Literal["train", "evaluate", "tune"] = "train"
    prompt: PromptText | None = None
    """Of a version of a prompt that was registered: what it says."""


class DifferenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not the same in all runs. values: in the order of the runs; None: a run lacks it."""

    name: str
    values: tuple[Any, ...]


class DifferenceGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The differences of one kind."""

    name: str
    rows: tuple[DifferenceRow, ...]
    same: int
    """Things of the kind that are the same in all runs."""


class RunDifferences(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between 2 to 10 runs."""

    sentence: str
    runs: tuple[ExperimentRow, ...]
    groups: tuple[DifferenceGroup, ...]


def experiment_overview(
    workspace: Workspace,
    models: Sequence[str] = (),
    *,
    where: str = "",
    sort: str = NEWEST,
    metrics: Sequence[str] = (),
    params: Sequence[str] = (),
    before: str | None = None,
    limit: int | None = 50,
) -> ExperimentOverview:
    """Return a page of runs.

    Args:
        workspace: an open project.
        models: of the runs; empty for all.
        where: filter in MLflow's syntax.
        sort: `time`, a metric, or a cost; see `list_runs`.
        metrics: columns to show; empty: the metric of the model's gates, or the first one that a run has.
        params: columns to show; empty: the parameters that differ between the runs of the page.
        before: id of the run after which the page begins.
        limit: most rows; None: all.

    Raises:
        UsageError: the filter cannot be read; an unknown metric or order.
        NotFound: an unknown `before`.
    """
    of_model: dict[str, Any] = {"model": tuple(models)} if models else {}
    total = workspace.metadata.count(Run, refit_of=None, **of_model)
    if where.strip() or sort != NEWEST:
        page = reader(workspace).read(
            "run_page", RunPage, models=models, where=where, sort=sort, before=before, limit=limit
        )
        rows, found, more = page.rows, page.found, limit is not None and len(page.rows) == limit
    else:
        most = None if limit is None else limit + 1
        runs = workspace.metadata.find(Run, refit_of=None, before=before, limit=most, **of_model)
        rows, found, more = tuple(run_rows(workspace, runs[:limit])), total, len(runs) > len(runs[:limit])
    known = tuple(dict.fromkeys(metric for row in rows for metric in row.metrics))
    for metric in metrics:
        if rows and metric not in known:
            raise UsageError(f"metric={metric}: no run of the page has it.{nearest(metric, known)}")
    shown = tuple(metrics) or _usual_metric(workspace, rows, known)
    varied = tuple(params) or tuple(differing([{"seed": row.seed, **row.params} for row in rows]))
    registered = workspace.metadata.count(Bundle, **of_model)
    return ExperimentOverview(
        sentence=_sentence(workspace, of_model, total, registered, found),
        runs=total,
        registered=registered,
        found=found,
        metrics=shown,
        params=varied,
        known_metrics=known,
        known_params=tuple(dict.fromkeys(["seed", *(param for row in rows for param in row.params)])),
        rows=tuple(_row(workspace, row, shown, varied) for row in rows),
        next=rows[-1].id if rows and more else None,
    )


def run_detail(workspace: Workspace, run: str) -> RunDetail:
    """Return one run by its id or the start of it, a bundle or a role. Raises as `find_run`."""
    found = _run(workspace, run)
    judged = judged_run(workspace, found)
    facts = run_facts(workspace, found)
    report = latest(workspace.metadata, GateReport, run=judged.id)
    step = latest(workspace.metadata, WorkflowStep, workflow=found.key.removesuffix(REFIT))
    refit = next((row.refit for row in run_rows(workspace, [judged])), None)
    return RunDetail(
        sentence=_run_sentence(facts, report, judged),
        facts=facts,
        created_at=found.created_at,
        as_of=training_set(workspace.metadata, found).as_of,
        gates=report.results if report else (),
        gate_report=report.id if report else None,
        decision=step.decision if step else None,
        refit=refit if found.refit_of is None else None,
        uncommitted=found.code_version.endswith(DIRTY),
        evaluation=found.purpose == "evaluate",
        purpose=found.purpose,
        prompt=_prompt(workspace, facts),
    )


def _prompt(workspace: Workspace, facts: RunFacts) -> PromptText | None:
    if facts.bundle is None or facts.model not in workspace.project.definitions.prompts:
        return None
    with suppress(DataError, NotFound, UsageError):
        return prompt_text(workspace, workspace.metadata.get(Bundle, facts.bundle))
    return None


def run_differences(workspace: Workspace, runs: Sequence[str]) -> RunDifferences:
    """Return what differs between runs. Raises UsageError for fewer than 2, more than 10, or runs of two models."""
    if not 2 <= len(runs) <= MOST_COMPARED:
        raise UsageError(f"{plural(len(runs), 'run')} to compare; expected 2 to {MOST_COMPARED}")
    found = [judged_run(workspace, _run(workspace, run)) for run in runs]
    if len({run.id for run in found}) < len(found):
        raise UsageError("the same run is named twice, or a run with its fit on all rows; expected different runs")
    models = {run.model for run in found}
    if len(models) > 1:
        raise UsageError(f"the runs are of the models {wording.joined(sorted(models))}; expected one model")
    groups = tuple(_groups(workspace, found))
    names = [group.name for group in groups if group.rows]
    same = [group.name for group in groups if not group.rows]
    text = (
        f"{len(found)} runs of model {found[0].model} differ in {wording.joined(names)}"
        if names
        else "the runs are the same"
    )
    return RunDifferences(
        sentence=wording.sentence(text, f"the same: {wording.joined(same)}" if names and same else ""),
        runs=tuple(_row(workspace, row, tuple(row.metrics), ()) for row in run_rows(workspace, found)),
        groups=groups,
    )


def same_rows(workspace: Workspace, a: str, b: str) -> dict[str, Any]:
    """Return two runs compared on rows that neither was fitted on, and their code, as `runs.run_diff.RunDiff`.

    Raises as `diff_runs`.
    """
    return reader(workspace).read("run_diff", dict[str, Any], a=a, b=b)


def run_plots(workspace: Workspace, run: str) -> tuple[str, ...]:
    """Return the addresses of a run's plots in MLflow."""
    return reader(workspace).read("run_plots", tuple[str, ...], run=run)


def _groups(workspace: Workspace, runs: Sequence[Run]) -> Iterator[DifferenceGroup]:
    sets = [training_set(workspace.metadata, run) for run in runs]
    pins = [pin for run in runs for pin in run.pins]
    yield _group("parameters", [{"seed": run.seed, **run.params} for run in runs])
    yield _group("metrics", [run.metrics for run in runs])
    yield _group("training set", [{"id": each.id, **data_fields(each)} for each in sets])
    yield _group("tables", [each.tables for each in sets])
    lists = [{"list": hashlib.sha256("\n".join(each.features).encode()).hexdigest()} for each in sets]
    yield _group("features", lists, [dict.fromkeys(each.features, "in it") for each in sets])
    yield _group(
        "code", [{"revision": run.code_version, "files": run.code_hash, "changes": run.changes} for run in runs]
    )
    hashes = [{"hash": run.environment_hash} for run in runs]
    if len({run.environment_hash for run in runs}) == 1:
        yield _group("environment", hashes)
    else:
        yield _group("environment", hashes, [environment(workspace, run, pins) for run in runs])


def _group(name: str, *parts: Sequence[Mapping[str, Any]]) -> DifferenceGroup:
    """Return what differs in each part: a hash over all first, then what it is of."""
    rows = tuple(DifferenceRow(name=key, values=values) for part in parts for key, values in differing(part).items())
    keys = {key for part in parts for each in part for key in each}
    return DifferenceGroup(name=name, rows=rows, same=len(keys) - len(rows))


def _row(workspace: Workspace, row: RunRow, metrics: Sequence[str], params: Sequence[str]) -> ExperimentRow:
    given = {"seed": row.seed, **row.params}
    return ExperimentRow(
        id=row.id,
        model=row.model,
        created_at=row.created_at,
        as_of=training_set(workspace.metadata, row).as_of,
        bundle=row.bundle,
        verdict=row.verdict,
        metrics={name: row.metrics[name] for name in metrics if name in row.metrics},
        params={name: given[name] for name in params if name in given},
        dataset=row.dataset,
        code_version=row.code_version,
        uncommitted=row.code_version.endswith(DIRTY),
        cost=row.cost,
        cpu_seconds=row.cpu_seconds,
        wall_seconds=row.wall_seconds,
        peak_memory_mb=row.peak_memory_mb,
    )


def _usual_metric(workspace: Workspace, rows: Sequence[RunRow], known: Sequence[str]) -> tuple[str, ...]:
    """Return the metric that the accuracy gate judges, or the first one of the runs."""
    gate = workspace.project.policy.gates.accuracy
    judged = {gate.metric_for(workspace.served(name).task) for name in {row.model for row in rows}} if gate else set()
    return tuple(sorted(known, key=lambda name: name not in judged)[:1])


def _run(workspace: Workspace, name: str) -> Run:
    try:
        return workspace.metadata.get(Run, name)
    except NotFound:
        return find_run(workspace, name)


def _sentence(workspace: Workspace, of_model: Mapping[str, Any], total: int, registered: int, found: int) -> str:
    if not total:
        return wording.sentence("no run yet", "next: trimtab train")
    newest = workspace.metadata.find(Run, refit_of=None, limit=1, **of_model)[0]
    report = latest(workspace.metadata, GateReport, run=newest.id)
    text = f"{plural(total, 'run')}, {wording.count(registered)} registered"
    parts = [text, _verdict("the last", report)]
    return wording.sentence(*parts, f"{plural(found, 'run')} match the filter" if found != total else "")


def _verdict(who: str, report: GateReport | None) -> str:
    if report is None:
        return f"{who} was not judged"
    if report.verdict != "fail":
        return f"{who} passed its gates" + (", with a warning" if report.verdict == "warn" else "")
    gates = dict.fromkeys(result.gate for result in report.results if result.verdict == "fail")
    return f"{who} was refused: {wording.joined(list(gates))}"


def _run_sentence(facts: RunFacts, report: GateReport | None, judged: Run) -> str:
    what = f"it became {facts.bundle}" if facts.bundle else "it was not registered"
    if facts.refit_of is not None:
        return wording.sentence(f"a fit on all rows of the run {judged.id[:8]}, which the gates judged", what)
    return wording.sentence(_verdict("the run", report), what)
