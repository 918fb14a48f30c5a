"""Changes of what serves, and retrainings, that people ask for."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.clock import to_micros
from trimtab.control.retrain_requests import request_retraining
from trimtab.errors import Conflict
from trimtab.records.control import RetrainRequest
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest

Change = Callable[[Rollouts, str], Revision]
"""Makes the change, with its cause."""


def step(
    workspace: Workspace,
    actor: Actor,
    model: str,
    *,
    reason: str,
    key: str | None = None,
    seen: int | None = None,
    share: float | None = None,
    force: bool = False,
) -> Revision:
    """Give the challenger its next share of the traffic, or this one (between 0 and 1). The rest as `promote`."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.step(cause=cause, reason=reason, by=actor.name, share=share)

    return order_change(workspace, actor, model, "step", change, key=key, seen=seen, force=force)


def promote(
    workspace: Workspace,
    actor: Actor,
    model: str,
    *,
    reason: str,
    key: str | None = None,
    seen: int | None = None,
    force: bool = False,
) -> Revision:
    """Make the challenger, without one the shadow, champion.

    Args:
        workspace: an open project.
        actor: who asks.
        model: name of the model.
        reason: why, for the record.
        key: idempotency key; a request that is repeated returns the revision of the first one.
        seen: number of the revision that the actor has seen; None to change whatever serves.
        force: also while the model is frozen.

    Raises:
        Forbidden: the role is below approver.
        Outdated: another revision came after `seen`.
        Conflict: without `seen`, another revision came at the same time.
        ActionError: the model is frozen, or there is nothing to change.
    """

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.promote(cause=cause, reason=reason, by=actor.name)

    return order_change(workspace, actor, model, "promote", change, key=key, seen=seen, force=force)


def abandon(
    workspace: Workspace, actor: Actor, model: str, *, reason: str, key: str | None = None, seen: int | None = None
) -> Revision:
    """Take the challenger, without one the shadow, out of service; a freeze does not hold it. The rest as `promote`."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.abandon(cause=cause, reason=reason, by=actor.name)

    return order_change(workspace, actor, model, "abandon", change, key=key, seen=seen, force=True)


def rollback(
    workspace: Workspace, actor: Actor, model: str, *, reason: str, key: str | None = None, seen: int | None = None
) -> Revision:
    """Restore the champion before, whose features are kept up to date; a freeze does not hold it. The rest as
    `promote`."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.rollback(cause=cause, reason=reason, by=actor.name)

    return order_change(workspace, actor, model, "rollback", change, key=key, seen=seen, force=True)


def ask_retraining(
    workspace: Workspace, actor: Actor, model: str, *, reason: str, key: str | None = None
) -> RetrainRequest:
    """Write a request to retrain, which the running loop answers by a decision.

    The budget of the policy holds for the request of a developer, so a person may then have to approve the decision;
    an approver may exceed it. key: as of `promote`. Raises Forbidden below developer, and UsageError as
    `request_retraining`.
    """
    actor.require("developer", model)
    now = workspace.now()
    return request_retraining(
        workspace.metadata,
        workspace.model(model).name,
        key=key or f"{actor.name}.{to_micros(now)}",
        source="command" if actor.may("approver", model) else "api",
        reason=reason,
        by=actor.name,
        at=now,
    )


def order_change(
    workspace: Workspace,
    actor: Actor,
    model: str,
    what: str,
    change: Change,
    *,
    key: str | None,
    seen: int | None,
    force: bool,
) -> Revision:
    """Make a change once for each key, without a key once for each revision that it changes. Raises as `promote`."""
    actor.require("approver", model)
    rollouts = open_rollouts(workspace, model, seen=seen)
    now = rollouts.current()
    number = now.number if now else 0
    cause = f"command/{what}/{number}" if key is None else f"request/{what}/{key}"
    if key is not None and (done := latest(workspace.metadata, Revision, model=model, cause=cause)):
        return done
    rollouts.refuse_unseen(now)
    refuse_frozen(workspace, model, force=force)
    try:
        return change(rollouts, cause)
    except Conflict:
        rollouts.refuse_unseen(rollouts.current())
        raise
