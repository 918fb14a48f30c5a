"""Changes of what serves, and retrainings, that people ask for."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.clock import to_micros
from trimtab.control.retrain_requests import request_retraining
from trimtab.errors import Conflict, UsageError
from trimtab.records.control import RetrainRequest
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import newest_where

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

    asked = "" if share is None else f"share {share:g}"
    return order_change(
        workspace, actor, model, "step", change, reason=reason, asked=asked, key=key, seen=seen, force=force
    )


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
        UsageError: the key was used for another request.
    """

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.promote(cause=cause, reason=reason, by=actor.name)

    return order_change(workspace, actor, model, "promote", change, reason=reason, key=key, seen=seen, force=force)


def abandon(
    workspace: Workspace, actor: Actor, model: str, *, reason: str, key: str | None = None, seen: int | None = None
) -> Revision:
    """Take the challenger, without one the shadow, out of service; a freeze does not hold it. The rest as `promote`."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.abandon(cause=cause, reason=reason, by=actor.name)

    return order_change(workspace, actor, model, "abandon", change, reason=reason, key=key, seen=seen, force=True)


def rollback(
    workspace: Workspace,
    actor: Actor,
    model: str,
    *,
    reason: str,
    key: str | None = None,
    seen: int | None = None,
    cut: bool = False,
) -> Revision:
    """Restore the champion before, whose features are kept up to date; a freeze does not hold it. The rest as
    `promote`. cut: whether answers that a prompt's champion is streaming end at once."""

    def change(rollouts: Rollouts, cause: str) -> Revision:
        return rollouts.rollback(cause=cause, reason=reason, by=actor.name, cut=cut)

    return order_change(workspace, actor, model, "rollback", change, reason=reason, key=key, seen=seen, force=True)


def ask_retraining(
    workspace: Workspace, actor: Actor, model: str, *, reason: str, key: str | None = None
) -> RetrainRequest:
    """Write a request to retrain, which the running loop answers by a decision.

    The budget of the policy holds for the request of a developer, so a person may then have to approve the decision;
    an approver may exceed it. key: as of `promote`. Raises Forbidden below developer, and UsageError as
    `request_retraining`, and for a key of another request.
    """
    actor.require("developer", model)
    now = workspace.now()
    found = request_retraining(
        workspace.metadata,
        workspace.served(model).name,
        key=key or f"{actor.name}.{to_micros(now)}",
        source="command" if actor.may("approver", model) else "api",
        reason=reason,
        by=actor.name,
        at=now,
    )
    if (found.reason, found.by) != (reason.strip(), actor.name):
        raise used_key(found.key, found.by, found.reason)
    return found


def order_change(
    workspace: Workspace,
    actor: Actor,
    model: str,
    what: str,
    change: Change,
    *,
    reason: str,
    asked: str = "",
    key: str | None,
    seen: int | None,
    force: bool,
) -> Revision:
    """Make a change once for each key, without a key once for each revision that it changes. Raises as `promote`.

    asked: what the request names beside the reason, such as the revision to restore.
    """
    actor.require("approver", model)
    rollouts = open_rollouts(workspace, model, seen=seen)
    now = rollouts.current()
    number = now.number if now else 0
    request = f"request/{what}/{key}"
    cause = f"command/{what}/{number}" if key is None else f"{request}/{asked}" if asked else request

    def done_before() -> Revision | None:
        if key is None:
            return None
        found = newest_where(
            workspace.metadata, Revision, lambda r: r.cause == request or r.cause.startswith(f"{request}/"), model=model
        )
        if found is not None and (found.cause, found.by, found.reason) != (cause, actor.name, reason):
            raise used_key(key, found.by, found.reason)
        return found

    if done := done_before():
        return done
    rollouts.refuse_unseen(now)
    refuse_frozen(workspace, model, force=force)
    try:
        made = change(rollouts, cause)
        return done_before() or made  # what is stored: the same request at the same time has another created_at
    except Conflict:
        if done := done_before():
            return done
        rollouts.refuse_unseen(rollouts.current())
        raise


def used_key(key: str, by: str, reason: str) -> UsageError:
    """Return the error for an idempotency key that came with another request before."""
    return UsageError(
        f"the idempotency key '{key}' was used for another request, by {by}: {reason}; expected a new one"
    )
