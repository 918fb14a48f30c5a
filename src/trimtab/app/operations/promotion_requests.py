"""Requests to promote a bundle into an environment, and their approval. Their records are in that environment.

A request is for one bundle, by its digest, in one role. When another is asked for, it lapses together with its
approvals. The person who asks does not count among those who approve.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import msgspec

from trimtab.app.operations.actors import ROLES, Actor
from trimtab.app.project.limited_workspace import limited
from trimtab.app.project.workspace import Workspace
from trimtab.errors import ActionError, Conflict, Forbidden, NotFound, UsageError, nearest
from trimtab.policy.environments import Environment
from trimtab.records.promotions import PromotionAnswer, PromotionRequest
from trimtab.records.record import Origin, Role
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata, latest, newest_where

RequestState = Literal["waits", "approved", "rejected", "lapsed", "done"]
PromotionVerdict = Literal["approve", "reject"]


class PromotionState(msgspec.Struct, frozen=True, kw_only=True):
    """A request, what became of it, and what it still needs."""

    request: PromotionRequest
    state: RequestState
    answers: tuple[PromotionAnswer, ...]
    """Oldest first."""
    approved_by: tuple[str, ...]
    """Those whose approval counts."""
    needed: int
    """Approvals that the policy asks for."""
    approvers: tuple[str, ...]
    """Names of those who may approve; empty: all who have the role, except the one who asked."""
    role: str
    """Role that approving takes."""
    revision: int | None
    """Number of the revision that carried it out."""


def promotion_states(workspace: Workspace, model: str | None = None) -> list[PromotionState]:
    """Return all requests to promote into an environment, newest first. model: of this one alone."""
    found = workspace.metadata.find(PromotionRequest)
    shown = (each for each in found if workspace.shows(each.model) and model in (None, each.model))
    return [promotion_state(workspace, each) for each in shown]


def promotion_state(workspace: Workspace, request: PromotionRequest) -> PromotionState:
    """Return what became of a request."""
    metadata, rules = workspace.metadata, workspace.environment
    answers = tuple(metadata.find(PromotionAnswer, request=request.id, oldest_first=True))
    approved = tuple(each.by for each in answers if each.verdict == "approve" and _counts(rules, request, each))
    done = _carried_out(metadata, request)
    newest = latest(metadata, PromotionRequest, model=request.model)
    state: RequestState = "approved" if len(approved) >= rules.approvals else "waits"
    if done is not None:
        state = "done"
    elif any(each.verdict == "reject" for each in answers):
        state = "rejected"
    elif newest is not None and newest.id != request.id:
        state = "lapsed"
    return PromotionState(
        request=request,
        state=state,
        answers=answers,
        approved_by=approved,
        needed=rules.approvals,
        approvers=tuple(name for name in dict.fromkeys(rules.approvers) if name != request.by),
        role=rules.role,
        revision=None if done is None else done.number,
    )


def request_promotion(
    workspace: Workspace, actor: Actor, model: str, origin: Origin, role: Role | None, share: float | None,
    *, reason: str, again: bool = False,
) -> PromotionState:  # fmt: skip
    """Return the newest request if it is for this bundle in this role, else write one.

    Args:
        workspace: the environment that the bundle is to serve in.
        actor: who asks.
        model: name of the model.
        origin: where the bundle is.
        role: what it is to become; None: what the policy's strategy says.
        share: of a challenger's traffic; None: the policy's.
        reason: why, for the record.
        again: write a new one if that one was rejected or carried out.

    Raises:
        Forbidden: the role of the actor is below developer.
    """
    actor.require("developer", model)
    newest = latest(workspace.metadata, PromotionRequest, model=model)
    if newest is not None and (newest.digest, newest.role, newest.share) == (origin.digest, role, share):
        found = promotion_state(workspace, newest)
        if not again or found.state in ("waits", "approved"):
            return found
    number = 1 if newest is None else newest.number + 1
    made = PromotionRequest(
        id=f"{model}/promotion/{number}",
        created_at=workspace.now(),
        model=model,
        number=number,
        environment=origin.environment,
        bundle=origin.bundle,
        digest=origin.digest,
        role=role,
        share=share,
        reason=reason,
        by=actor.name,
    )
    workspace.metadata.put(made)
    return promotion_state(workspace, made)


def answer_promotion(
    workspace: Workspace, actor: Actor, request: str, verdict: PromotionVerdict, *, reason: str
) -> PromotionState:
    """Approve or reject a request; the same answer again changes nothing. Approving does not carry it out.

    Raises Forbidden for one who may not approve, the one who asked among them; UsageError for an unknown request and an
    empty reason; ActionError for a request that no longer waits.
    """
    found = find_request(workspace, actor, request)
    rules, of = workspace.environment, found.request
    actor.require(rules.role, of.model)
    if rules.approvers and actor.name not in rules.approvers:
        raise Forbidden(
            f"'{actor.name}' is not among those who may approve in {workspace.name} (environments.{workspace.name}."
            f"approvers): {', '.join(rules.approvers)}"
        )
    if actor.name == of.by and verdict == "approve":
        raise Forbidden(f"'{actor.name}' has asked for {of.id}, so another person has to approve it")
    if not reason.strip():
        raise UsageError(f"{verdict} of '{of.id}' needs a reason: it stands in the record")
    mine = [each for each in found.answers if each.by == actor.name and each.verdict == verdict]
    if mine:
        return found
    if found.state not in ("waits", "approved"):
        raise ActionError(f"{of.id} waits for no answer: {told(found)}")
    made = PromotionAnswer(
        id=f"{of.id}/{verdict}/{actor.name}",
        created_at=workspace.now(),
        model=of.model,
        request=of.id,
        verdict=verdict,
        reason=reason.strip(),
        by=actor.name,
        role=actor.role,
    )
    with suppress(Conflict):  # the same person has just answered so, for another reason
        workspace.metadata.put(made)
    return promotion_state(workspace, of)


def find_request(workspace: Workspace, actor: Actor, request: str) -> PromotionState:
    """Return a request by its id. Raises UsageError, which names the nearest."""
    seen = limited(workspace, actor.models)
    try:
        return promotion_state(workspace, seen.metadata.get(PromotionRequest, request))
    except NotFound:
        known = [each.id for each in seen.metadata.find(PromotionRequest)]
        raise UsageError(f"environment {workspace.name} has no request '{request}'.{nearest(request, known)}") from None


def told(found: PromotionState) -> str:
    """Return the state of a request in words."""
    rejected = next((each for each in found.answers if each.verdict == "reject"), None)
    if found.state == "done":
        return f"carried out by revision {found.revision}"
    if found.state == "rejected" and rejected is not None:
        return f"rejected by {rejected.by}: {rejected.reason}"
    if found.state == "lapsed":
        return "lapsed, since another one was asked for"
    who = f" ({', '.join(found.approved_by)})" if found.approved_by else ""
    return f"{len(found.approved_by)} of {found.needed} approvals{who}"


def may_approve(found: PromotionState) -> str:
    """Return who may approve a request, in words."""
    asked = found.request.by
    if found.approvers:
        return f"{', '.join(found.approvers)}, with the role {found.role}"
    return f"all who have the role {found.role}, except {asked}, who asked"


def _counts(rules: Environment, request: PromotionRequest, answer: PromotionAnswer) -> bool:
    """Return True for an approval that the policy takes as it is now."""
    named = not rules.approvers or answer.by in rules.approvers
    return named and answer.by != request.by and ROLES.index(answer.role) >= ROLES.index(rules.role)


def _carried_out(metadata: Metadata, request: PromotionRequest) -> Revision | None:
    """Return the revision by which the bundle of a request came into service."""
    return newest_where(
        metadata, Revision, lambda r: r.origin is not None and r.origin.request == request.id, model=request.model
    )
