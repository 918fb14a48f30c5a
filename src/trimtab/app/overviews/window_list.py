"""The windows of a model as pages and as rows of a file, with what was decided about each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from trimtab.app.overviews.model_windows import TimeRange
from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound, UsageError
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Action, Level, Role
from trimtab.stores.metadata.contract import Between

PAGE = 50
MOST = 1000
"""Windows of one page at most."""

Stage = Literal["closed", "matured", "guarded"]


class WindowFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which windows are wanted; None means any. stage: by default the matured ones, which are judged."""

    range: TimeRange = TimeRange()
    version: int | None = None
    role: Role | None = None
    stage: Stage | None = "matured"

    def conditions(self, model: str) -> dict[str, Any]:
        """Return what the metadata store is asked for."""
        given = {"version": self.version, "role": self.role, "stage": self.stage}
        return {"model": model, "start": self.range.condition, **{k: v for k, v in given.items() if v is not None}}


class ListedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window with the decision about it; the decision's fields are None where there is none."""

    id: str
    model: str
    version: int
    role: Role
    stage: Stage
    start: datetime
    end: datetime
    rows: int
    labelled: int
    coverage: float
    metrics: dict[str, float]
    decision: int | None
    band: str | None
    p_seq: float | None
    impact: Level | None
    impact_per_day: float | None
    cell: Action | None
    action: Action | None


class WindowPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of windows, the last written first. after: what the next page is asked for with; None at the end."""

    windows: tuple[ListedWindow, ...]
    total: int
    after: str | None


def window_page(
    workspace: Workspace, model: str, wanted: WindowFilter, *, after: str | None = None, limit: int = PAGE
) -> WindowPage:
    """Return one page of windows.

    Args:
        workspace: an open project.
        model: name of a model.
        wanted: which windows.
        after: `after` of the page before.
        limit: windows of a page, up to MOST.

    Raises:
        NotFound: no window has the id `after`, or there is no such model.
        UsageError: the limit is less than 1 or more than MOST.
    """
    if not 1 <= limit <= MOST:
        raise UsageError(f"limit: {limit}; expected 1 to {MOST}")
    name = known_model(workspace, model)
    where = wanted.conditions(name)
    found = workspace.metadata.find(WindowReport, limit=limit + 1, before=after, **where)
    return WindowPage(
        windows=tuple(_listed(workspace, found[:limit])),
        total=workspace.metadata.count(WindowReport, **where),
        after=found[limit - 1].id if len(found) > limit else None,
    )


def all_windows(workspace: Workspace, model: str, wanted: WindowFilter) -> Iterator[ListedWindow]:
    """Yield all windows that match, the last written first; they are read page by page."""
    after: str | None = None
    while True:
        page = window_page(workspace, model, wanted, after=after, limit=MOST)
        yield from page.windows
        if page.after is None:
            return
        after = page.after


def known_model(workspace: Workspace, name: str) -> str:
    """Return the name of a model. Raises NotFound, which names the models there are."""
    models = workspace.project.definitions.served
    if name not in models:
        raise NotFound(f"there is no model '{name}'; the models are {', '.join(sorted(models)) or 'none'}")
    return name


def _listed(workspace: Workspace, reports: Sequence[WindowReport]) -> list[ListedWindow]:
    if not reports:
        return []
    stretch = Between(min(r.start for r in reports), max(r.end for r in reports))
    decided = {d.window: d for d in workspace.metadata.find(Decision, model=reports[0].model, start=stretch)}
    return [_row(report, decided.get(report.id)) for report in reports]


def _row(report: WindowReport, decision: Decision | None) -> ListedWindow:
    return ListedWindow(
        id=report.id,
        model=report.model,
        version=report.version,
        role=report.role,
        stage=report.stage,
        start=report.start,
        end=report.end,
        rows=report.rows,
        labelled=report.labelled,
        coverage=report.coverage,
        metrics=report.metrics,
        decision=None if decision is None else decision.number,
        band=None if decision is None else decision.band,
        p_seq=None if decision is None else decision.p_seq,
        impact=None if decision is None else decision.impact,
        impact_per_day=None if decision is None else decision.impact_per_day,
        cell=None if decision is None else decision.cell,
        action=None if decision is None else decision.action,
    )
