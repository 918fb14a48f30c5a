"""Records of alerts: what is worth a message, the messages, and how far the records have been looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from trimtab.records.record import Action, Record

AlertEvent = Literal[
    "decision",
    "review",
    "rollback",
    "drift",
    "gate",
    "loop",
    "labels",
    "freshness",
    "log_gap",
    "stream",
    "kpi",
]
EVENTS: tuple[AlertEvent, ...] = get_args(AlertEvent)

Severity = Literal["minor", "moderate", "severe"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the mildest on."""


class Alert(Record, frozen=True, kw_only=True):
    """One fact that is worth a message; id is `alert/` and what it is about, so that no fact is told twice."""

    KIND = "alert"
    KEYS = ("event", "model")

    event: AlertEvent
    model: str
    """Empty for facts of the whole project."""
    severity: Severity
    at: datetime
    """Event time of the fact; of facts without one, when it was seen."""
    title: str
    figure: str
    """The numbers behind it, with their units."""
    reason: str
    path: str
    """Page of the console, such as `/models/delay/decisions/53`."""
    command: str
    """What to run next."""
    refers_to: str
    """Id of the record that it follows from; empty for what no record tells."""
    channels: tuple[str, ...]
    """Channels of the policy that asked for it when it was written."""
    waits: bool = False
    """True if a person must answer."""
    replayed: bool = False
    """True if it was seen in a replay of the past."""
    action: Action | None = None
    """Of a decision."""
    band: str = ""
    """Of a decision."""


class AlertMessage(Record, frozen=True, kw_only=True):
    """One message to one channel; id is `message/channel/number/state`.

    The record with state "sending" is written before the message is sent, the one with "sent" after it. A process that
    ended in between sends the same message again, with the same number.
    """

    KIND = "alert_message"
    KEYS = ("channel", "number", "state")

    channel: str
    number: int
    state: Literal["sending", "sent"]
    alerts: tuple[str, ...]
    """Ids of the alerts that it tells, in the order of the text."""
    title: str
    text: str


class AlertPosition(Record, frozen=True, kw_only=True):
    """How far the records have been looked at for alerts; id is `alert_position/number`.

    Written together with the alerts that follow from the records up to there.
    """

    KIND = "alert_position"
    KEYS = ("number",)

    number: int
    newest: dict[str, str]
    """By kind of record: id of the newest record that was looked at; empty where there was none."""
