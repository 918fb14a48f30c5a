"""Trains in a process of its own: `python -m trimtab.app.loop.training_process`, its order on standard input.

So a training that hangs can be ended, and one that crashes ends nothing else. The process ends with the one that
started it: it holds the other end of the standard input.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from trimtab import units
from trimtab.app.loop.passing_failures import MayPass, may_pass
from trimtab.app.project.child_processes import TRAINING
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline
from trimtab.errors import GateRefused, StageError, TrainerFailed, TrimtabError
from trimtab.policy.model import Environment
from trimtab.records.training import DatasetVersion, Run

RESULT = "training-{model}.json"
"""In the run folder: what the process has to say at its end. One training of a model runs at a time."""
log = logging.getLogger(__name__)

KINDS = {kind.__name__: kind for kind in (MayPass, TrainerFailed, GateRefused, StageError)}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to train on, and where the result goes. It comes on standard input: an environment may hold passwords."""

    project: str
    environment: str
    """The policy's Environment as JSON."""
    model: str
    dataset: str
    key: str
    refit: str | None
    """Id of a run that passed its gates, to be fitted again on all rows; None trains."""
    result: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The id of the run, or the error that ended the training."""

    run: str | None = None
    outcome: str = ""
    """Of a refit: what was done."""
    kind: str = ""
    """Name of an error in KINDS."""
    text: str = ""


def train_apart(workspace: Workspace, model: str, dataset: str, *, key: str, timeout: int) -> str:
    """Train in a process of its own, and return the id of the run.

    Args:
        workspace: an open project.
        model: name of the model.
        dataset: id of the DatasetVersion.
        key: identifies the training; a finished run with the same key is returned instead of training again.
        timeout: most microseconds of wall time.

    Raises:
        StageError: the training did not end in time, or crashed.
        TrimtabError: what the training raised; MayPass when a retry may succeed.
    """
    return str(_apart(workspace, model, timeout, dataset=dataset, key=key).run)


def refit_apart(workspace: Workspace, run: Run, *, timeout: int) -> tuple[str, str]:
    """Fit on all rows in a process of its own; return the id of the run that serves, and what was done.

    Where the fit does not end in time, or crashes, the judged run serves. Raises MayPass when a retry may succeed.
    """
    try:
        result = _apart(workspace, run.model, timeout, dataset=run.dataset, key=run.key, refit=run.id)
    except MayPass:
        raise
    except StageError as error:
        log.warning("run %s: the judged model serves: %s", run.id, error)
        return run.id, f"the judged model serves: {error}"
    return str(result.run), result.outcome


def _apart(
    workspace: Workspace, model: str, timeout: int, *, dataset: str, key: str, refit: str | None = None
) -> Result:
    path = workspace.run_folder / RESULT.format(model=model)
    path.unlink(missing_ok=True)
    order = Order(
        project=str(workspace.project.folder),
        environment=workspace.environment.model_dump_json(),
        model=model,
        dataset=dataset,
        key=key,
        refit=refit,
        result=str(path),
    )
    process = subprocess.Popen(TRAINING, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        code = process.wait(timeout / units.MICROS["s"])
    except subprocess.TimeoutExpired:
        raise StageError(
            f"the training of model '{model}' did not end within {units.short(timeout)} (retrain.timeout)"
        ) from None
    finally:
        _end(process)
    return _result_of(path, code, model)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and the ones that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _result_of(path: Path, code: int, model: str) -> Result:
    """Return the result of an ended process. Raises what it has written, or an error about its exit code."""
    try:
        result = msgspec.json.decode(path.read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        text = f"the training of model '{model}' ended with exit code {code} and without a result"
        if code == -signal.SIGKILL:
            raise MayPass(f"{text}; the system may have had too little memory") from None
        raise StageError(text) from None
    path.unlink()
    if result.run is None:
        raise KINDS[result.kind](result.text)
    return result


def _train(order: Order) -> Result:
    try:
        workspace = Workspace(open_project(Path(order.project)), Environment.model_validate_json(order.environment))
        if order.refit is not None:
            serves, outcome = pipeline.refit(workspace, workspace.metadata.get(Run, order.refit))
            return Result(run=serves.id, outcome=outcome)
        dataset = workspace.metadata.get(DatasetVersion, order.dataset)
        return Result(run=pipeline.train(workspace, order.model, dataset, key=order.key).id)
    except Exception as error:  # a border: the process that waits raises it again
        kind = MayPass.__name__ if may_pass(error) else type(error).__name__
        text = str(error) if isinstance(error, TrimtabError) else f"train: {type(error).__name__}: {error}"
        return Result(kind=kind if kind in KINDS else StageError.__name__, text=text)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    received = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    write_atomically(Path(received.result), msgspec.json.encode(_train(received)))
    os._exit(0)  # libraries' threads may hang at the end of the interpreter
