"""What a training needs to know, and what it has to say at its end. Every place runs the same `perform`."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from trimtab.app.jobs.passing_failures import MayPass, may_pass
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline
from trimtab.errors import GateRefused, StageError, TrainerFailed, TrimtabError
from trimtab.policy.environments import Environment
from trimtab.records.training import DatasetVersion, Run

RESULT = "training-{model}.json"
"""In the run folder: what the job has to say at its end. One training of a model runs at a time."""
KINDS = {kind.__name__: kind for kind in (MayPass, TrainerFailed, GateRefused, StageError)}

log = logging.getLogger(__name__)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to train on, and where the result goes. An environment may hold passwords, so an order is no argument."""

    project: str
    """Folder of the project. Every place must see it, and what it holds, under this path."""
    environment: str
    """The policy's Environment as JSON."""
    model: str
    dataset: str
    key: str | None
    """Identifies the training; None: data, code, parameters and seed do."""
    refit: str | None = None
    """Id of a run that passed its gates, to be fitted again on all rows; None trains."""
    result: str = ""
    """File for the result."""
    memory: int | None = None
    """Most bytes that the training may allocate; None: no limit."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The id of the run, or the error that ended the training."""

    run: str | None = None
    outcome: str = ""
    """Of a refit: what was done."""
    kind: str = ""
    """Name of an error in KINDS."""
    text: str = ""


def new_order(
    workspace: Workspace, model: str, dataset: str, *, key: str | None, refit: str | None, memory: int | None
) -> Order:
    """Return the order of a training of this project, and remove the result of an earlier one."""
    path = workspace.run_folder / RESULT.format(model=model)
    path.unlink(missing_ok=True)
    return Order(
        project=str(workspace.project.folder),
        environment=workspace.environment.model_dump_json(),
        model=model,
        dataset=dataset,
        key=key,
        refit=refit,
        result=str(path),
        memory=memory,
    )


def perform(order: Order) -> Result:
    """Train, or fit again on all rows. Raises nothing: an error is part of the result."""
    try:
        workspace = Workspace(open_project(Path(order.project)), Environment.model_validate_json(order.environment))
        if order.refit is not None:
            serves, outcome = pipeline.refit(workspace, workspace.metadata.get(Run, order.refit))
            return Result(run=serves.id, outcome=outcome)
        dataset = workspace.metadata.get(DatasetVersion, order.dataset)
        return Result(run=pipeline.train(workspace, order.model, dataset, key=order.key).id)
    except Exception as error:  # a border: the process that waits raises it again
        if order.memory is not None and _lacks_memory(error):
            return Result(kind=StageError.__name__, text=too_large(order, str(error)))
        kind = MayPass.__name__ if may_pass(error) else type(error).__name__
        text = str(error) if isinstance(error, TrimtabError) else f"train: {type(error).__name__}: {error}"
        return Result(kind=kind if kind in KINDS else StageError.__name__, text=text)


def _lacks_memory(error: Exception) -> bool:
    """Return True for an error of too little memory; libraries in C++ raise errors of other types."""
    return isinstance(error.__cause__ or error, MemoryError) or "memory" in str(error).lower()


def too_large(order: Order, what: str) -> str:
    """Return the text of the error of a training that needs more memory than it may have."""
    return (
        f"{what}. The training of model '{order.model}' may allocate {(order.memory or 0) / 1e6:,.0f} MB "
        "(training.memory, else what the machine had free): raise it, let "
        "training.history be shorter, or train a smaller model"
    )


def run_of(result: Result) -> str:
    """Return the id of the run. Raises the error of the result."""
    if result.run is None:
        raise KINDS[result.kind](result.text)
    return result.run


def read_result(order: Order, ended: str) -> Result:
    """Return the result that an ended job has left, and remove its file.

    ended: how the job ended, for the message. Raises StageError for a job that has left none.
    """
    path = Path(order.result)
    try:
        result = msgspec.json.decode(path.read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        raise StageError(f"the training of model '{order.model}' {ended} and without a result") from None
    path.unlink()
    return result
