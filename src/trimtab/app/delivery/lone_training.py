"""A whole run without the stores of a project: data in folders, the bundle in a folder, nothing else is kept.

Training jobs of SageMaker and Vertex AI run in a container that begins empty. The project's files come with the image,
or as a channel; its state does not, unless a folder with it is mounted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from trimtab.app.jobs import training_places
from trimtab.app.labels.importing import import_tables
from trimtab.app.project.locks import only_training
from trimtab.app.project.project import Project, late_sources
from trimtab.app.project.requirements import require_trainer
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.gate_inputs import champion_of
from trimtab.data.source_files import find_files, has_files
from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource, Source
from trimtab.errors import CheckFailed, DataError, GateRefused, PolicyError, nearest
from trimtab.gates.verdict_files import write_verdict
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.units import plural

STATE = ".trimtab"
EVALUATION = "evaluation.json"
LEFT_OUT = shutil.ignore_patterns(STATE, ".git", "__pycache__")
GLOB = set("*?[")
COPIED_BYTES = 2**20
"""Larger files of the project are linked into the scratch folder, not copied."""


@dataclass(frozen=True, kw_only=True)
class LoneTraining:
    """What to train, from what, and where the results go.

    Attributes:
        bundle: folder that the bundle is written into; stays empty when a gate fails.
        report: folder of evaluation.json, gates.md and gates.junit.xml; None writes none.
        channels: by name of a source the folder with its files, in place of its path.
        params: take the place of those of `training.params`.
        state: folder with the stores (.trimtab of the project), which the run then reads and adds to; None: a scratch
            folder, so that no champion is compared with.
    """

    bundle: Path
    report: Path | None = None
    channels: Mapping[str, Path] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    state: Path | None = None
    model: str | None = None
    as_of: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a lone training gave. bundle: None when a gate failed. compared: False without a champion."""

    model: str
    dataset: DatasetVersion
    run: Run
    report: GateReport
    bundle: Bundle | None
    compared: bool


def train_alone(project: Path, environment: str, job: LoneTraining) -> Trained:
    """Ingest, check, train, judge and pack. A gate that fails raises nothing: then there is no bundle.

    Raises what the stages raise; DataError for a channel that no source has, or that cannot take the place of its
    path; PolicyError for a parameter that stands in `training.search`.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-training-") as scratch, _project(project, Path(scratch)) as folder:
        if job.state is not None:
            (folder / STATE).symlink_to(job.state.resolve(), target_is_directory=True)
        workspace = _with_params(open_workspace(folder, environment), job.params)
        sources = workspace.project.definitions.sources
        for name, channel in job.channels.items():
            if name not in sources:
                raise DataError(f"channel '{name}': definitions.py has no such source.{nearest(name, sources)}")
            _lay_in(sources[name], channel, folder)
        return _all_stages(workspace, job)


def _all_stages(workspace: Workspace, job: LoneTraining) -> Trained:
    model = workspace.model(job.model)
    require_trainer(workspace.project, model)
    compared = champion_of(workspace, model.name) is not None
    for name in needed_sources(workspace.project, model):
        ingesting.ingest(workspace, name)
    if refused := [intake.refused for intake in import_tables(workspace) if intake.refused is not None]:
        raise CheckFailed("\n".join(refused))
    if failing := [each.reason for each in ingesting.validate(workspace) if each.verdict == "fail"]:
        raise CheckFailed("; ".join(failing))
    with only_training(workspace, model.name, "trimtab train --into"):
        dataset = pipeline.snapshot(workspace, model.name, as_of=job.as_of or workspace.now())
        run = training_places.train(workspace, model.name, dataset)
    report = pipeline.evaluate(workspace, run)
    if job.report is not None:
        job.report.mkdir(parents=True, exist_ok=True)
        write_verdict(job.report, report)
        (job.report / EVALUATION).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    try:
        bundle = training_places.register(workspace, run, report)
        shutil.copytree(workspace.artifacts.open(bundle.path), job.bundle, dirs_exist_ok=True)
    except GateRefused:
        bundle = None
    return Trained(model=model.name, dataset=dataset, run=run, report=report, bundle=bundle, compared=compared)


def needed_sources(project: Project, model: Model) -> list[str]:
    """Return the sources that a training of a model reads, without sources of outcomes that have no file yet."""
    names = [*model.source_tables, *([model.outcomes.source.name] if model.outcomes else [])]
    for name in names:  # it grows
        checks = project.policy.checks.tables.get(name)
        names += [each.source for each in (checks.references.values() if checks else ()) if each.source not in names]
    late = late_sources(project.definitions)
    found = {name: project.definitions.sources.get(name) for name in dict.fromkeys(names)}
    return [
        name
        for name, source in found.items()
        if source is not None
        and not (name in late and isinstance(source, FileSource) and not has_files(source, project.folder))
    ]


@contextmanager
def _project(project: Path, scratch: Path) -> Iterator[Path]:
    """Yield a folder with the files of a project, without its state. Large files are links."""
    project = project.expanduser().resolve()
    if not project.is_dir():
        raise DataError(f"there is no project folder {project}")

    def copy(source: str, target: str) -> str:
        if os.path.getsize(source) <= COPIED_BYTES:
            return str(shutil.copyfile(source, target))
        os.symlink(source, target)
        return target

    folder = scratch / "project"
    shutil.copytree(project, folder, ignore=LEFT_OUT, copy_function=copy)
    if (git := project / ".git").exists():
        (folder / ".git").symlink_to(git)
    yield folder


def _lay_in(source: Source, channel: Path, folder: Path) -> None:
    """Let the files of a channel take the place of those of a source."""
    if not isinstance(source, FileSource) or source.is_remote or Path(source.path).expanduser().is_absolute():
        raise DataError(
            f"channel '{source.name}': {source.where} reads no files of the project folder, so that a channel cannot "
            "take their place; it reads its rows itself"
        )
    files = sorted(each for each in channel.rglob("*") if each.is_file()) if channel.is_dir() else []
    if not files:
        raise DataError(f"channel '{source.name}': there is no file in {channel}")
    path = folder / source.path.removesuffix("/")
    if path.suffix and not GLOB & set(source.path):
        if len(files) != 1:
            raise DataError(
                f"channel '{source.name}' has {plural(len(files), 'file')}; {source.where} reads one, '{source.path}'"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(files[0].resolve())
        return
    fixed = next(each for each in (path, *path.parents) if not GLOB & set(str(each.relative_to(folder))))
    if has_files(source, folder):
        for found in find_files(source, folder):
            (folder / found.name).unlink()
    for file in files:
        target = fixed / file.relative_to(channel)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())
    if not has_files(source, folder):
        raise DataError(f"channel '{source.name}': none of its files fits the path '{source.path}' of {source.where}")


def _with_params(workspace: Workspace, params: Mapping[str, Any]) -> Workspace:
    """Return the workspace of a policy with other parameters, which trains in this process."""
    policy = workspace.project.policy
    training = policy.training
    if twice := sorted(set(params) & set(training.search.space if training.search else ())):
        raise PolicyError(f"parameter '{twice[0]}' stands in training.search.space; remove it there, or do not set it")
    changed = training.model_copy(update={"on": "process", "params": {**training.params, **params}})
    project = replace(workspace.project, policy=policy.model_copy(update={"training": changed}))
    return replace(workspace, project=project)
