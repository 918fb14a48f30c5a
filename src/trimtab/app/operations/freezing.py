"""Freezes and suspected rows: what a person holds back, and lets go on."""

from __future__ import annotations

from datetime import datetime

from trimtab.app.operations.actors import Actor
from trimtab.app.project.workspace import Workspace
from trimtab.control import suspects
from trimtab.control.holds import active_freeze, event_time, freeze_reason, set_freeze
from trimtab.errors import ActionError
from trimtab.records.control import Freeze, Suspicion, SuspicionEnd


def freeze(
    workspace: Workspace, actor: Actor, model: str | None, *, reason: str, until: datetime | None = None
) -> Freeze:
    """Let nothing of a model, or for None of all models, be retrained or promoted. until: event time.

    Raises Forbidden below approver, and UsageError as `set_freeze`.
    """
    return _freeze(workspace, actor, model, reason, frozen=True, until=until)


def unfreeze(workspace: Workspace, actor: Actor, model: str | None, *, reason: str) -> Freeze:
    """End a freeze of a model, or for None that of all models. Raises as `freeze`."""
    return _freeze(workspace, actor, model, reason, frozen=False)


def let_in(
    workspace: Workspace, actor: Actor, model: str, start: datetime, end: datetime | None, *, reason: str
) -> tuple[SuspicionEnd, ...]:
    """Use suspected rows again. Raises Forbidden below developer, and UsageError as `suspects.let_in`."""
    actor.require("developer", model)
    return suspects.let_in(workspace.metadata, model, start, end, reason=reason, by=actor.name, clock=workspace.clock)


def hold(workspace: Workspace, actor: Actor, model: str, start: datetime, end: datetime, *, reason: str) -> Suspicion:
    """Hold rows until they are let in. Raises Forbidden below developer, and UsageError as `suspects.hold`."""
    actor.require("developer", model)
    return suspects.hold(workspace.metadata, model, start, end, reason=reason, by=actor.name, clock=workspace.clock)


def refuse_frozen(workspace: Workspace, model: str, *, force: bool) -> None:
    """Raise ActionError while a model is frozen, unless the change is forced."""
    now = event_time(workspace.metadata, model, workspace.clock)
    found = None if force else active_freeze(workspace.metadata, model, now)
    if found is not None:
        scope = f" {found.model}" if found.model else ""
        raise ActionError(
            f"{freeze_reason(found)}. End the freeze with: trimtab unfreeze{scope} --reason '...'; or use --force"
        )


def _freeze(
    workspace: Workspace, actor: Actor, model: str | None, reason: str, *, frozen: bool, until: datetime | None = None
) -> Freeze:
    actor.require("approver", model)
    scope = "" if model is None else workspace.served(model).name
    return set_freeze(
        workspace.metadata,
        scope,
        frozen=frozen,
        reason=reason,
        by=actor.name,
        clock=workspace.clock,
        until=until,
    )
