"""The decisions that wait for a person."""

from __future__ import annotations

from trimtab.records.control import Decision, Resolution
from trimtab.stores.metadata.contract import Metadata

ESCALATE = "escalate"
"""Step of a review's workflow: it has waited too long. It is the controller's, so it does not show that the workflow
has begun."""


NO_SEARCH = "nothing_to_tune"
"""Brake on a prompt that no search may change."""


def proposes_retraining(decision: Decision) -> bool:
    """Return True if a review proposes a retraining, which it does when the matrix asks for one.

    A review of a window that is only unusual by itself, of a limit that was broken where nothing could be restored, or
    of a prompt that no search may change, only asks a person to look.
    """
    asked = decision.cell in ("review", "retrain") and decision.held_by != NO_SEARCH
    return decision.action == "review" and asked and decision.trigger != "limit"


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
