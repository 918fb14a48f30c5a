"""Answers to reviews by people: approve, reject, acknowledge."""

from __future__ import annotations

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.project.limited_workspace import limited
from trimtab.app.project.workspace import Workspace
from trimtab.control.resolve import Answer, answerable, find_decision, resolve
from trimtab.errors import Answered
from trimtab.records.control import Decision, Resolution
from trimtab.stores.metadata.contract import latest


def ask(workspace: Workspace, actor: Actor, decision: str, verdict: Answer, *, force: bool = False) -> Decision:
    """Return the decision if the actor may answer it so now; write nothing.

    force: also approve while the model is frozen. Raises Forbidden below approver, ActionError for a frozen model, and
    UsageError or Answered as `answerable`.
    """
    actor.require("approver", find_decision(limited(workspace, actor.models).metadata, decision).model)
    found = answerable(workspace.metadata, decision, verdict)
    if verdict == "approve":
        refuse_frozen(workspace, found.model, force=force)
    return found


def answer(
    workspace: Workspace,
    actor: Actor,
    decision: str,
    verdict: Answer,
    *,
    reason: str,
    key: str | None = None,
    force: bool = False,
) -> Resolution:
    """Write the answer to a decision; the running loop starts the retraining that was approved.

    key: idempotency key; a request that is repeated returns the first result. Raises as `ask`.
    """
    try:
        ask(workspace, actor, decision, verdict, force=force)
        return resolve(workspace.metadata, decision, verdict, reason=reason, by=actor.name, clock=workspace.clock)
    except Answered:
        first = latest(workspace.metadata, Resolution, decision=decision)
        asked = (verdict, reason.strip(), actor.name)
        if key is None or first is None or (first.verdict, first.reason, first.by) != asked:
            raise
        return first
