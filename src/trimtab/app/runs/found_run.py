"""Finds the run or training set that a person names: by its id or the start of it; a run by a bundle or a role, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, get_args

from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.errors import NotFound, UsageError, nearest
from trimtab.records.record import Record, Role
from trimtab.records.training import Bundle, DatasetVersion, Run

ROLES: tuple[Role, ...] = get_args(Role)
SHOWN = 4

R = TypeVar("R", bound=Record)


def find_run(workspace: Workspace, name: str, model: str | None = None) -> Run:
    """Return a run.

    Args:
        workspace: an open project.
        name: id of a run or the start of one, id of a bundle such as `delay/3`, or a role such as `champion`.
        model: the model of a role; None: the project's only one.

    Raises:
        NotFound: there is no such run.
        UsageError: several runs begin so.
    """
    role = next((role for role in ROLES if role == name), None)
    if role is not None:
        return _in_role(workspace, role, model)
    if "/" in name:
        bundle = next((found for found in workspace.metadata.find(Bundle) if found.id == name), None)
        if bundle is None:
            ids = [found.id for found in workspace.metadata.find(Bundle)]
            raise NotFound(f"no bundle '{name}'.{nearest(name, ids) or ' None is registered'}")
        return served(workspace, bundle)
    runs = workspace.metadata.find(Run) if model is None else workspace.metadata.find(Run, model=model)
    return _by_start(runs, name, "run", "all of them: trimtab runs")


def find_dataset(workspace: Workspace, name: str, model: str) -> DatasetVersion:
    """Return the training set of a model by its id or the start of it. Raises as `find_run`."""
    known = workspace.metadata.find(DatasetVersion, model=model)
    ids = ", ".join(dataset.id[:12] for dataset in known[:SHOWN]) or "none: trimtab features"
    return _by_start(known, name, "training set", f"the newest ones: {ids}")


def _by_start(records: Sequence[R], name: str, what: str, else_: str) -> R:
    """Return the record whose id begins with `name`."""
    found = [record for record in records if record.id.startswith(name)] if name else []
    if len(found) > 1:
        shown = ", ".join(record.id[: len(name) + 4] for record in found[:SHOWN])
        raise UsageError(f"{len(found)} {what}s begin with '{name}': {shown}{', ...' if len(found) > SHOWN else ''}")
    if not found:
        raise NotFound(f"no {what} '{name}'; {else_}")
    return found[0]


def served(workspace: Workspace, bundle: Bundle) -> Run:
    """Return the run whose model serves in a bundle."""
    return workspace.metadata.get(Run, bundle.refit or bundle.run)


def judged_run(workspace: Workspace, run: Run) -> Run:
    """Return the run that the gates judged: of a fit on all rows the one before it, else the run itself."""
    return run if run.refit_of is None else workspace.metadata.get(Run, run.refit_of)


def _in_role(workspace: Workspace, role: Role, model: str | None) -> Run:
    name = workspace.served(model).name
    revision = open_rollouts(workspace, name).current()
    bundle = revision.bundle_in(role) if revision else None
    if bundle is None:
        raise NotFound(f"model '{name}' has no {role} in service")
    return served(workspace, workspace.metadata.get(Bundle, bundle))
