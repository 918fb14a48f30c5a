"""The contract test of a project: what its definitions promise, tried on a sample of its data.

It runs in a scratch copy of the project with stores of its own; the project's own stores are read for the rows of
streams alone, and nothing is written into them. Each check is one line; what needs a check that failed is skipped.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import polars as pl

from trimtab.app.delivery.leak_tests import check_inputs, check_model, check_view
from trimtab.app.delivery.outcomes import Checks, Skipped, Warned
from trimtab.app.delivery.sample_reading import SampleReading
from trimtab.app.delivery.scratch_project import of_one_model, scratch_project
from trimtab.app.delivery.served_scores import ask_gateway
from trimtab.app.project.project import Project, open_project
from trimtab.app.project.workspace import Workspace, in_environment
from trimtab.app.stages import pipeline
from trimtab.app.stages.ingesting import referenced_first
from trimtab.app.stages.sampled_sources import cut, take_sample
from trimtab.clock import from_micros
from trimtab.definitions.models import Model
from trimtab.definitions.sources import Source
from trimtab.definitions.views import FeatureView
from trimtab.errors import UsageError, nearest
from trimtab.gates.report import report as gate_report
from trimtab.policy.environments import LOCAL, Environment, folder_of
from trimtab.records.data import CheckReport
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import latest
from trimtab.training.dataset import load
from trimtab.units import plural

SAMPLE = "sample"
MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")


def test_contract(folder: Path, environment: str, checks: Checks, *, rows: int) -> None:
    """Run the contract test.

    Args:
        folder: the project.
        environment: of the project's own stores, which may hold rows of streams.
        checks: gets every check.
        rows: most labelled examples that a model is trained on.
    """
    project = checks.run("project", "definitions", lambda: _definitions(folder, environment))
    if project is None:
        return
    is_there = (project.folder / folder_of(environment, _environments(project)[environment])).is_dir()
    own = in_environment(project, environment) if is_there else None  # a store that is not there is not made
    with scratch_project(project) as workspace:
        checks.rename(str(workspace.project.folder), str(project.folder))
        _ContractTest(workspace, own, checks, rows).run()


def _environments(project: Project) -> dict[str, Environment]:
    return {LOCAL: Environment(), **project.policy.environments}


def _definitions(folder: Path, environment: str) -> tuple[Project, str]:
    project = open_project(folder)
    if environment not in _environments(project):
        raise UsageError(f"no environment '{environment}'.{nearest(environment, _environments(project))}")
    found = project.definitions
    parts = [plural(len(found.sources), "source"), plural(len(found.views), "view"), plural(len(found.models), "model")]
    parts += [plural(len(found.prompts), "prompt")] * bool(found.prompts)
    return project, ", ".join(parts)


class _ContractTest:
    def __init__(self, workspace: Workspace, own: Workspace | None, checks: Checks, rows: int) -> None:
        self._workspace, self._checks = workspace, checks
        self._reading = SampleReading(workspace, own, rows)
        self._tables: set[str] = set()
        """Names of the sources whose sample is in its table."""

    def run(self) -> None:
        definitions = self._workspace.project.definitions
        for source in referenced_first(self._workspace, list(definitions.sources.values())):
            self._source(source)
        for view in definitions.views.values():
            self._view(view)
        served = [bundle for model in definitions.models.values() if (bundle := self._model(model)) is not None]
        if served:
            ask_gateway(self._workspace, served, self._checks)

    def _source(self, source: Source) -> None:
        group = f"source {source.name}"
        frame = self._checks.run(group, "readable", lambda: self._reading.sample(source))
        if frame is not None:
            self._checks.run(group, "checks", lambda: self._ingest(source, frame))

    def _ingest(self, source: Source, frame: pl.DataFrame) -> tuple[bool, str]:
        taken = take_sample(self._workspace, source, frame, SAMPLE)
        if taken is None:
            raise Skipped("none of the rows passes")
        self._tables.add(source.name)
        report = latest(self._workspace.metadata, CheckReport, table=source.name)
        assert report is not None  # the sample was taken
        if report.verdict == "warn" or taken.notes:
            raise Warned("; ".join((report.reason, *taken.notes)), value=True)
        return True, report.reason

    def _view(self, view: FeatureView) -> None:
        group = f"view {view.name}"
        models = [model for model in self._workspace.project.definitions.models.values() if view in model.views]
        model = next((model for model in models if model.examples.name in self._tables), None)
        keys = view.source if model is None else model.examples
        missing = [name for name in (view.source.name, keys.name) if name not in self._tables]
        if missing:
            self._checks.skip(group, "leak-free", f"no rows of source {missing[0]}")
            return

        def check() -> tuple[bool, str]:
            frame = self._workspace.tables.scan(keys.name).select(*view.entity.keys, keys.timestamp).collect()
            if model is not None:
                stretch = self._reading.stretch(model)
                frame = cut(frame, keys, start=stretch.start, end=stretch.end)
            return True, check_view(self._workspace, view, frame, keys.timestamp)

        self._checks.run(group, "leak-free", check)

    def _model(self, model: Model) -> Bundle | None:
        """Run all checks of a model but those of the gateway; return the bundle that was made."""
        group, run = f"model {model.name}", self._checks.run
        steps = ("features", "leak-free", "inputs", "trainer", "gates", "bundle")
        missing = [name for name in model.source_tables if name not in self._tables]
        if missing:
            self._skip(group, steps, f"no rows of source {missing[0]}")
            return None
        made = run(group, steps[0], lambda: self._features(model))
        if made is None:
            self._skip(group, steps[1:], "no training set")
            return None
        workspace, dataset = made
        run(group, steps[1], lambda: (True, check_model(workspace, model, start=dataset.start)))
        run(group, steps[2], lambda: (True, self._inputs(model, dataset)))
        trained = run(group, steps[3], lambda: _train(workspace, model, dataset))
        if trained is None:
            self._skip(group, steps[4:], "nothing was trained")
            return None
        run(group, steps[4], lambda: _gates(workspace, trained))
        return run(group, steps[5], lambda: _bundle(workspace, trained))

    def _skip(self, group: str, steps: tuple[str, ...], why: str) -> None:
        for step in steps:
            self._checks.skip(group, step, why)

    def _features(self, model: Model) -> tuple[tuple[Workspace, DatasetVersion], str]:
        stretch = self._reading.stretch(model)
        as_of = max(stretch.end, stretch.known) + 1
        workspace = of_one_model(self._workspace, history=as_of - stretch.start)
        later = from_micros(stretch.end + 1)  # of another model that has the same examples
        dataset = pipeline.snapshot(workspace, model.name, as_of=from_micros(as_of), judged_until=later)
        text = (
            f"{plural(dataset.rows, 'row')}, {dataset.labelled:,} labelled, {plural(len(dataset.features), 'feature')}"
        )
        if dataset.warnings:
            raise Warned("; ".join((text, *dataset.warnings)), value=(workspace, dataset))
        return (workspace, dataset), text

    def _inputs(self, model: Model, dataset: DatasetVersion) -> str:
        frozen = load(dataset, self._workspace.artifacts)
        if model.label is None:
            raise Skipped("the model has no label")
        return check_inputs(model, frozen, self._workspace.project.policy.gates.leakage)


def _train(workspace: Workspace, model: Model, dataset: DatasetVersion) -> tuple[Run, str]:
    run = pipeline.train(workspace, model.name, dataset)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in run.metrics.items())
    return run, f"{run.cpu_seconds:.1f} CPU s; {metrics or 'no labels to measure by'}"


def _gates(workspace: Workspace, run: Run) -> tuple[GateReport, str]:
    report = pipeline.evaluate(workspace, run, measured=False)
    failed = sum(each.verdict == "fail" for each in report.results)
    would = f", of which {failed} would fail" if failed else ""
    return report, f"{plural(len(report.results), 'gate check')} ran{would}; on a sample that refuses nothing"


def _bundle(workspace: Workspace, run: Run) -> tuple[Bundle, str]:
    """Make a bundle whatever the gates said, and bring it into service in the scratch copy."""
    report = gate_report((), model=run.model, run=run.id, champion=None, clock=workspace.clock, key="test")
    workspace.metadata.put(report)
    bundle = pipeline.register(workspace, run, report)
    pipeline.deploy(
        workspace, bundle, cause=f"test/{bundle.id}", reason="contract test", by="trimtab test", role="champion"
    )
    folder = workspace.artifacts.open(bundle.path)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return bundle, f"{plural(len(bundle.features), 'feature')}, {size / 1e6:.2f} MB"
