"""What changes something: answers, retrainings, what serves, freezes, suspected rows.

Each takes a reason, and calls the function that the command calls. The header Idempotency-Key makes a repeated request
one change; If-Match, the number of the revision that was seen, refuses a change of another one.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.background import BackgroundTask

from trimtab import units
from trimtab.app.operations import freezing, rollout_orders
from trimtab.app.operations.answers import answer
from trimtab.app.operations.own_process import follow_aliases, order_restoring
from trimtab.console.access import Visit, Visitor
from trimtab.console.changes import Change, ForcedChange, Key, Seen
from trimtab.console.documents import document, time_of
from trimtab.control.resolve import Answer
from trimtab.errors import UsageError
from trimtab.records.serving import Revision

pages, api = APIRouter(), APIRouter(tags=["changes"])


class Resolving(ForcedChange):
    """An answer to a decision."""

    verdict: Answer


class Stepping(ForcedChange):
    """The next share of the challenger."""

    share: str | None = Field(default=None, description="Such as 25%; the next one of canary.steps by default.")


class RollingBack(Change):
    """A way back."""

    to: int | None = Field(default=None, description="Number of the revision to restore; the one before by default.")


class Freezing(Change):
    """The start of a freeze."""

    until: str | None = Field(default=None, description="Event time at which it ends by itself.")


class Holding(Change):
    """A stretch of event time."""

    start: str
    end: str | None = None


@api.post("/models/{model}/decisions/{number}/resolution")
def resolution(visit: Visitor, model: str, number: int, asked: Resolving, key: Key = None) -> Response:
    """Answer a decision that waits for a person. Takes an approver."""
    found = answer(
        visit.workspace,
        visit.actor,
        f"{model}/decision/{number}",
        asked.verdict,
        reason=asked.reason,
        key=key,
        force=asked.force,
    )
    return document(found)


@api.post("/models/{model}/retrain")
def retrain(visit: Visitor, model: str, asked: Change, key: Key = None) -> Response:
    """Ask the loop for a retraining; it answers by a decision. Takes a developer; below approver the budget holds."""
    return document(rollout_orders.ask_retraining(visit.workspace, visit.actor, model, reason=asked.reason, key=key))


@api.post("/models/{model}/promote")
def promote(visit: Visitor, model: str, asked: ForcedChange, seen: Seen, key: Key = None) -> Response:
    """Make the challenger, without one the shadow, champion. Takes an approver."""
    name = visit.workspace.served(model).name
    found = rollout_orders.promote(
        visit.workspace, visit.actor, name, reason=asked.reason, key=key, seen=seen, force=asked.force
    )
    return changed(visit, found)


@api.post("/models/{model}/abandon")
def abandon(visit: Visitor, model: str, asked: Change, seen: Seen, key: Key = None) -> Response:
    """Take the challenger, without one the shadow, out of service. Takes an approver."""
    name = visit.workspace.served(model).name
    return changed(
        visit, rollout_orders.abandon(visit.workspace, visit.actor, name, reason=asked.reason, key=key, seen=seen)
    )


@api.post("/models/{model}/rollback")
def rollback(visit: Visitor, model: str, asked: RollingBack, seen: Seen, key: Key = None) -> Response:
    """Restore what served before, or a revision. Takes an approver."""
    name = visit.workspace.served(model).name
    who = (visit.workspace, visit.actor, name)
    if asked.to is None:
        return changed(visit, rollout_orders.rollback(*who, reason=asked.reason, key=key, seen=seen))
    return changed(visit, order_restoring(*who, asked.to, reason=asked.reason, key=key, seen=seen))


@api.post("/models/{model}/step")
def step(visit: Visitor, model: str, asked: Stepping, seen: Seen, key: Key = None) -> Response:
    """Give the challenger another share of the traffic. Takes an approver."""
    try:
        share = None if asked.share is None else units.share(asked.share)
    except ValueError as error:
        raise UsageError(f"share: {error}") from None
    name = visit.workspace.served(model).name
    found = rollout_orders.step(
        visit.workspace, visit.actor, name, reason=asked.reason, key=key, seen=seen, share=share, force=asked.force
    )
    return changed(visit, found)


@api.post("/freeze")
def freeze_all(visit: Visitor, asked: Freezing) -> Response:
    """Let no model be retrained or promoted. Takes an approver of all models."""
    return _freeze(visit, None, asked)


@api.post("/models/{model}/freeze")
def freeze(visit: Visitor, model: str, asked: Freezing) -> Response:
    """Let a model neither be retrained nor promoted. Takes an approver."""
    return _freeze(visit, model, asked)


@api.post("/unfreeze")
def unfreeze_all(visit: Visitor, asked: Change) -> Response:
    """End a freeze of all models. Takes an approver of all models."""
    return document(freezing.unfreeze(visit.workspace, visit.actor, None, reason=asked.reason))


@api.post("/models/{model}/unfreeze")
def unfreeze(visit: Visitor, model: str, asked: Change) -> Response:
    """End a freeze of a model. Takes an approver."""
    return document(freezing.unfreeze(visit.workspace, visit.actor, model, reason=asked.reason))


@api.post("/models/{model}/suspects/let-in")
def let_in(visit: Visitor, model: str, asked: Holding) -> Response:
    """Use suspected rows again. Takes a developer."""
    start, end = _time("start", asked.start), time_of("end", asked.end)
    name = visit.workspace.served(model).name
    return document(freezing.let_in(visit.workspace, visit.actor, name, start, end, reason=asked.reason))


@api.post("/models/{model}/suspects/hold")
def hold(visit: Visitor, model: str, asked: Holding) -> Response:
    """Hold rows until they are let in. Takes a developer."""
    start, end = _time("start", asked.start), _time("end", asked.end)
    name = visit.workspace.served(model).name
    return document(freezing.hold(visit.workspace, visit.actor, name, start, end, reason=asked.reason))


def changed(visit: Visit, revision: Revision) -> Response:
    """Return a revision; the aliases of the registry follow after the answer."""
    answered = document(revision)
    answered.background = BackgroundTask(follow_aliases, visit.workspace, revision.model)
    return answered


def _freeze(visit: Visit, model: str | None, asked: Freezing) -> Response:
    until = time_of("until", asked.until)
    return document(freezing.freeze(visit.workspace, visit.actor, model, reason=asked.reason, until=until))


def _time(name: str, text: str | None) -> datetime:
    found = time_of(name, text)
    if found is None:
        raise UsageError(f"{name} is missing; expected a time such as 2013-03-01T05:00Z")
    return found
