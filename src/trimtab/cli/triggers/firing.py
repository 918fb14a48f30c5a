"""The verb that fires triggers, and shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from trimtab.app.operations.actors import local_actor
from trimtab.app.operations.trigger_orders import fire_trigger, trigger_rule
from trimtab.app.project.process_files import read_progress
from trimtab.app.reports.trigger_list import ListedEvent, ListedTrigger, trigger_events, trigger_list
from trimtab.cli.context import ASKED, Context, Reason, Verbs
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.errors import UsageError
from trimtab.policy.environments import env_option
from trimtab.policy.trigger_rules import ACTIONS
from trimtab.records.control import TriggerEvent

app = Verbs()

SHOWN = 20
TIME = "%Y-%m-%d %H:%M"


@app.verb()
def trigger(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="NAME|list|show", help="Trigger to fire, list or show.")] = "list",
    name: Annotated[str | None, typer.Argument(metavar="TRIGGER", help="Of show: name of the trigger.")] = None,
    reason: Reason = ASKED,
    key: Annotated[
        str | None,
        typer.Option("--id", metavar="KEY", help="Of the event: a second one with it is the same."),
    ] = None,
    commit: Annotated[str | None, typer.Option("--commit", metavar="COMMIT", help="Of a merge.")] = None,
    ref: Annotated[str | None, typer.Option("--ref", metavar="BRANCH", help="Of a merge.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most events to show; 0 for all.")] = SHOWN,
) -> None:
    """Fire a trigger of the policy, list the triggers with their next times, or show the events of one.

    The running loop acts on an event, or the next `trimtab up`. `show` says what became of each.
    """
    workspace = context.workspace
    if action not in ACTIONS:
        if name is not None:
            raise UsageError(f"trimtab trigger {action} {name}: no such action. Valid: {', '.join(ACTIONS)}")
        event = fire_trigger(workspace, local_actor(), action, reason=reason, key=key, commit=commit, reference=ref)
        context.show(event, lambda event: _show_fired(context, event))
        return
    if action == "list":
        context.show(trigger_list(workspace), _show_triggers)
        return
    if name is None:
        raise UsageError("which trigger? trimtab trigger show NAME")
    trigger_rule(workspace, name)
    found = trigger_events(workspace, name, limit=None if key else limit or None)
    if key is not None:
        found = [each for each in found if each.event.key == key]
        if not found:
            raise UsageError(f"trigger '{name}' has no event '{key}'")
    context.show(found, _show_events)


def _show_fired(context: Context, event: TriggerEvent) -> None:
    runs = read_progress(context.workspace.run_folder) is not None
    acts = "the loop acts on it" if runs else "the loop of trimtab up does not run yet, and acts on it when it begins"
    say(f"{event.id} is kept; {acts}")
    say(f"see      trimtab trigger show {event.name} --id {event.key}{env_option(context.workspace.name)}")


def _show_triggers(found: Sequence[ListedTrigger]) -> None:
    if not found:
        say("trimtab.yaml names no triggers; add one below triggers, see docs/delivery.md")
        return
    made = table("Triggers", "trigger", "on", "does", "next times", "last event", "what became of it")
    for each in found:
        does = each.run if not each.models else f"{each.run} {', '.join(each.models)}"
        on = each.on if each.cron is None else f"{each.cron} ({each.timezone})"
        last = ("none yet", "") if each.last is None else (f"{each.last.event.created_at:{TIME}}", _became(each.last))
        made.add_row(each.name, on, does, "\n".join(_next(each.next_times)), *last)
    console.print(made)


def _next(times: Sequence[datetime]) -> list[str]:
    return [f"{time:{TIME} %Z}" for time in times]


def _show_events(found: Sequence[ListedEvent]) -> None:
    if not found:
        say("no event yet")
        return
    made = table("Events", "came", "id", "why", "by", "what became of it")
    for each in found:
        event = each.event
        made.add_row(f"{event.created_at:{TIME}}", event.key, event.reason, event.by, _became(each))
    console.print(made)


def _became(each: ListedEvent) -> str:
    return "waits" if each.outcome is None else f"{each.outcome.state}: {each.outcome.outcome}"
