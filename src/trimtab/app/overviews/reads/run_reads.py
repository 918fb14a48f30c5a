"""Reads of runs that need models or MLflow, in the child process of `child_reader.py`."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.found_run import find_run
from trimtab.app.runs.listing import list_runs
from trimtab.app.runs.run_diff import RunDiff, diff_runs
from trimtab.app.runs.run_rows import RunPage
from trimtab.errors import NotFound


def run_page(
    workspace: Workspace, models: Sequence[str], where: str, sort: str, before: str | None, limit: int | None
) -> RunPage:
    """Return the rows that come after the run `before`. Raises as `list_runs`, and NotFound for another run."""
    rows = list_runs(workspace, *models, where=where, sort=sort)
    start = 0
    if before is not None:
        start = next((place + 1 for place, row in enumerate(rows) if row.id == before), 0)
        if not start:
            raise NotFound(f"the list has no run '{before}', after which the page begins; take the first page")
    return RunPage(rows=tuple(rows[start:] if limit is None else rows[start : start + limit]), found=len(rows))


def run_diff(workspace: Workspace, a: str, b: str) -> RunDiff:
    """Return two runs compared, on the same rows too. Raises as `find_run` and `diff_runs`."""
    return diff_runs(workspace, find_run(workspace, a), find_run(workspace, b))


def run_plots(workspace: Workspace, run: str) -> Sequence[str]:
    """Return the addresses of a run's plots, as MLflow keeps them."""
    return open_tracking(workspace).plots(run)
