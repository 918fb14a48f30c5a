"""The stages of the loop, each reading a record and writing the next; all safe to run again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
import polars as pl

from trimtab import __version__, settings
from trimtab.app.project.ledger_checks import note_policy
from trimtab.app.project.mlflow_access import (
    keep_run,
    open_registry,
    open_tracking,
    open_workbench,
    restore_registry,
    set_aliases,
)
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.project import POLICY, check_columns, kept_columns
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages.feature_checks import check_features, require_fresh
from trimtab.app.stages.freshness import bring_bundle_up_to_date, materialise
from trimtab.app.stages.gate_inputs import compared_with, gate_inputs, held_out_evidence
from trimtab.app.stages.no_examples import no_examples
from trimtab.app.stages.sampled_sources import sample_start
from trimtab.app.stages.served_features import training_rows
from trimtab.app.stages.training_plan import previous_estimator, training_key, training_plan
from trimtab.bundle.signature import sign
from trimtab.bundle.spec import ColumnCheck, read_spec
from trimtab.control.suspicion import Stretch, held, joined
from trimtab.data.schemas import column_checks, load_schema
from trimtab.definitions.models import Model
from trimtab.errors import DataError, StageError
from trimtab.features.diagnosis import diagnose
from trimtab.features.training_frames import request_types
from trimtab.features.value_types import Kind
from trimtab.gates.report import changed_thresholds, gates_hash, gates_json, report_key
from trimtab.gates.report import refuse as refuse_failing
from trimtab.gates.report import report as write_report
from trimtab.gates.table import OF_THE_MACHINE
from trimtab.gates.table import evaluate as judge
from trimtab.gates.verdict_files import write_verdict
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.monitoring.row_money import prices
from trimtab.policy.reader import line_of
from trimtab.records.data import TableVersion
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import REFIT, Bundle, DatasetVersion, Run, UsualRange
from trimtab.stores.metadata.contract import latest, newest_where
from trimtab.training.columns.category_features import category_features
from trimtab.training.columns.check_learning import learn_checks
from trimtab.training.dataset import freeze, load
from trimtab.training.package import finish
from trimtab.training.refit import refit as refit_model
from trimtab.training.train import Scored
from trimtab.training.train import train as train_model

log = logging.getLogger(__name__)

REFERENCE = "reference/windows.json"
FOUND_AGAIN = "{kind}-{model}.json"
MADE_BY = {DatasetVersion: "features", Run: "train", Bundle: "register"}
VERDICT = "trimtab.verdict"
"""Tag of a run in MLflow: what the gates said."""

R = TypeVar("R", Run, DatasetVersion, Bundle)
P = ParamSpec("P")
T = TypeVar("T")


class FoundAgain(msgspec.Struct, frozen=True):
    """A dataset, run or bundle that a stage came to again at a time, after another one of its model."""

    id: str
    at: datetime


def _placed(stage: Callable[P, T]) -> Callable[P, T]:
    """Let errors about a definition that a stage finds name its file and line. The stage's first argument is the
    workspace."""

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        workspace = args[0]
        assert isinstance(workspace, Workspace)
        with workspace.project.definitions.placed():
            return stage(*args, **kwargs)

    return run


@_placed
def snapshot(
    workspace: Workspace,
    model: str,
    *,
    as_of: datetime,
    judged_until: datetime | None = None,
    tables: Mapping[str, TableVersion] | None = None,
) -> DatasetVersion:
    """Freeze the training set of what was known at `as_of`, and bring the online values up to date.

    Rows of stretches that are held by a suspicion are left out. judged_until: rows from then on are left out, too,
    since their windows are not judged yet; None leaves out none. tables: their versions; None for the newest.
    """
    definition = workspace.model(model)
    policy = workspace.project.policy
    tables = tables or {name: _table_version(workspace, name) for name in definition.source_tables}
    check_columns(policy, definition, workspace.project.folder, tables[definition.examples.name].schema)
    require_fresh(workspace, tables, as_of=as_of)
    materialise(workspace, definition)
    start = as_of - timedelta(microseconds=policy.training.history) if policy.training.history else None
    if (sampled := sample_start(workspace, definition.examples)) is not None:
        start = sampled if start is None else max(start, sampled)
    keep = kept_columns(workspace.project, definition)
    scan = workspace.scan({name: version.version for name, version in tables.items()}, as_of=as_of)
    without = _left_out(workspace, model, as_of=as_of, judged_until=judged_until)
    rows = training_rows(workspace, definition, scan, as_of=as_of, start=start, keep=keep, without=without)
    if rows.frame.is_empty():
        raise StageError(no_examples(workspace, definition, as_of=as_of, start=start))
    version = freeze(
        rows.frame,
        model=definition,
        tables={name: version.id for name, version in tables.items()},
        as_of=as_of,
        start=start,
        holdout_share=policy.training.holdout,
        min_examples=policy.training.min_examples,
        artifacts=workspace.artifacts,
        clock=workspace.clock,
        keep=keep,
        warnings=(*rows.warnings, *diagnose(definition, scan, rows.frame)),
        without=without,
        features_from=rows.features_from,
        skew=rows.skew,
    )
    check_features(workspace, definition, version, rows.frame)
    workspace.metadata.put(version)
    return _found(workspace, version)


@_placed
def train(workspace: Workspace, model: str, dataset: DatasetVersion, *, key: str | None = None) -> Run:
    """Train on a dataset. Without a key, the same dataset, code, parameters and seed give the same run."""
    note_policy(workspace)
    definition = workspace.model(model)
    policy = workspace.project.policy
    kinds = _request_types(workspace, definition, dataset)
    frozen = load(dataset, workspace.artifacts)
    plan = training_plan(workspace, definition, frozen)
    gates, frozen_at = gates_json(policy.gates), workspace.now()
    run = train_model(
        definition,
        frozen,
        bench=open_workbench(workspace),
        params=policy.training.params,
        seed=policy.training.seed,
        key=key or training_key(workspace, dataset, plan),
        threshold=policy.impact.threshold,
        reference=lambda scored: {REFERENCE: _reference(workspace, definition, scored, kinds)},
        request_types=kinds,
        checks=_request_checks(workspace, definition, dataset),
        trust=policy.serving.trust,
        plan=plan,
        contamination=policy.training.contamination,
    )
    if (known := latest(workspace.metadata, Run, key=run.key)) is not None and known.id == run.id:
        return _found(workspace, known)
    run = msgspec.structs.replace(run, gates=gates, gates_frozen_at=frozen_at)
    workspace.metadata.put(run)
    keep_run(workspace, run, frozen)
    return run


def evaluate(workspace: Workspace, run: Run, *, measured: bool = True, force: bool = False) -> GateReport:
    """Put a run through the gates of the policy, compared with the champion that serves; once for the same gates.

    measured: whether latency and memory on this machine may refuse the run; when not, they are recorded as warnings.
    force: judge again what was judged before, as after a change of the machine.
    """
    note_policy(workspace)
    key = _report_key(workspace, run, measured=measured)
    known = [report for report in workspace.metadata.find(GateReport, run=run.id) if report.key == key]
    if known and not force:
        return known[0]
    inputs = gate_inputs(workspace, run)
    spec = read_spec(inputs.folder)
    try:
        results = judge(inputs, workspace.project.policy.gates)
    except DataError as error:
        key, where = str(error).partition(":")[0], workspace.project.folder / POLICY
        if not key.startswith("gates."):
            raise
        raise DataError(f"{where}:{line_of(where, key)}: {error}") from None
    gates = gates_json(workspace.project.policy.gates)
    if changed := changed_thresholds(run.gates, gates, run.gates_frozen_at):
        results = (*results, changed)
    if not measured:
        results = tuple(_recorded(result) for result in results)
    report = write_report(
        results,
        model=run.model,
        run=run.id,
        champion=inputs.champion_id,
        clock=workspace.clock,
        key=key,
        again=len(known),
        held_out=held_out_evidence(workspace, run, inputs),
        baselines=run.baselines,
        thresholds=gates_hash(gates),
        frozen=gates_hash(run.gates) if run.gates_frozen_at else "",
        frozen_at=run.gates_frozen_at,
        runtime=spec.runtime,
        runtime_reason=spec.runtime_reason,
    )
    workspace.metadata.put(report)
    open_tracking(workspace).set_tags(run.id, {VERDICT: report.verdict})
    return report


def evaluated(workspace: Workspace, run: Run) -> GateReport:
    """Return the report of a run by the gates as they are now, which of a registered one may be of an earlier champion.

    Raises StageError when it was not judged by them.
    """
    for measured in (True, False):
        if (known := registered_report(workspace, run, measured=measured)) is not None:
            return known
    found = workspace.metadata.find(GateReport, run=run.id)
    key = _report_key(workspace, run, measured=True)
    report = next((report for report in found if report.key == key), None)
    if report is not None:
        return report
    if found:
        raise StageError(
            f"run {run.id} was judged, but the gates of the policy or the champion have changed since; run: "
            "trimtab evaluate"
        )
    raise StageError(f"run {run.id} was not put through the gates yet; run: trimtab evaluate")


def registered_report(workspace: Workspace, run: Run, *, measured: bool) -> GateReport | None:
    """Return the newest report of a registered run by the gates as they are now, whichever champion served then."""
    if latest(workspace.metadata, Bundle, run=run.id) is None:
        return None
    found = workspace.metadata.find(GateReport, run=run.id)
    return next((r for r in found if r.key == _key(workspace, run.model, r.champion, measured=measured)), None)


def _report_key(workspace: Workspace, run: Run, *, measured: bool) -> str:
    champion = compared_with(workspace, run)
    return _key(workspace, run.model, champion.id if champion else None, measured=measured)


def _key(workspace: Workspace, model: str, champion: str | None, *, measured: bool) -> str:
    gates, trust = workspace.project.policy.gates, workspace.project.policy.serving.trust
    own = workspace.project.definitions.gates_of(model)
    return report_key(gates, champion=champion, trust=trust, measured=measured, release=__version__, own=own)


def _recorded(result: GateResult) -> GateResult:
    """Return the result with a warning where a metric of this machine failed."""
    if (result.gate, result.metric) not in OF_THE_MACHINE or result.verdict != "fail":
        return result
    reason = f"{result.reason}; recorded only, since a replay does not decide by what this machine measures"
    return msgspec.structs.replace(result, verdict="warn", reason=reason)


def refuse(report: GateReport) -> None:
    """Raise GateRefused when a gate failed."""
    refuse_failing(report)


def refit(workspace: Workspace, run: Run) -> tuple[Run, str]:
    """Return the run that serves after the gates, and what was done: fitted again on all rows, or the judged run.

    The judged run serves where the policy does not refit, and where the fit on all rows failed or differs too much.
    """
    if workspace.project.policy.training.refit == "never":
        return run, "the judged model serves (training.refit)"
    definition = workspace.model(run.model)
    frozen = load(workspace.metadata.get(DatasetVersion, run.dataset), workspace.artifacts)
    key = f"{run.key}{REFIT}"
    trust = workspace.project.policy.serving.trust
    try:
        previous = previous_estimator(workspace, run)
        again = refit_model(
            definition, frozen, run, bench=open_workbench(workspace), key=key, trust=trust, previous=previous
        )
    except StageError as error:
        log.warning("run %s: the judged model serves: %s", run.id, error)
        return run, f"the judged model serves: {error}"
    workspace.metadata.put(again)
    keep_run(workspace, again, frozen)
    rows = len(frozen.train.y) + len(frozen.holdout.y)
    return again, f"run {again.id[:8]} fitted on all {rows:,} labelled rows, {again.cpu_seconds:.1f} CPU seconds"


@_placed
def register(workspace: Workspace, run: Run, report: GateReport, *, serves: Run | None = None) -> Bundle:
    """Make the bundle of a run that passed its gates, and register it. Raises GateRefused.

    serves: the run that `refit` gave; None fits again on all rows now, where the policy says so.
    """
    refuse(report)
    known = latest(workspace.metadata, Bundle, run=run.id)
    if known is not None:
        return _found(workspace, known)
    serves = refit(workspace, run)[0] if serves is None else serves
    folder, digest = pack(workspace, serves, report)
    path = workspace.artifacts.publish(folder, f"bundles/{run.model}/{digest[:16]}")
    published = workspace.artifacts.open(path)
    restore_registry(workspace, run.model)
    tags = {"trimtab.gates": report.verdict, "trimtab.judged_model_hash": run.model_hash}
    version = open_registry(workspace).register(run.model, serves, published.as_uri(), digest, serves.key, tags=tags)
    dataset = workspace.metadata.get(DatasetVersion, run.dataset)
    bundle = Bundle(
        id=f"{run.model}/{version}",
        created_at=workspace.now(),
        model=run.model,
        version=version,
        run=run.id,
        dataset=run.dataset,
        gate_report=report.id,
        digest=digest,
        path=path,
        features=dataset.features,
        views=dataset.views,
        threshold=read_spec(published).threshold,
        refit=serves.id if serves.id != run.id else None,
        usual=_usual(published / REFERENCE),
    )
    workspace.metadata.put(bundle)
    return bundle


def _usual(reference: Path) -> dict[str, UsualRange]:
    """Return the usual ranges of a bundle's reference; a bundle without one has none."""
    return Reference.from_json(reference.read_bytes()).usual() if reference.is_file() else {}


def pack(workspace: Workspace, run: Run, report: GateReport) -> tuple[Path, str]:
    """Put the files of the run that serves and the gate report into a staging folder; return it with the bundle's
    digest."""
    folder = workspace.artifacts.staging()
    shutil.copytree(workspace.artifacts.open(run.staging), folder, dirs_exist_ok=True)
    write_verdict(folder, report)
    digest = finish(folder, msgspec.json.format(msgspec.json.encode(report)))
    if (key := settings.read().signing_key) is not None:
        sign(folder, key.expanduser())
    return folder, digest


def deploy(
    workspace: Workspace, bundle: Bundle, *, cause: str, reason: str, by: str, role: Role | None = None
) -> Revision:
    """Bring a bundle into service, its online features up to date. role: None as the policy's strategy says.

    Raises StageError when they cannot be.
    """
    bring_bundle_up_to_date(workspace, bundle)
    rollouts = open_rollouts(workspace, bundle.model)
    revision = rollouts.deploy(bundle, cause=cause, reason=reason, by=by, role=role)
    set_aliases(workspace, rollouts.current() or revision)  # a cause that was asked for before gives an old revision
    return revision


def newest(workspace: Workspace, kind: type[R], model: str) -> R:
    """Return a model's newest run of the gates' kind, dataset or bundle. Raises StageError naming the stage that makes
    one.

    One that a stage came to again on this machine, as after a change was taken back, is as new as that.
    """

    def is_own(record: R) -> bool:
        return getattr(record, "refit_of", None) is None and getattr(record, "made_in", None) is None

    found = newest_where(workspace.metadata, kind, is_own, model=model)
    if found is None:
        raise StageError(f"model '{model}' has no {kind.KIND} yet; run: trimtab {MADE_BY[kind]}")
    path = workspace.run_folder / FOUND_AGAIN.format(kind=kind.KIND, model=model)
    if not path.is_file():
        return found
    again = msgspec.json.decode(path.read_bytes(), type=FoundAgain)
    return workspace.metadata.get(kind, again.id) if again.at > found.created_at else found


def _found(workspace: Workspace, record: R) -> R:
    """Note that a stage came to a record that is not the newest of its model, and return it."""
    if newest(workspace, type(record), record.model).id != record.id:
        path = workspace.run_folder / FOUND_AGAIN.format(kind=record.KIND, model=record.model)
        write_atomically(path, msgspec.json.encode(FoundAgain(record.id, workspace.now())))
    return record


def _left_out(
    workspace: Workspace, model: str, *, as_of: datetime, judged_until: datetime | None
) -> tuple[Stretch, ...]:
    """Return the stretches of event time whose rows no model may be trained on."""
    found = held(workspace.metadata, model, as_of=judged_until or as_of)
    not_judged = ((judged_until, as_of),) if judged_until is not None and judged_until < as_of else ()
    return joined((*found, *not_judged))


def _table_version(workspace: Workspace, table: str) -> TableVersion:
    found = latest(workspace.metadata, TableVersion, table=table)
    if found is None:
        raise StageError(f"table '{table}' is empty; run: trimtab ingest")
    return found


def _request_types(workspace: Workspace, model: Model, dataset: DatasetVersion) -> dict[str, Kind]:
    """Return the kind of each request column, as the dataset's tables have it."""
    versions = {name: int(id_.rpartition("@")[2]) for name, id_ in dataset.tables.items()}
    return request_types(model, workspace.scan(versions), dataset.feature_types)


def _request_checks(workspace: Workspace, model: Model, dataset: DatasetVersion) -> dict[str, ColumnCheck]:
    """Return what requests are expected to bring: by the schema of the source, and by the rows that are trained on."""
    source = model.examples
    versions = {name: int(id_.rpartition("@")[2]) for name, id_ in dataset.tables.items()}
    at = pl.col(source.timestamp).cast(pl.Datetime("us", "UTC"))
    rows = workspace.scan(versions)(source.name).filter(at.is_between(dataset.start, dataset.as_of))
    checked = workspace.project.policy.checks.tables.get(source.name)
    given = {}
    if checked is not None and checked.schema_ is not None:
        schema = load_schema(checked.schema_, workspace.project.folder, table=source.name)
        given = column_checks(schema)
    return learn_checks(
        rows.select(model.request_columns).collect(),
        _request_types(workspace, model, dataset),
        keys=model.entity_keys,
        given=given,
    )


def _reference(workspace: Workspace, model: Model, scored: Scored, kinds: Mapping[str, Kind]) -> bytes:
    policy = workspace.project.policy
    reference = build_reference(
        scored.rows.X,
        scored.scores,
        scored.rows.y,
        scored.rows.timestamps,
        model.feature_names,
        window=policy.decide.window,
        task=model.task,
        threshold=scored.threshold,
        costs=prices(policy.impact, model.task, model.money),
        categories=category_features(model, scored.rows.X, kinds),
        impact_function=model.money,
        classes=scored.rows.classes,
    )
    return reference.to_json()
