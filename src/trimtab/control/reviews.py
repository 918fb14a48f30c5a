"""The decisions that wait for a person."""

from __future__ import annotations

from trimtab.records.control import Decision, Resolution
from trimtab.stores.metadata.contract import Metadata

ESCALATE = "escalate"
"""Step of a review's workflow: it has waited too long. It is the controller's, so it does not show that the workflow
has begun."""


def proposes_retraining(decision: Decision) -> bool:
    """Return True if a review proposes a retraining, which it does when the matrix asks for one.

    A review of a window that is only unusual by itself, or of a limit that was broken where nothing could be restored,
    only asks a person to look.
    """
    return decision.action == "review" and decision.cell in ("review", "retrain") and decision.trigger != "limit"


def pending_reviews(metadata: Metadata, model: str) -> tuple[Decision, ...]:
    """Return the decisions that propose a retraining and have no answer, oldest first."""
    answered = {resolution.decision for resolution in metadata.find(Resolution, model=model)}
    reviews = metadata.find(Decision, oldest_first=True, model=model, action="review")
    return tuple(d for d in reviews if proposes_retraining(d) and d.id not in answered)


def open_notes(metadata: Metadata, model: str) -> tuple[Decision, ...]:
    """Return the reviews that only ask a person to look and are not acknowledged, oldest first."""
    answered = {resolution.decision for resolution in metadata.find(Resolution, model=model)}
    reviews = metadata.find(Decision, oldest_first=True, model=model, action="review")
    return tuple(d for d in reviews if not proposes_retraining(d) and d.id not in answered)
