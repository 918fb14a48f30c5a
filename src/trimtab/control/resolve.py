"""Answers to reviews, by a person or by the policy; the loop then wakes the waiting workflow."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from trimtab import units
from trimtab.clock import Clock
from trimtab.control.holds import closed_until
from trimtab.control.ledger import BY
from trimtab.control.reviews import pending_reviews, proposes_retraining
from trimtab.errors import Answered, Conflict, NotFound, UsageError, nearest
from trimtab.records.control import Decision, Resolution
from trimtab.stores.metadata.contract import Metadata, latest

Answer = Literal["approve", "reject", "acknowledge"]
ANSWERS: tuple[Answer, ...] = ("approve", "reject", "acknowledge")


def resolve(
    metadata: Metadata,
    decision_id: str,
    verdict: Answer,
    reason: str,
    by: str,
    clock: Clock,
) -> Resolution:
    """Write the answer to a decision that waits for review, once.

    Raises UsageError for an unknown decision, one that asks for no review, an unknown verdict, or an empty reason or
    name; Answered for a decision that has an answer.
    """
    if verdict not in ANSWERS:
        raise UsageError(f"'{verdict}' is no verdict.{nearest(verdict, ANSWERS)}")
    for value, what in ((reason, "reason"), (by, "name of who decides")):
        if not value.strip():
            raise UsageError(f"{verdict} of '{decision_id}' needs a {what}: it stands in the record of decisions")
    decision = answerable(metadata, decision_id, verdict)
    resolution = _answer(metadata, decision, verdict, reason.strip(), by.strip(), clock)
    try:
        metadata.put(resolution)
    except Conflict:  # another answer was written in between
        _refuse_second(metadata, decision_id)
        raise
    return resolution


def answerable(metadata: Metadata, decision_id: str, verdict: Answer) -> Decision:
    """Return a decision that waits for such an answer.

    Raises UsageError for an unknown decision, and one that asks for no review or another answer; Answered for one that
    has an answer.
    """
    decision = find_decision(metadata, decision_id)
    if decision.action != "review":
        raise UsageError(f"'{decision_id}' is a decision to {decision.action}; it does not wait for a person")
    if verdict == "approve" and not proposes_retraining(decision):
        raise UsageError(
            f"'{decision_id}' asks a person to look and proposes no retraining, so there is nothing to approve. "
            f"When you have looked: trimtab acknowledge {decision_id}. To retrain anyway: trimtab retrain --model "
            f"{decision.model}"
        )
    if verdict == "acknowledge" and proposes_retraining(decision):
        raise UsageError(
            f"'{decision_id}' proposes a retraining and needs an answer: trimtab approve {decision_id}, or reject"
        )
    _refuse_second(metadata, decision_id)
    return decision


def supersede(metadata: Metadata, decision: Decision, *, clock: Clock) -> None:
    """Reject, by the policy, the reviews that a retraining replaces; the workflows that wait for them end."""
    for review in pending_reviews(metadata, decision.model):
        if review.number < decision.number:
            _reject(metadata, review, f"superseded: {decision.id} retrains without waiting", clock)


def expire(metadata: Metadata, review: Decision, *, after: int, clock: Clock) -> None:
    """Reject, by the policy, a review without an answer after so long (microseconds); its workflow ends."""
    _reject(metadata, review, f"expired: no answer for {units.short(after)} (decide.reviews.expire)", clock)


def _reject(metadata: Metadata, review: Decision, reason: str, clock: Clock) -> None:
    resolution = _answer(metadata, review, "reject", reason, BY, clock)
    with suppress(Conflict):  # a person has just answered: the answer stands
        metadata.put(resolution)


def _answer(metadata: Metadata, decision: Decision, verdict: Answer, reason: str, by: str, clock: Clock) -> Resolution:
    return Resolution(
        id=f"{decision.id}/resolution",
        created_at=clock.now(),
        model=decision.model,
        decision=decision.id,
        verdict=verdict,
        reason=reason,
        by=by,
        as_of=closed_until(metadata, decision.model),
    )


def find_decision(metadata: Metadata, decision_id: str) -> Decision:
    """Return a decision by its id. Raises UsageError, which names the reviews that wait."""
    try:
        return metadata.get(Decision, decision_id)
    except NotFound as error:
        models = {d.model for d in metadata.find(Decision, action="review")}
        waiting = [d.id for model in sorted(models) for d in pending_reviews(metadata, model)]
        hint = f" Waiting for review: {', '.join(waiting)}." if waiting else " Nothing waits for review."
        raise UsageError(f"{error}{hint}") from None


def _refuse_second(metadata: Metadata, decision_id: str) -> None:
    before = latest(metadata, Resolution, decision=decision_id)
    if before is not None:
        raise Answered(
            f"'{decision_id}' was answered by {before.by} at {before.created_at:%Y-%m-%d %H:%M} UTC: {before.verdict} "
            f"({before.reason})"
        )
