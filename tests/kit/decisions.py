"""Decisions as the controller writes them, for tests of what becomes of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.control.cause import Cause
from trimtab.control.decision import MATRIX_SAYS, Draft
from trimtab.control.ledger import Ledger
from trimtab.records.control import Decision, Trigger
from trimtab.testing.judged import DAY, MODEL, window_report


def decide(
    workspace: Workspace,
    action: Literal["retrain", "review", "monitor"] = "review",
    *,
    model: str = MODEL,
    start: datetime | None = None,
    trigger: Trigger = "matrix",
    held_by: str = "",
    held_until: datetime | None = None,
) -> Decision:
    """Append the decision on a severe window of high impact: a retraining, or a review that waits for a person.

    start: of the window, a day long. held_by, held_until: the brake that led to a milder action.
    """
    window = window_report(1)
    start = start or window.start
    draft = Draft(
        cause=Cause(window=msgspec.structs.replace(window, model=model, start=start, end=start + DAY), signals=()),
        band="severe",
        impact_per_day=2000.0,
        impact="high",
        cell="retrain",
        action=action,
        reasons=(f"{MATRIX_SAYS} retrain", "a test"),
        trigger=trigger,
        held_by=held_by,
        held_until=held_until,
    )
    decision = Ledger(workspace.metadata, model).append(draft, clock=workspace.clock)
    assert decision is not None
    return decision
