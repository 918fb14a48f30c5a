"""What changes something: answers, retrainings, what serves, freezes, suspected and refused rows, tokens.

Each takes a reason, and calls the function that the command calls. The header Idempotency-Key makes a repeated request
one change; If-Match, the number of the revision that was seen, refuses a change of another one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.background import BackgroundTask

from trimtab import units
from trimtab.app.gateway.tokens import USUAL_PERMISSIONS
from trimtab.app.operations import freezing, rollout_orders
from trimtab.app.operations.answers import answer
from trimtab.app.operations.own_process import follow_aliases, order_restoring, order_rows
from trimtab.app.operations.token_orders import create_token, revoke_token
from trimtab.console.access import Visit, Visitor
from trimtab.console.documents import document, time_of
from trimtab.control.resolve import Answer
from trimtab.errors import UsageError
from trimtab.records.record import ActorRole
from trimtab.records.serving import Revision

pages, api = APIRouter(), APIRouter(tags=["changes"])

SHORTEST_REASON = 10
"""Characters."""
LONGEST_REASON = 2000
KEY = r"^[\w.:-]{1,100}$"


class Change(BaseModel):
    """What every change says."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=SHORTEST_REASON, max_length=LONGEST_REASON)
    ] = Field(description="Why, for the record: 10 characters or more.")


class ForcedChange(Change):
    """A change that a freeze holds back."""

    force: bool = Field(default=False, description="Also while the model is frozen.")


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


class RowsChange(ForcedChange):
    """Refused rows."""

    rows: list[int] = Field(default=[], description="Numbers in the batch; all that are held by default.")


class NewToken(Change):
    """A token."""

    name: str
    role: ActorRole | None = None
    models: list[str] = Field(default=[], description="Empty for all.")
    verbs: list[str] = list(USUAL_PERMISSIONS)
    expires: str | None = Field(default=None, description="Duration such as 90d; never by default.")


Key = Annotated[str | None, Header(alias="idempotency-key", pattern=KEY)]


def _seen(if_match: Annotated[str | None, Header()] = None) -> int | None:
    """Return the number of the revision that was seen. Raises UsageError."""
    if not if_match or if_match == "*":
        return None
    text = if_match.removeprefix("W/").strip('"')
    if not text.isdecimal():
        raise UsageError(f'If-Match: {if_match:.50} is no number of a revision; expected such as "7"')
    return int(text)


Seen = Annotated[int | None, Depends(_seen)]


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
    name = visit.workspace.model(model).name
    found = rollout_orders.promote(
        visit.workspace, visit.actor, name, reason=asked.reason, key=key, seen=seen, force=asked.force
    )
    return _changed(visit, found)


@api.post("/models/{model}/abandon")
def abandon(visit: Visitor, model: str, asked: Change, seen: Seen, key: Key = None) -> Response:
    """Take the challenger, without one the shadow, out of service. Takes an approver."""
    name = visit.workspace.model(model).name
    return _changed(
        visit, rollout_orders.abandon(visit.workspace, visit.actor, name, reason=asked.reason, key=key, seen=seen)
    )


@api.post("/models/{model}/rollback")
def rollback(visit: Visitor, model: str, asked: RollingBack, seen: Seen, key: Key = None) -> Response:
    """Restore what served before, or a revision. Takes an approver."""
    name = visit.workspace.model(model).name
    who = (visit.workspace, visit.actor, name)
    if asked.to is None:
        return _changed(visit, rollout_orders.rollback(*who, reason=asked.reason, key=key, seen=seen))
    return _changed(visit, order_restoring(*who, asked.to, reason=asked.reason, key=key, seen=seen))


@api.post("/models/{model}/step")
def step(visit: Visitor, model: str, asked: Stepping, seen: Seen, key: Key = None) -> Response:
    """Give the challenger another share of the traffic. Takes an approver."""
    try:
        share = None if asked.share is None else units.share(asked.share)
    except ValueError as error:
        raise UsageError(f"share: {error}") from None
    name = visit.workspace.model(model).name
    found = rollout_orders.step(
        visit.workspace, visit.actor, name, reason=asked.reason, key=key, seen=seen, share=share, force=asked.force
    )
    return _changed(visit, found)


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
    name = visit.workspace.model(model).name
    return document(freezing.let_in(visit.workspace, visit.actor, name, start, end, reason=asked.reason))


@api.post("/models/{model}/suspects/hold")
def hold(visit: Visitor, model: str, asked: Holding) -> Response:
    """Hold rows until they are let in. Takes a developer."""
    start, end = _time("start", asked.start), _time("end", asked.end)
    name = visit.workspace.model(model).name
    return document(freezing.hold(visit.workspace, visit.actor, name, start, end, reason=asked.reason))


@api.post("/quarantine/{batch}/{verb}")
def quarantine(
    visit: Visitor, batch: str, verb: Literal["release", "drop"], asked: RowsChange, key: Key = None
) -> Response:
    """Release refused rows of a batch into their table, or drop them. Takes a developer."""
    found = order_rows(
        visit.workspace, visit.actor, verb, batch, rows=asked.rows, reason=asked.reason, key=key, force=asked.force
    )
    return document(found)


@api.post("/tokens")
def token(visit: Visitor, asked: NewToken) -> Response:
    """Make a token; its secret is in the answer and nowhere else. Takes an admin."""
    try:
        expires_in = None if asked.expires is None else units.duration(asked.expires)
    except ValueError as error:
        raise UsageError(f"expires: {error}") from None
    made, secret = create_token(
        visit.workspace,
        visit.actor,
        asked.name,
        reason=asked.reason,
        models=asked.models,
        verbs=asked.verbs,
        expires_in=expires_in,
        role=asked.role,
    )
    return document({"token": made, "secret": secret})


@api.post("/tokens/{name}/revocation")
def revocation(visit: Visitor, name: str, asked: Change) -> Response:
    """End a token. Takes an admin."""
    return document(revoke_token(visit.workspace, visit.actor, name, reason=asked.reason))


def _changed(visit: Visit, revision: Revision) -> Response:
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
