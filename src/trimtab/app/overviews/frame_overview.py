"""What every page shows around its content: what waits, how fresh the data is, and whether the loop runs."""

from __future__ import annotations

from datetime import datetime

import msgspec

from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project.locks import LOOP, REPLAY, holder
from trimtab.app.project.workspace import Workspace
from trimtab.control.reviews import open_notes, pending_reviews
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest


class FrameOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a project in a few values.

    waiting: reviews without an answer. data_to: end of the latest closed window of event time. seen_at: when its report
    was written. live: a loop, a replay or a gateway runs, so new records may come. stale: why nothing new comes, with
    the command that helps; empty while all runs.
    """

    waiting: int
    data_to: datetime | None
    seen_at: datetime | None
    live: bool
    stale: str


def frame_overview(workspace: Workspace) -> FrameOverview:
    """Return what every page shows around its content."""
    metadata = workspace.metadata
    closed = [
        latest(metadata, WindowReport, model=name, stage="closed") for name in workspace.project.definitions.served
    ]
    newest = max((each for each in closed if each is not None), key=lambda each: each.end, default=None)
    judges = (holder(workspace, LOOP) or holder(workspace, REPLAY)) is not None
    answers = running_gateway(workspace.run_folder) is not None
    return FrameOverview(
        waiting=_waiting(workspace),
        data_to=None if newest is None else newest.end,
        seen_at=None if newest is None else newest.created_at,
        live=judges or answers,
        stale=_stale(workspace, judges=judges, answers=answers),
    )


def _waiting(workspace: Workspace) -> int:
    if latest(workspace.metadata, Decision, action="review") is None:
        return 0
    models = {decision.model for decision in workspace.metadata.find(Decision, action="review")}
    return sum(
        len(pending_reviews(workspace.metadata, model)) + len(open_notes(workspace.metadata, model)) for model in models
    )


def _stale(workspace: Workspace, *, judges: bool, answers: bool) -> str:
    if latest(workspace.metadata, Revision) is None:
        return ""  # nothing serves yet: the pages name the next command
    if not judges and not answers:
        return "nothing new comes: neither the loop nor the gateway is running. Start both with: trimtab up"
    return "" if judges else "nothing is judged: the loop is not running. Start it with: trimtab up"
