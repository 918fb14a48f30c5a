"""What was sent to the channels, what waits, and how the channels do: for the command, the status and the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trimtab.app.alerts.channel_states import ChannelState, read_states, sends
from trimtab.app.alerts.outbox import held_until, read_outboxes
from trimtab.app.project.workspace import Workspace
from trimtab.records.alert_records import Alert, AlertMessage


class PendingAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that a channel is still to get. waits_for: what holds it back, in words."""

    channel: str
    waits_for: str
    alert: Alert


def sent_messages(
    workspace: Workspace, *, channel: str | None = None, limit: int | None = None
) -> Sequence[AlertMessage]:
    """Return the messages that arrived, newest first."""
    if channel is None:
        return workspace.metadata.find(AlertMessage, state="sent", limit=limit)
    return workspace.metadata.find(AlertMessage, state="sent", limit=limit, channel=channel)


def pending_alerts(workspace: Workspace) -> list[PendingAlert]:
    """Return the alerts that no message has told yet, by channel, oldest first."""
    channels, now = workspace.project.policy.alerts.channels, workspace.now()
    failing = {state.channel: state.reason for state in channel_states(workspace) if state.reason is not None}
    found = []
    for name, outbox in read_outboxes(workspace.metadata, list(channels)).items():
        for alert in outbox.waiting.values():
            waits_for = failing.get(name) or held_until(channels[name], alert, now)
            found.append(PendingAlert(channel=name, waits_for=waits_for, alert=alert))
    return found


def alert_report(workspace: Workspace) -> dict[str, Any]:
    """Return how each channel of the policy does, by the process that sends or sent last, and why none sends."""
    return {"channels": msgspec.to_builtins(channel_states(workspace)), "trouble": alert_trouble(workspace)}


def channel_states(workspace: Workspace) -> list[ChannelState]:
    """Return how each channel of the policy does; with counts of 0 when no process has sent yet."""
    known = read_states(workspace.run_folder)
    by_name = {state.channel: state for state in known.channels} if known else {}
    return [by_name.get(name, ChannelState(channel=name)) for name in workspace.project.policy.alerts.channels]


def alert_trouble(workspace: Workspace) -> str | None:
    """Return why alerts are not sent at all, or None."""
    if not workspace.project.policy.alerts.channels or sends(read_states(workspace.run_folder)):
        return None
    return "no process sends alerts; run: trimtab up, or: trimtab alerts send"
