"""Triggers that a person fires."""

from __future__ import annotations

from trimtab.app.operations.actors import Actor
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.control.trigger_events import trigger_event
from trimtab.errors import UsageError, nearest
from trimtab.policy.trigger_rules import TriggerRule
from trimtab.records.control import TriggerEvent


def trigger_rule(workspace: Workspace, name: str) -> TriggerRule:
    """Return a trigger of the policy. Raises UsageError with the nearest name."""
    rules = workspace.project.policy.triggers
    if name not in rules:
        hint = nearest(name, rules) if rules else " It names none; see docs/delivery.md"
        raise UsageError(f"{workspace.project.folder / 'trimtab.yaml'} has no trigger '{name}'.{hint}")
    return rules[name]


def fire_trigger(
    workspace: Workspace,
    actor: Actor,
    name: str,
    *,
    reason: str,
    key: str | None = None,
    commit: str | None = None,
    reference: str | None = None,
) -> TriggerEvent:
    """Write an event of a trigger, which the running loop acts on once, or the next one.

    key: idempotency key; an event that is repeated is the first one. Raises Forbidden below developer, UsageError for a
    name or a key that is none.
    """
    rule, now = trigger_rule(workspace, name), workspace.now()
    for model in rule.models or (None,):
        actor.require("developer", model)
    return trigger_event(
        workspace.metadata,
        name,
        key=key or f"{to_micros(now)}",
        cause="command",
        reason=reason,
        by=actor.name,
        at=now,
        commit=commit,
        reference=reference,
    )
