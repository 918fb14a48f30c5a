"""Sends alerts: reads new records, writes alerts, and sends what is due to each channel. One at a time a project.

records -> Alert (with its channels) -> AlertMessage "sending" -> process that sends -> AlertMessage "sent"

Each step is on disk before the next one. A process that ends between "sending" and "sent" sends the same message again;
nothing else is sent twice, and nothing is lost. A channel that fails is tried again, less and less often,
not in its quiet hours; the others do not wait for it. The loop never waits for any of this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

import msgspec

from trimtab.app.alerts.alert_facts import FactReader, channels_for
from trimtab.app.alerts.channel_states import AlertStates, ChannelState, write_states
from trimtab.app.alerts.message_text import Message, compose, distinct
from trimtab.app.alerts.outbox import Outbox, due, may_repeat, read_outboxes
from trimtab.app.alerts.project_state import loop_alerts, stream_alerts
from trimtab.app.alerts.sending import send
from trimtab.app.project import process_files
from trimtab.app.project.console_process import console_url
from trimtab.app.project.locks import REPLAY, holder
from trimtab.app.project.workspace import Workspace
from trimtab.policy.alert_channels import Channel
from trimtab.records.alert_records import Alert, AlertMessage, AlertPosition
from trimtab.records.control import Resolution
from trimtab.stores.metadata.contract import latest

log = logging.getLogger(__name__)

Send = Callable[[str, Channel, Message, Sequence[Alert]], str | None]
"""Sends a message to a channel; returns why it was not sent, or None."""

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
"""Between two attempts of a channel; each pause is twice as long as the one before."""
POSITION_AFTER = timedelta(minutes=10)
"""The position is written with the alerts, and without any after so long."""

CLOSE_SECONDS = 5.0


class _Line:
    """One channel: what waits, the message under way, and how often it failed."""

    def __init__(self, name: str, channel: Channel, outbox: Outbox) -> None:
        self.name = name
        self.channel = channel
        self.outbox = outbox
        self.state = ChannelState(channel=name)
        self.sending: Future[str | None] | None = None

    def take(self, alert: Alert) -> None:
        if self.name in alert.channels:
            self.outbox.waiting[alert.id] = alert


class Dispatcher:
    """Reads records and sends messages; `step` never waits for a channel."""

    def __init__(self, workspace: Workspace, send: Send = send) -> None:
        self._workspace = workspace
        self._metadata = workspace.metadata
        self._policy = workspace.project.policy
        self._send = send
        self._reader = FactReader(self._metadata, self._policy)
        channels = self._policy.alerts.channels
        outboxes = read_outboxes(self._metadata, list(channels))
        self._lines = [_Line(name, channel, outboxes[name]) for name, channel in channels.items()]
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(channels)), thread_name_prefix="alerts")
        self._told = {alert.id for alert in self._metadata.find(Alert)}
        """Ids of all alerts that are written."""
        self._replayed: tuple[datetime, datetime] | None = None
        """Begin of the last replay that was seen, and when it was seen last."""
        self._stream_troubles: dict[str, datetime] = {}
        self._states: AlertStates | None = None
        position = latest(self._metadata, AlertPosition)
        self._number = position.number if position else 0
        self._position = dict(position.newest) if position else self._reader.start()
        self._counts: dict[str, int] = {}
        """Of records of each kind, when they were read last."""
        self._written_at = workspace.now()
        if position is None:
            self._put([], self._position, self._written_at)

    @property
    def is_idle(self) -> bool:
        """Return True if no message is under way, and no alert waits."""
        return all(line.sending is None and not line.outbox.waiting for line in self._lines)

    def step(self) -> None:
        """Write the alerts of new records, take in what was sent, and begin to send what is due."""
        now = self._workspace.now()
        self._note_replay(now)
        self._collect(now)
        for line in self._lines:
            self._take_outcome(line, now)
            self._begin(line, now)
        self._tell_states()

    def close(self) -> None:
        """End, after messages under way have had a little time. One that takes longer is sent again."""
        wait([line.sending for line in self._lines if line.sending is not None], CLOSE_SECONDS)
        self._pool.shutdown(wait=False)
        for line in self._lines:
            self._take_outcome(line, self._workspace.now())
        self._tell_states()

    def _note_replay(self, now: datetime) -> None:
        found = holder(self._workspace, REPLAY)
        if found is not None:
            self._replayed = (found.since, now)

    def _replaying(self, at: datetime) -> bool:
        """Return True if a replay ran at a wall-clock time, as far as this process has seen."""
        return self._replayed is not None and self._replayed[0] <= at <= self._replayed[1]

    def _collect(self, now: datetime) -> None:
        found: list[Alert] = []
        reached, counts = self._position, self._metadata.positions()
        if counts != self._counts:
            found, reached = self._reader.read(self._position, replaying=self._replaying, now=now)
        found += loop_alerts(self._workspace, now)
        found += stream_alerts(self._workspace, self._stream_troubles, now)
        wanted = []
        for alert in found:
            names = alert.channels or channels_for(alert, self._policy.alerts.channels)
            if names and alert.id not in self._told:
                wanted.append(msgspec.structs.replace(alert, channels=names))
        if wanted or (reached != self._position and now - self._written_at >= POSITION_AFTER):
            self._put(wanted, reached, now)
        self._position, self._counts = reached, counts

    def _put(self, alerts: list[Alert], reached: dict[str, str], now: datetime) -> None:
        """Write alerts and the position that they are of, in one transaction."""
        id_ = f"alert_position/{self._number + 1}"
        self._metadata.put(*alerts, AlertPosition(id=id_, created_at=now, number=self._number + 1, newest=reached))
        self._number += 1
        self._written_at = now
        for alert in alerts:
            self._told.add(alert.id)
            for line in self._lines:
                line.take(alert)

    def _begin(self, line: _Line, now: datetime) -> None:
        """Begin to send: a message that was begun before, or what is due now."""
        state = line.state
        if line.sending is not None or (state.next_attempt is not None and now < state.next_attempt):
            return
        held_since = None
        told = line.outbox.sending.alerts if line.outbox.sending is not None else ()
        alerts = tuple(line.outbox.waiting[id_] for id_ in told if id_ in line.outbox.waiting)
        if told and not may_repeat(line.channel, alerts, now):
            line.outbox.sending = None  # its alerts wait for the end of the quiet hours, and hold up none that do not
        if line.outbox.sending is None:
            wanted = due(line.channel, line.outbox.waiting, now, replaying=self._replaying(now))
            if wanted is None:
                return
            alerts, held_since = wanted.alerts, wanted.held_since
            number = line.outbox.number + 1
        else:
            number = line.outbox.sending.number
            if not alerts:
                line.outbox.sending = None
                return
        message = self._compose(line.name, number, alerts, held_since)
        if line.outbox.sending is None:
            line.outbox.sending = self._note(line.name, number, "sending", alerts, message, now)
            line.outbox.number = number
        line.state = msgspec.structs.replace(state, sending_since=now)
        line.sending = self._pool.submit(self._send, line.name, line.channel, message, distinct(alerts))

    def _compose(self, channel: str, number: int, alerts: Sequence[Alert], held_since: datetime | None) -> Message:
        waits = [alert for alert in alerts if alert.waits]
        answered = [a.id for a in waits if latest(self._metadata, Resolution, decision=a.refers_to) is not None]
        return compose(
            alerts,
            project=self._policy.project,
            console=console_url(self._workspace),
            label=f"{channel}-{number}",
            answered=answered,
            held_since=held_since,
        )

    def _note(
        self, channel: str, number: int, state: str, alerts: Sequence[Alert], message: Message, now: datetime
    ) -> AlertMessage:
        record = AlertMessage(
            id=f"message/{channel}/{number}/{state}",
            created_at=now,
            channel=channel,
            number=number,
            state="sent" if state == "sent" else "sending",
            alerts=tuple(alert.id for alert in alerts),
            title=message.title,
            text=message.text,
        )
        self._metadata.put(record)
        return record

    def _take_outcome(self, line: _Line, now: datetime) -> None:
        if line.sending is None or not line.sending.done() or line.outbox.sending is None:
            return
        begun, state = line.outbox.sending, msgspec.structs.replace(line.state, sending_since=None)
        error = line.sending.exception()
        reason = line.sending.result() if error is None else f"{type(error).__name__} while sending"
        if reason is None:
            sent = msgspec.structs.replace(
                begun, id=f"message/{line.name}/{begun.number}/sent", created_at=now, state="sent"
            )
            self._metadata.put(sent)
            for id_ in begun.alerts:
                line.outbox.waiting.pop(id_, None)
            line.outbox.sending = None
            line.state = ChannelState(channel=line.name, sent_at=now)
        else:
            pause = min(FIRST_PAUSE * 2 ** min(state.failures, 10), LONGEST_PAUSE)
            line.state = msgspec.structs.replace(
                state,
                failures=state.failures + 1,
                failing_since=state.failing_since or now,
                next_attempt=now + pause,
                reason=reason,
            )
            log.warning("channel %s: not sent, tried again in %s: %s", line.name, pause, reason)
        line.sending = None

    def _tell_states(self) -> None:
        channels = tuple(msgspec.structs.replace(line.state, waiting=len(line.outbox.waiting)) for line in self._lines)
        states = AlertStates(pid=process_files.own_pid(), channels=channels)
        if states != self._states:
            write_states(self._workspace.run_folder, states)
            self._states = states
