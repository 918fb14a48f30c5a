"""What is to be sent to each channel, and when. Pure, but for the reading of records.

alerts of a channel - those of its sent messages = waiting -> due: group full, quiet hours over, replay over
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trimtab.control.holds import quiet_until
from trimtab.policy.alert_channels import Channel
from trimtab.records.alert_records import Alert, AlertMessage
from trimtab.stores.metadata.contract import Metadata


@dataclass
class Outbox:
    """The alerts of one channel that no message has told yet, oldest first, and its last message."""

    waiting: dict[str, Alert] = field(default_factory=dict)
    """By id."""
    number: int = 0
    """Of the last message."""
    sending: AlertMessage | None = None
    """A message that was begun, and of which it is not known that it arrived."""


def read_outboxes(metadata: Metadata, channels: Sequence[str]) -> dict[str, Outbox]:
    """Return the outbox of each channel, from the records."""
    found = {name: Outbox() for name in channels}
    alerts = metadata.find(Alert, oldest_first=True)
    for name, outbox in found.items():
        sent = metadata.find(AlertMessage, channel=name, state="sent")
        begun = metadata.find(AlertMessage, channel=name, state="sending", limit=1)
        told = {id_ for message in sent for id_ in message.alerts}
        outbox.waiting = {a.id: a for a in alerts if name in a.channels and a.id not in told}
        outbox.number = begun[0].number if begun else 0
        if begun and all(message.number != begun[0].number for message in sent):
            outbox.sending = begun[0]
    return found


@dataclass(frozen=True, kw_only=True)
class Due:
    """Alerts that a message is to tell now. held_since: when the first was held by quiet hours."""

    alerts: tuple[Alert, ...]
    held_since: datetime | None = None


def due(channel: Channel, waiting: Mapping[str, Alert], now: datetime, *, replaying: bool) -> Due | None:
    """Return what is to be sent to a channel now, or None."""
    past = tuple(alert for alert in waiting.values() if alert.replayed)
    present = [alert for alert in waiting.values() if not alert.replayed]
    quiet = quiet_until(channel, now) is not None
    if quiet:
        present = [alert for alert in present if alert.event in channel.break_through]
    if present and now >= present[0].created_at + timedelta(microseconds=channel.group):
        return Due(alerts=tuple(present), held_since=None if quiet else _held_since(channel, present))
    return Due(alerts=past) if past and not replaying and not quiet else None


def may_repeat(channel: Channel, alerts: Sequence[Alert], now: datetime) -> bool:
    """Return True if a message that was begun may be sent again now: quiet hours hold it, unless one of its alerts
    breaks through them."""
    return quiet_until(channel, now) is None or any(alert.event in channel.break_through for alert in alerts)


def held_until(channel: Channel, alert: Alert, now: datetime) -> str:
    """Return what an alert waits for, in words."""
    end = quiet_until(channel, now)
    if alert.replayed:
        return "the end of the replay"
    if end is not None and alert.event not in channel.break_through:
        return f"the end of the quiet hours, {end:%Y-%m-%d %H:%M} UTC"
    return "others of the same time, or the channel"


def _held_since(channel: Channel, alerts: Sequence[Alert]) -> datetime | None:
    held = [a for a in alerts if a.event not in channel.break_through and quiet_until(channel, a.created_at)]
    return held[0].created_at if held else None
