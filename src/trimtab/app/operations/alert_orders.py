"""Trying out channels: a message that says that it is a test."""

from __future__ import annotations

import msgspec

from trimtab.app.alerts.message_text import compose
from trimtab.app.alerts.sending import send
from trimtab.app.operations.actors import Actor
from trimtab.app.project.console_process import console_url
from trimtab.app.project.workspace import Workspace
from trimtab.errors import UsageError, nearest
from trimtab.records.alert_records import Alert


class TestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a test message arrived at a channel. reason: why not; it holds no secret."""

    channel: str
    sent: bool
    reason: str | None = None


def send_test(workspace: Workspace, actor: Actor, channel: str | None = None) -> list[TestOutcome]:
    """Send a test message to a channel, or to all of them, and wait for each.

    Raises Forbidden without the role admin, UsageError without channels or for one that the policy does not have.
    """
    actor.require("admin")
    policy = workspace.project.policy
    channels = policy.alerts.channels
    where = workspace.project.folder / "trimtab.yaml"
    if not channels:
        raise UsageError(
            f"{where} has no channels; add one below alerts.channels, such as ops: {{ url: ${{OPS_URL}} }}"
        )
    if channel is not None and channel not in channels:
        raise UsageError(f"{where}: alerts.channels has no '{channel}'.{nearest(channel, channels)}")
    found = []
    for name in channels if channel is None else (channel,):
        alert = _test_alert(workspace, actor, name)
        message = compose([alert], project=policy.project, console=console_url(workspace), label=f"{name}-test")
        reason = send(name, channels[name], message, [alert])
        found.append(TestOutcome(channel=name, sent=reason is None, reason=reason))
    return found


def _test_alert(workspace: Workspace, actor: Actor, channel: str) -> Alert:
    now = workspace.now()
    return Alert(
        id="alert/test",
        created_at=now,
        event="loop",
        model="",
        severity="minor",
        at=now,
        title=f"Test of channel {channel}: nothing has happened",
        figure="figures stand here, with their units",
        reason=f"{actor.name} asked for a test message",
        path="/system",
        command="trimtab alerts list",
        refers_to="",
        channels=(channel,),
    )
