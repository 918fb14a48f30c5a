"""What a pipeline did, for a job summary or a pull request: data, run, gates, cost, and what deploys next.

Everything is read from the records and the journal of stages, so it can be read after a stage failed, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from trimtab.app.delivery.stage_journal import StageEntry, entries_of_pipeline
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import first_command, open_rollouts
from trimtab.app.runs.found_run import find_run, judged_run
from trimtab.metric_catalog import METRICS
from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Verdict
from trimtab.records.serving import Assignment
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import latest, newest_where
from trimtab.stores.metadata.training_sets import training_set
from trimtab.units import plural

HOUR_S = 3600.0


class TableLine(msgspec.Struct, frozen=True, kw_only=True):
    """One table, and the worst of its newest batch and its newest validation."""

    table: str
    version: str | None
    """Id of its newest version; None without rows."""
    rows: int
    added: int
    """Rows of the newest batch in it."""
    verdict: Verdict | None
    reason: str
    refused: str = ""
    """Name of the newest batch, if it was refused."""


class MetricLine(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a run on the holdout, and compared with the version that served at its training.

    Both are compared on the rows of the holdout that neither was fitted on, which are often fewer.
    """

    metric: str
    value: float
    """On the whole holdout."""
    other: str | None = None
    """Id of the version that it is compared with; None: it is not compared."""
    rows: int = 0
    """Rows on which both are compared."""
    own_value: float | None = None
    other_value: float | None = None
    gain: float | None = None
    """More than 0 where the run is better."""
    low: float | None = None
    high: float | None = None
    confidence: float | None = None


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The newest run of a model, or the one that was asked for. Fields of what is not there are None or empty."""

    model: str
    task: str
    dataset: str | None = None
    rows: int = 0
    labelled: int = 0
    features: int = 0
    as_of: datetime | None = None
    run: str | None = None
    trained: datetime | None = None
    code_version: str = ""
    params: dict[str, Any] = {}
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    cost: float = 0.0
    metrics: tuple[MetricLine, ...] = ()
    champion: str | None = None
    """Id of the bundle that the gates compared with."""
    verdict: Verdict | None = None
    gates: tuple[GateResult, ...] = ()
    bundle: str | None = None
    serving: tuple[Assignment, ...] = ()
    next: str = ""
    """What deploys next, or what is missing for it."""
    done: bool = False
    """The gates have judged the run and passed it."""
    links: dict[str, str] = {}
    """Of the console, by what they show."""


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One stage that a command ran. cost: of its CPU time."""

    stage: str
    model: str | None
    at: datetime
    seconds: float
    cpu_seconds: float
    cost: float
    error: str


class DeliverySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a pipeline did. verdict: failed; incomplete while a model has no run that passed its gates; or passed."""

    project: str
    environment: str
    currency: str
    verdict: str
    sentence: str
    problems: tuple[str, ...]
    tables: tuple[TableLine, ...]
    models: tuple[ModelSummary, ...]
    stages: tuple[StageLine, ...]


def delivery_summary(
    workspace: Workspace, environment: str, *, model: str | None = None, run: str | None = None
) -> DeliverySummary:
    """Return the summary.

    Args:
        workspace: an open project.
        environment: its name.
        model: one model; None: all of them.
        run: id of a run or the start of one; None: the newest of each model.

    Raises:
        NotFound, UsageError: as `find_run`.
        DefinitionError: there is no such model.
    """
    chosen = None if run is None else judged_run(workspace, find_run(workspace, run, model))
    names = list(workspace.project.definitions.served) if model is None else [workspace.served(model).name]
    if chosen is not None:
        names = [chosen.model]
    tables = tuple(_table(workspace, name) for name in workspace.project.definitions.sources)
    models = tuple(_model(workspace, name, chosen) for name in names)
    entries = [] if chosen else [e for e in entries_of_pipeline(workspace.run_folder) if e.model in (None, *names)]
    problems = tuple(_problems(tables, models, entries))
    verdict = "failed" if problems else "passed" if all(each.done for each in models) else "incomplete"
    policy = workspace.project.policy
    return DeliverySummary(
        project=policy.project,
        environment=environment,
        currency=policy.impact.currency,
        verdict=verdict,
        sentence=_sentence(verdict, problems, models),
        problems=problems,
        tables=tables,
        models=models,
        stages=tuple(
            StageLine(
                stage=entry.stage,
                model=entry.model,
                at=entry.at,
                seconds=entry.seconds,
                cpu_seconds=entry.cpu_seconds,
                cost=entry.cpu_seconds / HOUR_S * policy.prices.cpu_hour,
                error=entry.error,
            )
            for entry in entries
        ),
    )


def _table(workspace: Workspace, name: str) -> TableLine:
    version = latest(workspace.metadata, TableVersion, table=name)
    validated = f"{name}@"
    batch = newest_where(workspace.metadata, CheckReport, lambda r: not r.source.startswith(validated), table=name)
    whole = newest_where(workspace.metadata, CheckReport, lambda r: r.source.startswith(validated), table=name)
    order = ("pass", "warn", "fail")
    reports = [report for report in (whole, batch) if report is not None]
    worst = max(reports, key=lambda report: order.index(report.verdict), default=None)
    return TableLine(
        table=name,
        version=None if version is None else version.id,
        rows=0 if version is None else version.rows,
        added=0 if version is None else version.added_rows,
        verdict=None if worst is None else worst.verdict,
        reason="no rows yet" if worst is None else worst.reason,
        refused=batch.source if batch is not None and batch.verdict == "fail" else "",
    )


def _model(workspace: Workspace, name: str, chosen: Run | None) -> ModelSummary:
    metadata = workspace.metadata
    found = ModelSummary(model=name, task=workspace.served(name).task, links=_links(workspace, name))
    revision = open_rollouts(workspace, name).current()
    found = msgspec.structs.replace(found, serving=() if revision is None else revision.assignments)
    run = chosen or newest_where(metadata, Run, lambda each: each.refit_of is None, model=name)
    dataset = training_set(metadata, run) if run else latest(metadata, DatasetVersion, model=name)
    if dataset is None and name in workspace.project.definitions.prompts:
        return msgspec.structs.replace(found, next="nothing yet; run: trimtab eval")
    if dataset is None:
        empty = latest(metadata, TableVersion, table=workspace.model(name).examples.name) is None
        if empty or workspace.environment.is_guarded:
            return msgspec.structs.replace(found, next=f"nothing yet; run: {first_command(workspace)}")
        return msgspec.structs.replace(found, next="no training set yet; run: trimtab features")
    found = msgspec.structs.replace(
        found,
        dataset=dataset.id,
        rows=dataset.rows,
        labelled=dataset.labelled,
        features=len(dataset.features),
        as_of=dataset.as_of,
    )
    if run is None:
        return msgspec.structs.replace(found, next="no run yet; run: trimtab train")
    report = latest(metadata, GateReport, run=run.id)
    bundle = latest(metadata, Bundle, run=run.id)
    found = msgspec.structs.replace(
        found,
        run=run.id,
        trained=run.created_at,
        code_version=run.code_version,
        params=run.params,
        seconds=run.wall_seconds,
        cpu_seconds=run.cpu_seconds,
        cost=run.cost,
        metrics=tuple(_metrics(run)),
        champion=None if report is None else report.champion,
        verdict=None if report is None else report.verdict,
        gates=() if report is None else report.results,
        bundle=None if bundle is None else bundle.id,
        done=report is not None and report.verdict != "fail",
        links={**found.links, **_links(workspace, name, run, bundle)},
    )
    return msgspec.structs.replace(found, next=_next(workspace, found, bundle))


def _metrics(run: Run) -> Iterator[MetricLine]:
    compared = {each.metric: each for each in run.baselines if "/" in each.name}  # a bundle's id; others need no model
    for name, value in run.metrics.items():
        other = compared.get(name)
        if other is None:
            yield MetricLine(metric=name, value=value)
            continue
        sign = 1 if METRICS[name].better == "more" else -1
        yield MetricLine(
            metric=name, value=value, other=other.name, rows=other.rows, own_value=other.value + sign * other.gain,
            other_value=other.value, gain=other.gain, low=other.low, high=other.high, confidence=other.confidence,
        )  # fmt: skip


def _next(workspace: Workspace, found: ModelSummary, bundle: Bundle | None) -> str:
    champion = next((a.bundle for a in found.serving if a.role == "champion"), None)
    stays = f"{champion} goes on serving" if champion else "nothing serves yet"
    if found.verdict is None:
        return "not judged yet; run: trimtab evaluate"
    if found.verdict == "fail":
        failed = sum(each.verdict == "fail" for each in found.gates)
        return f"nothing deploys: {plural(failed, 'gate check')} failed; {stays}"
    if bundle is None:
        return "passed its gates; run: trimtab register"
    serves = [each for each in found.serving if each.bundle == bundle.id]
    if serves:
        parts = [f"{each.role} with {each.weight:g} % of the traffic" for each in serves]
        return f"{bundle.id} serves as {' and '.join(parts)}"
    role, percent = open_rollouts(workspace, found.model).planned()
    share = f" with {percent:g} % of the traffic" if percent is not None else ""
    return f"{bundle.id} deploys next, as {role}{share}; {stays}; run: trimtab deploy"


def _links(workspace: Workspace, model: str, run: Run | None = None, bundle: Bundle | None = None) -> dict[str, str]:
    url = workspace.project.policy.console.url
    if url is None:
        return {}
    base, name = url.rstrip("/"), quote(model, safe="")
    links = {"model": f"{base}/models/{name}"}
    if run is not None:
        links["run"] = f"{base}/experiments/{quote(run.id, safe='')}"
    if bundle is not None:
        links["version"] = f"{base}/models/{name}/versions/{bundle.version}"
    return links


def _problems(
    tables: Sequence[TableLine], models: Sequence[ModelSummary], entries: Sequence[StageEntry]
) -> Iterator[str]:
    """Yield what went wrong, each once: errors of stages, then what the records alone tell."""
    failed = {(entry.stage, entry.model): entry for entry in entries if entry.error}
    for (stage, model), entry in failed.items():
        of = f" of {model}" if model else ""
        yield f"{stage}{of} failed: {entry.error}"
    if not any(stage in ("ingest", "validate") for stage, _ in failed):
        for table in tables:
            if table.verdict == "fail":
                what = f"batch {table.refused} was refused" if table.refused else "its checks failed"
                yield f"table {table.table}: {what}: {table.reason}"
    for each in models:
        if each.verdict == "fail" and not any(stage == "evaluate" for stage, _ in failed):
            lines = [f"  {result.gate}: {result.reason}" for result in each.gates if result.verdict == "fail"]
            yield "\n".join([f"gates of {each.model} refused run {(each.run or '')[:8]}:", *lines])


def _sentence(verdict: str, problems: Sequence[str], models: Sequence[ModelSummary]) -> str:
    if verdict == "failed":
        return f"{plural(len(problems), 'problem')}; what is wrong stands first."
    if verdict == "passed":
        return f"{plural(len(models), 'model')} passed {'its' if len(models) == 1 else 'their'} gates."
    waiting = [each for each in models if not each.done]
    return "; ".join(f"{each.model}: {each.next}" for each in waiting) + "."
