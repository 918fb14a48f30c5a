"""Which decisions wait for a person. Called by faces, by the history of decisions and by the controller."""

from __future__ import annotations

from trimtab.records import Decision, Resolution
from trimtab.stores.metadata import Metadata

PROPOSAL_P = 0.05
"""A review proposes a retraining when drift is at least moderate (p_seq below this) ..."""


def proposes_retraining(decision: Decision) -> bool:
    """Tell whether a review asks for leave to retrain; other reviews only ask a person to look.

    It does when the sequential p-value is below 0.05 and the impact is medium or high.
    """
    return decision.action == "review" and decision.p_seq < PROPOSAL_P and decision.impact != "low"


def pending_reviews(metadata: Metadata, model: str) -> tuple[Decision, ...]:
    """Return the decisions that propose a retraining and have no answer, oldest first."""
    answered = {resolution.decision for resolution in metadata.find(Resolution, model=model)}
    reviews = metadata.find(Decision, oldest_first=True, model=model, action="review")
    return tuple(d for d in reviews if proposes_retraining(d) and d.id not in answered)
