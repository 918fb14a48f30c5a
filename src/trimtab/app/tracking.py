"""Opens MLflow for a project: tracking for trainers, the registry for rollouts."""

from __future__ import annotations

from trimtab import settings
from trimtab.app.workspace import Workspace
from trimtab.records import Revision
from trimtab.training import Registry, Tracking, Workbench

ALIASES = ("champion", "challenger")


def open_tracking(workspace: Workspace) -> Tracking:
    """Return the project's experiments and runs."""
    return Tracking(
        workspace.tracking_uri,
        project=workspace.project.policy.project,
        artifacts=workspace.root / "mlflow",
        cache=settings.read().cache.expanduser(),
        clock=workspace.clock,
    )


def open_workbench(workspace: Workspace) -> Workbench:
    """Return what all trainings of the project share."""
    return Workbench(
        tracking=open_tracking(workspace),
        artifacts=workspace.artifacts,
        project=workspace.project.folder,
        prices=workspace.project.policy.prices,
        clock=workspace.clock,
    )


def open_registry(workspace: Workspace) -> Registry:
    """Return the project's registered models."""
    return Registry(open_tracking(workspace).client, project=workspace.project.policy.project)


def set_aliases(workspace: Workspace, revision: Revision) -> None:
    """Make the registry's aliases say what a revision says."""
    registry = open_registry(workspace)
    for alias in ALIASES:
        version = next((a.version for a in revision.assignments if a.role == alias), None)
        if version is None:
            registry.remove_alias(revision.model, alias)
        else:
            registry.set_alias(revision.model, alias, version)
