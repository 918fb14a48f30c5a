"""`trimtab doctor`: checks a project, its environment and its services, and says what to do."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata as packages
from pathlib import Path
from typing import Literal

from trimtab.app.alerts.alert_list import alert_trouble, channel_states
from trimtab.app.alerts.sending import url_problem
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.gateway.prompt_gateway import running_prompts
from trimtab.app.loop.kpi_points import open_query
from trimtab.app.loop.workflows import Workflows
from trimtab.app.project.definitions_file import load_definitions
from trimtab.app.project.ledger_checks import REMEDY, describe, verify_ledger
from trimtab.app.project.locks import LOOP, holder
from trimtab.app.project.project import Project, check_columns, late_sources
from trimtab.app.project.requirements import missing_packages, require_trainer
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.prompt_checks import check_endpoint, check_examples
from trimtab.app.reports.store_checks import look_inside
from trimtab.app.rollout.in_service import stale_views
from trimtab.app.stages.ingesting import access
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.csv_files import hint_of_separator
from trimtab.data.label_files import column_names
from trimtab.data.schemas import load_schema
from trimtab.data.source_files import find_files, has_files
from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource, Source
from trimtab.definitions.views import FeatureView
from trimtab.errors import DefinitionError, PolicyError, StoreError, TrimtabError
from trimtab.features.view_rows import check_columns as check_view_columns
from trimtab.places import of_function
from trimtab.policy.reader import read_policy
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest
from trimtab.units import plural

FREE_BYTES = 2_000_000_000
SHOWN_PACKAGES = ("trimtab", "mlflow-skinny", "dbos", "deltalake", "onnxruntime")
RUN = "trimtab run"
REACH = "start it, or change what definitions.py says of it"
SLOW_IMPORTS = ("sklearn", "pandas", "torch", "lightgbm", "xgboost", "tensorflow")
FILES = {"policy": "correct trimtab.yaml", "definitions": "correct definitions.py"}
"""What to do where a file of the project is wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    text: str
    remedy: str = ""
    wrong: bool = False
    """True where trimtab.yaml or definitions.py must be changed: exit code 2 rather than 1."""


def examine(folder: Path, environment: str) -> list[Finding]:
    """Look at everything, stopping where what follows cannot be looked at."""
    findings = [*_packages(), _disk(folder)]
    policy = _try("policy", lambda: f"project '{read_policy(folder / 'trimtab.yaml').project}'")
    definitions = _try("definitions", lambda: _count(folder))
    findings += [policy, definitions]
    if any(f.verdict == "fail" for f in (policy, definitions)):
        return findings
    try:
        workspace = open_workspace(folder, environment)
    except TrimtabError as error:
        return [*findings, Finding("project", "fail", str(error), wrong=_is_wrong(error))]
    findings += _foreseen(workspace)
    findings += _sources(workspace)
    for kpi in workspace.project.definitions.kpis.values():
        if kpi.query is not None:
            findings.append(_try(f"KPI {kpi.name}", open_query(workspace, kpi).check))
    findings += _inside(workspace)
    findings += _ledger(workspace)
    findings += _workflows(workspace)
    findings += [_loop(workspace), *_gateway(workspace)]
    findings += _alerts(workspace)
    for model in workspace.project.definitions.served:
        findings += [_serving(workspace, model), *_features(workspace, model)]
    return findings


def next_step(findings: list[Finding]) -> str:
    """Return what to do first, in words or as a command: the remedy of the worst finding that has one."""
    for verdict in ("fail", "warn"):
        for finding in findings:
            if finding.verdict == verdict:
                return finding.remedy or FILES.get(finding.subject, f"mend what is said of {finding.subject}")
    runs = any(finding.subject == "gateway" and "runs at" in finding.text for finding in findings)
    return "trimtab status" if runs else "trimtab up"


def _try(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, "ok", look())
    except TrimtabError as error:
        return Finding(subject, "fail", str(error), wrong=_is_wrong(error))


def _is_wrong(error: TrimtabError) -> bool:
    return isinstance(error, PolicyError | DefinitionError)


def _foreseen(workspace: Workspace) -> Iterator[Finding]:
    """Look at what verbs would find out later: schemas, trainers, packages, keys of endpoints, examples of prompts."""
    project = workspace.project
    for table, check in project.policy.checks.tables.items():
        if check.schema_ is not None:
            yield _try(f"checks {table}", partial(_schema, check.schema_, project.folder, table))
    for model in project.definitions.models.values():
        yield _try(f"trainer {model.name}", partial(_trainer, project, model))
    for endpoint in project.definitions.endpoints.values():
        yield _try(f"endpoint {endpoint.name}", partial(check_endpoint, endpoint))
    for prompt in project.definitions.prompts.values():
        for run in prompt.evals:
            yield _try(f"set {run.set.name}", partial(check_examples, project, prompt, run.set))
    for problem in missing_packages(project, workspace.environment):
        yield Finding("packages", "fail", problem, wrong=True)


def _schema(name: str, folder: Path, table: str) -> str:
    load_schema(name, folder, table=table)
    return name


def _trainer(project: Project, model: Model) -> str:
    require_trainer(project, model)
    return of_function(model.fit) if model.fit else ""


def _packages() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    versions = ", ".join(f"{name} {packages.version(name)}" for name in SHOWN_PACKAGES)
    yield Finding("packages", "ok", f"Python {python}, SQLite {sqlite3.sqlite_version}, {versions}")
    protobuf = packages.version("protobuf")
    if int(protobuf.split(".")[0]) >= 7:
        text = f"{protobuf} cannot write ONNX graphs"
        yield Finding("protobuf", "fail", text, "pip install 'protobuf<7' (or install with constraints.txt)")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder if folder.exists() else Path()).free
    text = f"{free / 1e9:.1f} GB free"
    return Finding("disk", "ok" if free > FREE_BYTES else "warn", text, "" if free > FREE_BYTES else "make room")


def _count(folder: Path) -> str:
    before = set(sys.modules)
    found = load_definitions(folder)
    heavy = [name for name in SLOW_IMPORTS if name in set(sys.modules) - before]
    counts = (found.sources, "source"), (found.views, "view"), (found.models, "model"), (found.prompts, "prompt")
    return ", ".join(plural(len(each), noun) for each, noun in counts if each or noun != "prompt") + (
        f"; imports {', '.join(heavy)}: import them inside the trainer, so the gateway starts fast" if heavy else ""
    )


def _sources(workspace: Workspace) -> Iterator[Finding]:
    project = workspace.project
    for source in project.definitions.sources.values():
        found = _try(f"source {source.name}", partial(_reachable, workspace, source))
        if not isinstance(source, FileSource):
            yield found if found.verdict == "ok" else replace(found, remedy=found.remedy or REACH)
            continue
        if found.verdict == "fail" and source.name in late_sources(project.definitions):
            found = replace(found, verdict="ok", text="no outcomes have come yet")
        elif found.verdict == "fail":
            remedy = f"put the file there, or change the path of '{source.name}' in definitions.py"
            found = replace(found, remedy=remedy)
        yield found
    for model in project.definitions.models.values():
        try:
            schema = workspace.tables.schema(model.examples.name)
        except StoreError:
            continue  # `_inside` reports the damaged table
        examples = model.examples
        if schema is None and isinstance(examples, FileSource) and has_files(examples, project.folder):
            yield _not_ingested(workspace, model, examples)
        elif schema is not None:
            yield _try(f"model {model.name}", partial(_columns, workspace, model, tuple(schema)))
    for view in project.definitions.views.values():
        with suppress(StoreError):  # `_inside` reports the damaged table
            if view.over is None and workspace.tables.version(view.source.name) is not None:
                yield _try(f"view {view.name}", partial(_view_columns, workspace, view))


def _not_ingested(workspace: Workspace, model: Model, source: FileSource) -> Finding:
    """Check the names in definitions.py against the columns of the first file that an ingest would read."""
    with find_files(source, workspace.project.folder)[0].local() as first:
        return _judged(workspace, model, source, first)


def _judged(workspace: Workspace, model: Model, source: FileSource, first: Path) -> Finding:
    names = partial(column_names, first, source)
    found = _try(f"model {model.name}", lambda: _columns(workspace, model, tuple(names())))
    if found.verdict == "fail" and not found.wrong:
        return found  # the file cannot be read; its error says what to do
    if found.verdict == "fail":
        hint = hint_of_separator(first, source.separator, source.encoding) if first.suffix == ".csv" else ""
        remedy = hint.strip() or "change the name in definitions.py, or the column in the file"
        return replace(found, remedy=remedy)
    return replace(found, verdict="warn", text=f"{found.text}; '{source.name}' is not ingested yet", remedy=RUN)


def _reachable(workspace: Workspace, source: Source) -> str:
    if isinstance(source, FileSource):
        return plural(len(find_files(source, workspace.project.folder)), "file")
    return open_connector(source, access(workspace)).check()


def _columns(workspace: Workspace, model: Model, columns: tuple[str, ...]) -> str:
    check_columns(workspace.project.policy, model, workspace.project.folder, columns)
    return "all columns are there"


def _view_columns(workspace: Workspace, view: FeatureView) -> str:
    check_view_columns(view, workspace.tables.scan(view.source.name).collect_schema())
    return "all columns are there"


def _inside(workspace: Workspace) -> Iterator[Finding]:
    """Look inside the stores, and hold them against the records."""
    for subject, found in look_inside(workspace):
        if not found:
            yield Finding(subject, "ok", "whole")
        for one in found:
            yield Finding(subject, one.fault.verdict, one.fault.text, one.fault.remedy)


def _ledger(workspace: Workspace) -> Iterator[Finding]:
    try:
        found = verify_ledger(workspace)
    except TrimtabError as error:
        yield Finding("ledger", "fail", str(error))
        return
    if not found.breaks:
        yield Finding("ledger", "ok", describe(found))
    for one in found.breaks:
        yield Finding("ledger", "fail", one.text, REMEDY)


def _workflows(workspace: Workspace) -> Iterator[Finding]:
    with closing(Workflows(workspace.workflows_url)) as workflows:
        opened = _try("workflows", workflows.check)
        yield opened
        for dead in workflows.dead() if opened.verdict == "ok" else ():
            remedy = f"trimtab workflows restart {dead.id}, or trimtab workflows forget {dead.id}"
            yield Finding(f"workflow {dead.id}", "warn", f"ended without a result: {dead.reason}", remedy)


def _alerts(workspace: Workspace) -> Iterator[Finding]:
    """Look at each channel: its secrets, its URL, and whether the last messages arrived."""
    for state in channel_states(workspace):
        subject = f"channel {state.channel}"
        wrong = url_problem(state.channel, workspace.project.policy.alerts.channels[state.channel])
        if wrong is not None:
            yield Finding(subject, "fail", wrong, f"mend alerts.channels.{state.channel}.url, or set its secrets", True)
        elif state.reason is not None:
            since = f" since {state.failing_since:%Y-%m-%d %H:%M} UTC" if state.failing_since else ""
            yield Finding(
                subject, "warn", f"not reached{since}: {state.reason}", f"trimtab alerts test {state.channel}"
            )
        else:
            waits = plural(state.waiting, "alert")
            yield Finding(subject, "ok", f"{waits} waiting; try it: trimtab alerts test {state.channel}")
    if found := alert_trouble(workspace):
        yield Finding("alerts", "ok", found)


def _loop(workspace: Workspace) -> Finding:
    found = holder(workspace, LOOP)
    return Finding("loop", "ok", f"runs: {found}" if found else "does not run; start it with: trimtab up")


def _gateway(workspace: Workspace) -> Iterator[Finding]:
    if found := running_gateway(workspace.run_folder):
        yield Finding("gateway", "ok", f"runs at {found.url} (process {found.pid})")
    else:
        yield Finding("gateway", "ok", "does not run; start it with: trimtab up")
    if found := running_prompts(workspace):
        yield Finding("gateway of prompts", "ok", f"runs at {found.url}/v1 (process {found.pid})")


def _serving(workspace: Workspace, model: str) -> Finding:
    revision = latest(workspace.metadata, Revision, model=model)
    if revision is None:
        return Finding(f"serving {model}", "warn", "nothing is deployed yet", RUN)
    roles = ", ".join(f"{a.role} {a.bundle}" for a in revision.assignments)
    return Finding(f"serving {model}", "ok", f"revision {revision.number}: {roles}")


def _features(workspace: Workspace, model: str) -> Iterator[Finding]:
    if model in workspace.project.definitions.prompts:
        return
    remedy = "trimtab features, or let trimtab up run; a view whose source is gone: put the source back, or retrain"
    try:
        for problem in stale_views(workspace, model):
            yield Finding(f"features {model}", "warn", problem, remedy)
    except TrimtabError as error:
        yield Finding(f"features {model}", "fail", str(error))
