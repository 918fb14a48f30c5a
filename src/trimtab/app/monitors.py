"""Opens the monitor of a project: hands it the log, the policy and the bundles' references."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from trimtab.app.stages import REFERENCE
from trimtab.app.workspace import Workspace
from trimtab.errors import NotFound
from trimtab.monitoring import Monitor, Reference
from trimtab.records import Bundle

BOOKMARK = "monitor.json"
"""Tells the next monitor from where in the prediction log to read."""


def open_monitor(workspace: Workspace) -> Monitor:
    """Return the monitor of all models of a project."""
    return Monitor(
        workspace.metadata,
        workspace.predictions,
        workspace.project.policy,
        references(workspace),
        workspace.clock,
        bookmark=workspace.run_folder / BOOKMARK,
    )


def references(workspace: Workspace) -> Callable[[str, int], Reference | None]:
    """Return a function that gives the reference in the bundle of a model's version, or None without one."""

    @cache
    def find(model: str, version: int) -> Reference | None:
        try:
            bundle = workspace.metadata.get(Bundle, f"{model}/{version}")
            path = workspace.artifacts.open(bundle.path) / REFERENCE
        except NotFound:
            return None
        return Reference.from_json(path.read_bytes()) if path.is_file() else None

    return find
