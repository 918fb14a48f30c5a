"""The verb of alerts. Kept apart, so that the process that sends imports only what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from trimtab.app.alerts.alert_list import PendingAlert, channel_states, pending_alerts, sent_messages
from trimtab.app.alerts.running import send_alerts
from trimtab.app.operations.actors import local_actor
from trimtab.app.operations.alert_orders import TestOutcome, send_test
from trimtab.app.project.process_files import Stop, exit_now
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.terminal import say
from trimtab.errors import UsageError
from trimtab.records.alert_records import AlertMessage

app = Verbs()

ACTIONS = ("list", "pending", "test", "send")
SHOWN = 20


@app.verb()
def alerts(
    context: Context,
    action: Annotated[
        str, typer.Argument(metavar="list|pending|test|send", help="list, pending, test or send.")
    ] = "list",
    channel: Annotated[str | None, typer.Argument(help="Of this channel alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most messages to list; 0 for all.")] = SHOWN,
) -> None:
    """List the messages that were sent, show what waits, or try a channel out.

    `send` sends until Ctrl-C; `trimtab up` does the same in a process of its own.
    """
    require_action("alerts", action, ACTIONS)
    workspace = context.workspace
    if action == "list":
        found = sent_messages(workspace, channel=channel, limit=limit or None)
        context.show(found, lambda found: _show_sent(context, found))
    elif action == "pending":
        waiting = [each for each in pending_alerts(workspace) if channel in (None, each.channel)]
        context.show(waiting, _show_pending)
    elif action == "test":
        outcomes = send_test(workspace, local_actor(), channel)
        context.show(outcomes, _show_outcomes)
        if not all(outcome.sent for outcome in outcomes):
            raise typer.Exit(1)
    else:
        if not workspace.project.policy.alerts.channels:
            raise UsageError(f"{workspace.project.folder / 'trimtab.yaml'} has no channels below alerts.channels")
        stop = Stop()
        stop.install()
        send_alerts(workspace, stop)
        exit_now(0)


def _show_sent(context: Context, found: Sequence[AlertMessage]) -> None:
    for state in channel_states(context.workspace):
        if state.reason is not None and state.failing_since is not None:
            say(f"channel {state.channel}: not reached since {state.failing_since:%Y-%m-%d %H:%M}: {state.reason}")
    for message in reversed(found):
        say(f"{message.created_at:%Y-%m-%d %H:%M:%S}  {message.channel}-{message.number}  {message.title}")
    if not found:
        say("no message was sent yet; try the channels out with: trimtab alerts test")


def _show_pending(found: Sequence[PendingAlert]) -> None:
    for each in found:
        say(f"{each.alert.created_at:%Y-%m-%d %H:%M:%S}  {each.channel}  [{each.alert.severity}] {each.alert.title}")
        say(f"{'':21}waits for {each.waits_for}")
    if not found:
        say("nothing waits")


def _show_outcomes(found: Sequence[TestOutcome]) -> None:
    for outcome in found:
        say(f"{outcome.channel:<16} {'sent' if outcome.sent else f'not sent: {outcome.reason}'}")
