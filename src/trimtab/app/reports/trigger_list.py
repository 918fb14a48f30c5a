"""The triggers of a project, with their next times and their last events."""

from __future__ import annotations

from datetime import datetime

import msgspec

from trimtab.app.loop.sent_events import waiting_events
from trimtab.app.project.workspace import Workspace
from trimtab.control.trigger_events import cooling_until, outcome_of
from trimtab.policy.trigger_rules import times_after
from trimtab.records.control import TriggerEvent, TriggerOutcome

NEXT_TIMES = 3


class ListedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a trigger, and what became of it; None: it waits."""

    event: TriggerEvent
    outcome: TriggerOutcome | None


class ListedTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger. next_times: of its schedule, in its time zone. cooling_until: None when it may act at once."""

    name: str
    on: str
    run: str
    models: tuple[str, ...]
    cron: str | None
    timezone: str
    next_times: tuple[datetime, ...]
    cooling_until: datetime | None
    last: ListedEvent | None


def trigger_list(workspace: Workspace) -> list[ListedTrigger]:
    """Return the triggers of the policy, in its order."""
    now = workspace.now()
    found = []
    for name, rule in workspace.project.policy.triggers.items():
        until, last = cooling_until(workspace.metadata, name, rule), trigger_events(workspace, name, limit=1)
        retrains = () if rule.run == "ingest" else tuple(rule.models or workspace.project.definitions.models)
        found.append(
            ListedTrigger(
                name=name,
                on=rule.on,
                run=rule.run,
                models=retrains,
                cron=rule.cron,
                timezone=rule.timezone,
                next_times=tuple(times_after(rule, now, NEXT_TIMES)),
                cooling_until=until if until is not None and now < until else None,
                last=last[0] if last else None,
            )
        )
    return found


def trigger_events(workspace: Workspace, name: str, *, limit: int | None = None) -> list[ListedEvent]:
    """Return the events of a trigger, newest first, each with what became of it.

    Those that were sent over HTTP and that no loop has read yet are among them.
    """
    kept = workspace.metadata.find(TriggerEvent, name=name, limit=limit)
    sent = [event for event in waiting_events(workspace) if event.name == name]
    found = sorted([*kept, *sent], key=lambda event: event.created_at, reverse=True)
    return [ListedEvent(event=event, outcome=outcome_of(workspace.metadata, event.id)) for event in found[:limit]]
