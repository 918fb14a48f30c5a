"""What doctor finds, in the child process of `child_reader.py`."""

from __future__ import annotations

from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.doctor import Finding, examine


def findings(workspace: Workspace, environment: str) -> list[Finding]:
    """Return everything that doctor looked at."""
    return examine(workspace.project.folder, environment)
