"""The verbs of the stages, one after another or all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from rich.markup import escape

from trimtab import settings
from trimtab.app.delivery.stage_journal import noted
from trimtab.app.jobs import training_places
from trimtab.app.labels.importing import import_tables
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.project.locks import only_training
from trimtab.app.project.requirements import require_trainer
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import refuse_made_here
from trimtab.app.runs.found_run import find_dataset
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.feature_checks import feature_report
from trimtab.app.stages.sampled_sources import ingest_last
from trimtab.app.stages.view_changes import refuse_lost_views
from trimtab.bundle.spec import read_spec
from trimtab.cli.context import Context, Force, Verbs, option_time, print_json
from trimtab.cli.data.validate import VERDICT_STYLE, show_checks
from trimtab.cli.delivery.training_alone import sagemaker_folder, train_for_sagemaker, train_into
from trimtab.cli.llm.prompt_evals import evaluate_prompt, register_prompt, run_prompts
from trimtab.cli.rollout import is_past, not_again
from trimtab.cli.terminal import console, say, write_file
from trimtab.cli.views import counted, table
from trimtab.data.checks import failure_lines
from trimtab.data.ingest import Ingested
from trimtab.errors import CheckFailed, GateRefused, UsageError
from trimtab.gates import verdict_files
from trimtab.records.data import CheckReport
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import LabelIntake
from trimtab.records.serving import Revision
from trimtab.records.training import Baseline, Bundle, DatasetVersion, FoldScore, Run
from trimtab.units import micros, plural

app = Verbs()

SourceName = Annotated[str | None, typer.Argument(help="Source; all of them by default.")]
AsOf = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Use nothing that became known later, such as 2013-03-01; now by default."),
]
REFUSED_OUTCOMES = "They stay in the table, and no label was made of them. Give the right ones a file of their own"


@app.verb(stage=True)
def ingest(
    context: Context,
    source: SourceName = None,
    again: Annotated[
        bool, typer.Option("--rebuild", help="Read all files of the source again, so that types fit all of them.")
    ] = False,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows", min=1, metavar="NUMBER", help="Stop after the file or batch with which a table has so many rows."
        ),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Take the newest stretch of the files alone, such as 60d, as a sample."),
    ] = None,
) -> None:
    """Take new rows of sources into tables.

    Takes each file once, and each row of a database, an API or a stream. New outcomes become labels.
    """
    if last is not None:
        if again:
            raise UsageError("--rebuild takes other rows than --last; leave one of them out")
        context.show(ingest_last(context.workspace, _length(last), source, rows=rows), show_ingested)
        return
    if again:
        if rows is not None:
            raise UsageError("--rebuild reads all files of a source, and --rows only the first ones; leave one out")
        _rebuild(context, source)
        return
    done = ingesting.ingest(context.workspace, source, rows=rows)
    context.show(done, show_ingested)
    _take_outcomes(context.workspace, source, done, show=not context.json)


def _length(last: str) -> int:
    """Parse the length of a stretch of time, in microseconds. Raises UsageError."""
    try:
        return micros(last)
    except ValueError as error:
        raise UsageError(f"--last: {error}") from None


def _rebuild(context: Context, source: str | None) -> None:
    if source is None:
        raise UsageError("--rebuild reads the files of one source again; name it: trimtab ingest SOURCE --rebuild")
    done = ingesting.rebuild(context.workspace, source)
    if context.json:
        print_json([done])
    elif done.skipped:
        console.print(f"ingest    {done.table}: {escape(done.skipped)}", soft_wrap=True)
    else:
        made, columns = done.version, ", ".join(f"{name} {of}" for name, of in done.version.schema.items())
        say(f"ingest    {made.id}: {plural(made.rows, 'row')} of {done.file}; columns: {columns}")


@app.verb(model=True, stage=True)
def train(
    context: Context,
    dataset: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of the training set, or its start; the newest by default.")
    ] = None,
    job_files: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a Dockerfile and a Kubernetes Job for it; nothing is trained here."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Run all stages on fresh stores, and write the bundle and the verdicts into this folder alone.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE=FOLDER", help="With --into: a folder with the source's files.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="With --into: use nothing that became known later.")
    ] = None,
) -> None:
    """Train on the newest training set, where `training.on` says.

    The same data, code, parameters and seed give the same run. In a training container of SageMaker, its contract
    says what is trained.
    """
    if into is None and (data or as_of):
        raise UsageError("--data and --as-of go with --into")
    if into is not None:
        train_into(context, into, data or (), as_of)
        return
    if (base := sagemaker_folder()) is not None:
        train_for_sagemaker(context, base)
        return
    ws, model = context.workspace, context.definition
    require_trainer(ws.project, model)
    version = find_dataset(ws, dataset, model.name) if dataset else pipeline.newest(ws, DatasetVersion, model.name)
    if job_files is not None:
        training_places.write_files(ws, model.name, version, job_files)
        say(f"train     {job_files} has the Dockerfile and job.yaml of the training")
        return
    with only_training(ws, model.name, "trimtab train"):
        trained = training_places.train(ws, model.name, version)
    context.show(trained, lambda trained: show_run(ws, trained))


@app.verb(model=True, stage=True)
def evaluate(
    context: Context,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Id of the run; the newest by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Judge again what the same gates have judged before.")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML, for a build server.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as Markdown, for a person.")
    ] = None,
) -> None:
    """Put the newest run through the gates.

    Exit code 1 when a gate fails.
    """
    ws = context.workspace
    if context.served.name in ws.project.definitions.prompts:
        evaluate_prompt(context, context.served.name, run=run, force=force, junit=junit, markdown=markdown)
        return
    found = ws.metadata.get(Run, run) if run else pipeline.newest(ws, Run, context.definition.name)
    report = pipeline.evaluate(ws, found, force=force)
    if junit is not None:
        write_file("--junit", junit, verdict_files.junit(report).decode(), make_folder=True)
    if markdown is not None:
        write_file("--markdown", markdown, verdict_files.markdown(report), make_folder=True)
    context.show(report, show_gates)
    pipeline.refuse(report)


@app.verb(model=True, stage=True)
def register(context: Context) -> None:
    """Make a bundle of the newest run that passed its gates.

    Registers the bundle as the next version of the model.
    """
    ws = context.workspace
    if context.served.name in ws.project.definitions.prompts:
        register_prompt(context, context.served.name)
        return
    found = pipeline.newest(ws, Run, context.definition.name)
    context.show(training_places.register(ws, found, pipeline.evaluated(ws, found)), show_bundle)


@app.verb(model=True, json=False)
def run(context: Context, as_of: AsOf = None, force: Force = False) -> None:
    """Ingest, validate, features, train, evaluate, register, deploy.

    Stops at the first stage that fails. Prompts are evaluated, registered and deployed; one that its champion equals
    stays as it is.
    """
    ws, prompts = context.workspace, context.workspace.project.definitions.prompts
    refuse_made_here(ws, "nothing is trained, since its bundle would be made")
    named = [name for name in prompts if context.model in (None, name)]
    refused = run_prompts(ws, named, force=force)
    if context.model not in prompts and (ws.project.definitions.models or not prompts):
        refuse_frozen(ws, context.definition.name, force=force)
        if not force:
            refuse_lost_views(ws, context.definition.name)
        run_all(ws, context.definition.name, as_of=option_time("--as-of", as_of))
    if refused:
        raise GateRefused("\n".join(map(str, refused)))


def run_all(ws: Workspace, model: str, *, as_of: datetime | None, measured: bool = True) -> Revision:
    """Run all stages, telling what each did. Raises what a stage raises; a failing gate stops the line.

    measured: whether latency and memory on this machine may fail the performance gate.
    """
    require_trainer(ws.project, ws.model(model))
    with noted(ws, "ingest"):
        done = ingesting.ingest(ws)
        show_ingested(done)
        _take_outcomes(ws, None, done, show=True)
    with noted(ws, "validate"):
        reports = ingesting.validate(ws)
        show_checks(reports)
        if failing := [report.reason for report in reports if report.verdict == "fail"]:
            raise CheckFailed("; ".join(failing))
    with only_training(ws, model, "trimtab run"):
        with noted(ws, "features", model):
            dataset = pipeline.snapshot(ws, model, as_of=as_of or ws.now())
            show_dataset(dataset, feature_report(ws, dataset))
        with noted(ws, "train", model):
            trained = training_places.train(ws, model, dataset)
    show_run(ws, trained)
    with noted(ws, "evaluate", model):
        report = pipeline.registered_report(ws, trained, measured=measured)
        if report is None:
            report = pipeline.evaluate(ws, trained, measured=measured)
            show_gates(report)
        pipeline.refuse(report)
    with noted(ws, "register", model):
        bundle = training_places.register(ws, trained, report)
    show_bundle(bundle)
    with noted(ws, "deploy", model):
        cause = f"command/run/{bundle.id}"
        revision = pipeline.deploy(ws, bundle, cause=cause, reason="trimtab run", by=settings.login())
    if is_past(ws, bundle, revision):
        say(f"deploy    {not_again(ws, bundle, revision)}")
    else:
        console.print(f"deploy    revision {revision.number}: {revision.action} {bundle.id}")
    return revision


def show_ingested(done: list[Ingested]) -> None:
    """Print what was taken in, one line a source."""
    if not done:
        console.print("ingest    no rows yet")
    for name in dict.fromkeys(one.table for one in done):
        mine = [one for one in done if one.table == name]
        new = [one for one in mine if not one.skipped]
        rows, quarantined = sum(one.rows_added for one in new), sum(one.rows_quarantined for one in new)
        of_files = mine[0].unit == "file"
        parts = plural(len(new or mine), mine[0].unit, "" if of_files else "batches")
        nothing = f"nothing new in {parts}" if of_files else "no new rows"
        text = f"{plural(rows, 'row')} from {parts}" if new else nothing
        quarantine = f", {plural(quarantined, 'row')} quarantined" if quarantined else ""
        console.print(f"ingest    {name}: {text}{quarantine}")
        for one in mine:
            told = one.notes if one.skipped is None or one.skipped.startswith("already in") else (one.skipped,)
            for line in told:
                console.print(f"          [yellow]{escape(one.file)}: {escape(line)}[/]", soft_wrap=True)


def _take_outcomes(ws: Workspace, source: str | None, done: list[Ingested], *, show: bool) -> None:
    """Take new rows of outcomes as labels, and tell what became of them. Raises CheckFailed for wrong ones."""
    taken = {intake.id: intake for intake in import_tables(ws, source)}
    for version in [one.version for one in done if not one.skipped]:  # a running loop may have been quicker
        found = ws.metadata.find(LabelIntake, table=version.table, version=version.version)
        taken |= {intake.id: intake for intake in found}
    for intake in taken.values():
        if show and intake.refused is None:
            parts = {"taken": intake.added, "repeated": intake.repeated, "contradicting": intake.contradicting}
            parts["without an outcome yet"] = intake.waiting
            console.print(f"labels    {intake.id}: {counted(parts)}", soft_wrap=True)
    if refused := [intake.refused for intake in taken.values() if intake.refused is not None]:
        raise CheckFailed("\n".join((*refused, REFUSED_OUTCOMES)))


def show_dataset(d: DatasetVersion, report: CheckReport | None = None) -> None:
    """Print a training set. report: on its features."""
    console.print(
        f"features  {plural(len(d.features), 'feature')} of {plural(len(d.views), 'view')}; "
        f"training set {d.id[:12]}: {plural(d.rows, 'row')}, "
        f"{d.labelled:,} labelled, known by {d.as_of:%Y-%m-%d %H:%M} UTC",
        soft_wrap=True,
    )
    for warning in (*d.warnings, *([] if report is None else failure_lines(report))):
        console.print(f"          [yellow]warning[/]  {escape(warning)}", soft_wrap=True)


def show_run(ws: Workspace, r: Run) -> None:
    """Print a run, and the reason when ONNX Runtime does not serve its model."""
    currency = ws.project.policy.impact.currency
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in r.metrics.items()) or "no labels to measure by"
    console.print(
        f"train     run {r.id[:8]}: {metrics}; {r.cpu_seconds:.1f} CPU s, {r.cost:.5f} {currency}", soft_wrap=True
    )
    for line in (*_found(r), *_compared(r.baselines)):
        console.print(f"          {escape(line)}", soft_wrap=True)
    spec = read_spec(ws.artifacts.open(r.staging))
    if spec.runtime_reason:
        console.print(f"          [yellow]{spec.runtime} serves it:[/] {escape(spec.runtime_reason)}", soft_wrap=True)


def _found(r: Run) -> Iterator[str]:
    """Yield what search, validation and folds gave."""
    if (s := r.search) is not None:
        best = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in s.params.items()
        )
        lost = f", {s.pruned} pruned, {s.failed} failed" if s.pruned or s.failed else ""
        ended = f"; ended by {s.ended}" if s.ended else ""
        yield f"search: {plural(s.trials, 'trial')}{lost}; {s.metric} {s.value:.4f} with {best}{ended}"
    if r.validation_rows:
        stopped = f"; stopped after {plural(r.rounds, 'round')}" if r.rounds else ""
        yield f"validation: {r.validation_rows:,} rows, {r.left_out:,} before them left out{stopped}"
    if r.folds:
        means = (
            f"{name} {mean(values):.4f} ({min(values):.4f} to {max(values):.4f})" for name, values in _over(r.folds)
        )
        yield f"{plural(len(r.folds), 'fold')} over time: {', '.join(means)}"


def _over(folds: Sequence[FoldScore]) -> Iterator[tuple[str, list[float]]]:
    for name in folds[0].metrics:
        values = [fold.metrics[name] for fold in folds if name in fold.metrics]
        if len(values) == len(folds):
            yield name, values


def _compared(baselines: Sequence[Baseline]) -> Iterator[str]:
    """Yield the gain over each baseline, on the same rows."""
    for name, of in groupby(baselines, lambda each: each.name):
        gains = []
        for each in of:
            interval = (
                ""
                if each.low is None or each.high is None
                else f" ({each.low:.4f} to {each.high:.4f} at {each.confidence:.0%})"
            )
            gains.append(f"{each.metric} {each.value:.4f}, gain {each.gain:+.4f}{interval}")
        yield f"baseline {name}: {'; '.join(gains)}"


def show_gates(report: GateReport) -> None:
    """Print every gate's verdict."""
    made = table("", "evaluate", "verdict", "why")
    for result in report.results:
        style = VERDICT_STYLE[result.verdict]
        made.add_row(result.gate, f"[{style}]{result.verdict}[/]", escape(result.reason))
    console.print(made)
    for line in _compared(report.baselines):
        console.print(f"          {escape(line)}", soft_wrap=True)


def show_bundle(bundle: Bundle) -> None:
    """Print a bundle."""
    console.print(f"register  {bundle.id}  sha256 {bundle.digest[:16]}")
