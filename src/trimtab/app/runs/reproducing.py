"""Trains a run again: `python -m trimtab.app.runs.reproducing`, its order on standard input.

It runs in the environment and on the code of the run. It reads the stores of the project and writes to stores of its
own, beside that code, so the project gets no second run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from trimtab.app.project.mlflow_access import open_workbench
from trimtab.app.project.own_models import open_own
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.project import Project, open_project
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline
from trimtab.app.stages.served_features import training_rows
from trimtab.app.stages.training_plan import previous_estimator
from trimtab.bundle.limits import checked
from trimtab.errors import TrimtabError
from trimtab.policy.environments import Environment
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables
from trimtab.training.dataset import LABEL, Frozen, id_of, load
from trimtab.training.environment import installed_packages
from trimtab.training.refit import refit

MOST_COLUMNS = 5


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to train again. It comes on standard input: an environment may hold passwords."""

    folder: str
    """The project with the code of the run."""
    origin: str
    """Folder of the project whose stores have the run."""
    environment: str
    """The policy's Environment as JSON."""
    run: str
    result: str
    """File for the result."""


class Remade(msgspec.Struct, frozen=True, kw_only=True):
    """The training set, made again from its tables."""

    same: bool | None
    """None: it could not be made again."""
    text: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was made, or the error that ended it."""

    error: str = ""
    run: Run | None = None
    folder: str = ""
    """The packaged model."""
    scores: str = ""
    """File with its scores of the holdout, as NumPy writes them."""
    again: str = ""
    """A second model of the same environment; "" when the first one is that of the run."""
    dataset: Remade | None = None
    python: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadThrough:
    """An artifact store that writes to one folder and reads from another one as well."""

    own: Artifacts
    origin: Artifacts

    def staging(self) -> Path:
        """Return a new empty folder to fill."""
        return self.own.staging()

    def publish(self, folder: Path, name: str) -> str:
        """Move a staging folder to a name of the own store."""
        return self.own.publish(folder, name)

    def open(self, name: str) -> Path:
        """Return a local folder with the content. Raises NotFound."""
        return self.own.open(name) if self.own.exists(name) else self.origin.open(name)

    def exists(self, name: str) -> bool:
        """Return True if either store has `name`."""
        return self.own.exists(name) or self.origin.exists(name)

    def check(self) -> Sequence[Fault]:
        """Return the faults of the own store."""
        return self.own.check()

    def names(self, prefix: str = "") -> Sequence[str]:
        """Return the names of both stores, sorted."""
        return sorted({*self.own.names(prefix), *self.origin.names(prefix)})


@dataclass
class Scratch(Workspace):
    """A project with the tables of another one, whose artifacts it can read, too."""

    origin: Workspace = field(kw_only=True)

    @cached_property
    def tables(self) -> Tables:
        """The tables of the other project."""
        return self.origin.tables

    @cached_property
    def artifacts(self) -> Artifacts:
        """Artifacts of its own, and those of the other project."""
        return ReadThrough(super().artifacts, self.origin.artifacts)


def reproduce(order: Order) -> Result:
    """Train the run of an order again; a second time when the first model is another one than the run's."""
    project = open_project(Path(order.folder))
    there = Workspace(replace(project, folder=Path(order.origin)), Environment.model_validate_json(order.environment))
    run = there.metadata.get(Run, order.run)
    dataset = there.metadata.get(DatasetVersion, run.dataset)
    scratch = Scratch(_with_params(project, run), Environment(), origin=there)
    scratch.root.mkdir(parents=True, exist_ok=True)
    _copy_records(there.metadata, scratch.metadata, run)
    frozen = load(dataset, there.artifacts)
    first = _train(scratch, run, frozen, "first")
    again = None if first.model_hash == run.model_hash else _train(scratch, run, frozen, "again")
    made = scratch.artifacts.open(first.staging)
    scores = scratch.root / "scores.npy"
    np.save(scores, holdout_scores(scratch, made, frozen), allow_pickle=False)
    return Result(
        run=first,
        folder=str(made),
        scores=str(scores),
        again=str(scratch.artifacts.open(again.staging)) if again else "",
        dataset=_remake(scratch, frozen),
        python=".".join(str(part) for part in sys.version_info[:3]),
        packages=installed_packages(),
    )


def holdout_scores(workspace: Workspace, folder: Path, frozen: Frozen) -> np.ndarray[Any, Any]:
    """Return a packaged model's scores of the holdout, as the gateway gives them: NaN where it would refuse a row."""
    scorer, spec = open_own(workspace, folder)
    try:
        return np.asarray(checked(scorer, spec).score(frozen.holdout.X), dtype=np.float64)
    finally:
        scorer.close()


def _with_params(project: Project, run: Run) -> Project:
    """Return the project with the parameters and the seed of a run, which a search may have chosen."""
    training = project.policy.training.model_copy(
        update={"params": run.params, "seed": run.seed, "search": None, "folds": 0}
    )
    return replace(project, policy=project.policy.model_copy(update={"training": training}))


def _copy_records(origin: Metadata, target: Metadata, run: Run) -> None:
    """Copy the records of the model that a training may read, as they were at the time of the run."""
    for kind in (DatasetVersion, Run, Bundle, Revision):
        found = origin.find(kind, model=run.model, oldest_first=True)
        target.put(*(record for record in found if record.created_at <= run.created_at or record.id == run.id))


def _train(scratch: Scratch, run: Run, frozen: Frozen, attempt: str) -> Run:
    key = f"reproduce/{run.id}/{attempt}"
    if run.refit_of is None:
        return pipeline.train(scratch, run.model, frozen.version, key=key)
    twin = scratch.origin.metadata.get(Run, run.refit_of)
    return refit(
        scratch.model(run.model),
        frozen,
        twin,
        bench=open_workbench(scratch),
        key=key,
        trust=scratch.project.policy.serving.trust,
        previous=previous_estimator(scratch, twin),
    )


def _remake(scratch: Scratch, frozen: Frozen) -> Remade:
    """Make the training set again from the versions of its tables, and compare it with the frozen one."""
    version, model = frozen.version, scratch.model(frozen.version.model)
    tables = ", ".join((*version.tables.values(), *(["the prediction log"] if version.features_from == "log" else [])))
    keep = tuple(frozen.holdout_groups)
    try:
        versions = {name: int(id_.rpartition("@")[2]) for name, id_ in version.tables.items()}
        scan = scratch.scan(versions, as_of=version.as_of)
        made = training_rows(
            scratch.origin,
            model,
            scan,
            as_of=version.as_of,
            start=version.start,
            keep=keep,
            without=version.without,
            features_from="log" if version.features_from == "log" else "offline",
            logged_by=version.created_at,
        )
        found, rows = id_of(made.frame, model, version, keep)
    except TrimtabError as error:
        return Remade(same=None, text=f"the frozen one is used; {tables} cannot be read as they were: {error}")
    if found == version.id:
        return Remade(same=True, text=f"{version.id[:12]} of {version.rows:,} rows, made again from {tables}")
    return Remade(same=False, text=f"made again from {tables} it is another one: {_difference(rows, frozen.frame)}")


def _difference(rows: pl.DataFrame, frozen: pl.DataFrame) -> str:
    """Name what differs between two training sets."""
    if len(rows) != len(frozen):
        return f"{len(rows):,} rows instead of {len(frozen):,}"
    if rows.columns != frozen.columns:
        return f"columns {', '.join(rows.columns)} instead of {', '.join(frozen.columns)}"
    differ = [name for name in frozen.columns if not _same(rows[name], frozen[name])]
    if not differ:
        return "same rows, but other definitions of its features"
    shown = [f"{'labels' if name == LABEL else name}" for name in differ[:MOST_COLUMNS]]
    return f"other values of {', '.join(shown)}{' and others' if len(differ) > MOST_COLUMNS else ''}"


def _same(a: pl.Series, b: pl.Series) -> bool:
    return a.equals(b) or (a.dtype.is_float() and np.array_equal(a.to_numpy(), b.to_numpy(), equal_nan=True))


def _answer(order: Order) -> Result:
    try:
        return reproduce(order)
    except Exception as error:  # a border: the process that waits shows it
        return Result(error=str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    received = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    write_atomically(Path(received.result), msgspec.json.encode(_answer(received)))
    os._exit(0)  # libraries' threads may hang at the end of the interpreter
