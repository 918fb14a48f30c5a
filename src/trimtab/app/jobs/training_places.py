"""Trains where policy `training.on` says. Each place runs the same order, and leaves the same records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from trimtab.app.jobs.container_jobs import in_cluster, in_container
from trimtab.app.jobs.job_files import write_job_files
from trimtab.app.jobs.job_order import Order, Result, new_order, run_of
from trimtab.app.jobs.passing_failures import MayPass
from trimtab.app.jobs.ray_cluster import on_ray
from trimtab.app.jobs.training_process import run_in_process
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline
from trimtab.errors import StageError
from trimtab.policy.model import Training
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.serving.processes.memory_limit import free_bytes
from trimtab.stores.metadata.contract import latest

Place = Callable[[Order, int | None], Result]
"""Runs an order, for at most so many microseconds. Raises StageError, or MayPass when a retry may succeed."""

log = logging.getLogger(__name__)


def train(
    workspace: Workspace, model: str, dataset: DatasetVersion, *, key: str | None = None, timeout: int | None = None
) -> Run:
    """Train where the policy says; a finished run with the same key is returned instead of training again.

    timeout: most microseconds of wall time; with it no training runs in this process. Raises StageError for a training
    that did not end in time, or crashed; MayPass when a retry may succeed; and what the training raised.
    """
    place = _place(workspace, timeout)
    if place is None:
        return pipeline.train(workspace, model, dataset, key=key)
    order = new_order(workspace, model, dataset.id, key=key, refit=None, memory=_memory(workspace))
    return workspace.metadata.get(Run, run_of(place(order, timeout)))


def refit(workspace: Workspace, run: Run, *, timeout: int | None = None) -> tuple[Run, str]:
    """Fit on all rows where the policy says; return the run that serves, and what was done.

    Where the fit does not end in time, or crashes, the judged run serves. Raises MayPass when a retry may succeed.
    """
    place = _place(workspace, timeout)
    if place is None or workspace.project.policy.training.refit == "never":
        return pipeline.refit(workspace, run)
    order = new_order(workspace, run.model, run.dataset, key=run.key, refit=run.id, memory=_memory(workspace))
    try:
        result = place(order, timeout)
        return workspace.metadata.get(Run, run_of(result)), result.outcome
    except MayPass:
        raise
    except StageError as error:
        log.warning("run %s: the judged model serves: %s", run.id, error)
        return run, f"the judged model serves: {error}"


def register(workspace: Workspace, run: Run, report: GateReport) -> Bundle:
    """Fit a run that passed its gates again where the policy says, and register its bundle. Raises GateRefused."""
    pipeline.refuse(report)
    known = latest(workspace.metadata, Bundle, run=run.id)
    return pipeline.register(workspace, run, report, serves=None if known else refit(workspace, run)[0])


def write_files(workspace: Workspace, model: str, dataset: DatasetVersion, folder: Path) -> None:
    """Write the Dockerfile and the Kubernetes Job of a training into a folder; nothing is trained."""
    policy = workspace.project.policy
    order = new_order(workspace, model, dataset.id, key=None, refit=None, memory=policy.training.memory)
    write_job_files(folder, order, policy.training, timeout=policy.retrain.timeout)


def _place(workspace: Workspace, timeout: int | None) -> Place | None:
    """Return the place; None for this process."""
    training = workspace.project.policy.training
    if training.on == "process":
        return None if timeout is None else run_in_process
    return PLACES[training.on](training)


def _memory(workspace: Workspace) -> int | None:
    training = workspace.project.policy.training
    if training.on == "process":
        return None
    return training.memory or (free_bytes() if training.on == "subprocess" else None)


PLACES: dict[str, Callable[[Training], Place]] = {
    "subprocess": lambda training: run_in_process,
    "container": in_container,
    "kubernetes": in_cluster,
    "ray": on_ray,
}
"""Word of the policy -> the place, made from its section `training`."""
