"""Answers reviews during a replay, in the place of the person who would be at the desk."""

from __future__ import annotations

from trimtab.app.project.workspace import Workspace
from trimtab.control.resolve import resolve
from trimtab.control.reviews import pending_reviews

WHO = "replay"
REASON = "approved by the replay's --approve, in the place of a person"


class Reviewer:
    """Approves what waits for review."""

    def __init__(self, workspace: Workspace, model: str) -> None:
        self._workspace = workspace
        self._model = model

    def step(self) -> int:
        """Approve all open reviews that propose a retraining; return how many."""
        metadata, clock = self._workspace.metadata, self._workspace.clock
        pending = pending_reviews(metadata, self._model)
        for decision in pending:
            resolve(metadata, decision.id, "approve", reason=REASON, by=WHO, clock=clock)
        return len(pending)
