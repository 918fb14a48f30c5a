"""A dispatcher sends each alert once, tries a dead channel again, and lets none wait for another."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from kit.alert_project import NOW, open_alert_project
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.alerts import running
from trimtab.app.alerts.alert_list import alert_trouble, channel_states, pending_alerts, sent_messages
from trimtab.app.alerts.dispatcher import FIRST_PAUSE, Dispatcher
from trimtab.app.alerts.heart import Heart
from trimtab.app.alerts.message_text import Message
from trimtab.app.project import process_files
from trimtab.app.project.workspace import Workspace
from trimtab.errors import Conflict
from trimtab.policy.alert_channels import Channel
from trimtab.records.alert_records import Alert, AlertMessage, AlertPosition
from trimtab.records.loop_pulse import PULSE, LoopPulse
from trimtab.records.stream_progress import PROGRESS, IngestionProgress, StreamProgress
from trimtab.testing.judged import DAY, FIRST

MINUTE = timedelta(minutes=1)
CHANNELS = "ops: { url: 'json://localhost/a' }\nmail: { url: 'json://localhost/b', replay: digest }"


class Sender:
    """Keeps what it is given to send. fails: channels that are not reached; hangs: channels that do not answer."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fails: set[str] = set()
        self.hangs: set[str] = set()
        self.open = threading.Event()

    def __call__(self, name: str, channel: Channel, message: Message, alerts: Sequence[Alert]) -> str | None:
        if name in self.hangs:
            self.open.wait()
        if name in self.fails:
            return "the server is away"
        self.sent.append((name, message.title))
        return None


class World:
    """A project with the channels `ops` and `mail`, and its dispatcher."""

    def __init__(self, folder: Path, channels: str = CHANNELS) -> None:
        self.workspace, self.clock = open_alert_project(folder, channels)
        self.sender = Sender()
        self.dispatcher = Dispatcher(self.workspace, self.sender)

    def decide(self, day: int) -> None:
        decide(self.workspace, start=FIRST + day * DAY)
        self.dispatcher.step()

    def pass_time(self, time: timedelta = 2 * MINUTE) -> None:
        """Let time pass, and wait until what is due was sent or failed."""
        self.clock.sleep(time.total_seconds())
        self.dispatcher.step()
        wait_for(lambda: self._settled(), "the messages")

    def restart(self) -> None:
        """Begin again, as after the end of the process."""
        self.dispatcher = Dispatcher(self.workspace, self.sender)

    def _settled(self) -> bool:
        self.dispatcher.step()
        return all(s.sending_since is None or s.channel in self.sender.hangs for s in channel_states(self.workspace))

    def titles(self, channel: str) -> list[str]:
        return [title for name, title in self.sender.sent if name == channel]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path / "project")
    yield found
    found.sender.open.set()
    found.dispatcher.close()
    found.workspace.metadata.close()


REVIEW = "[severe] delay: decision {} waits for an answer: retrain?"


def test_an_alert_is_sent_once_to_each_channel_also_after_a_restart(world: World) -> None:
    world.decide(1)
    assert [each.channel for each in pending_alerts(world.workspace)] == ["ops", "ops", "mail", "mail"]
    world.pass_time()
    world.restart()
    world.pass_time()
    assert sorted(world.sender.sent) == [("mail", REVIEW.format(1)), ("ops", REVIEW.format(1))]
    assert pending_alerts(world.workspace) == []
    assert [m.channel for m in sent_messages(world.workspace, channel="ops")] == ["ops"]


def test_what_happened_while_no_process_sent_is_told_by_the_next(world: World) -> None:
    decide(world.workspace, start=FIRST + DAY)
    world.restart()
    world.pass_time(timedelta(0))
    world.pass_time()
    assert world.titles("ops") == [REVIEW.format(1)]


def test_a_message_that_may_have_arrived_is_sent_again_as_it_was(world: World) -> None:
    world.decide(1)
    world.sender.hangs = {"ops"}
    world.pass_time()
    sending = world.workspace.metadata.find(AlertMessage, channel="ops", state="sending")
    assert [message.number for message in sending] == [1]
    # when the process dies while it sends, and more happens meanwhile
    world.sender.hangs = set()
    decide(world.workspace, start=FIRST + 2 * DAY)
    world.restart()
    world.pass_time()
    world.pass_time()
    assert world.titles("ops") == [REVIEW.format(1), REVIEW.format(2)]
    numbers = [(m.number, m.state) for m in world.workspace.metadata.find(AlertMessage, channel="ops")]
    assert numbers == [(2, "sent"), (2, "sending"), (1, "sent"), (1, "sending")]


def test_a_dead_channel_is_tried_again_less_and_less_often_and_told(world: World) -> None:
    world.sender.fails = {"ops"}
    world.decide(1)
    world.pass_time()
    (ops, mail) = channel_states(world.workspace)
    assert (ops.failures, ops.reason, ops.next_attempt) == (1, "the server is away", world.clock.now() + FIRST_PAUSE)
    assert (mail.failures, mail.waiting, world.titles("mail")) == (0, 0, [REVIEW.format(1)])
    assert pending_alerts(world.workspace)[0].waits_for == "the server is away"
    world.pass_time(FIRST_PAUSE / 2)
    assert channel_states(world.workspace)[0].failures == 1
    world.pass_time(FIRST_PAUSE)
    assert channel_states(world.workspace)[0].failures == 2
    assert channel_states(world.workspace)[0].next_attempt == world.clock.now() + 2 * FIRST_PAUSE
    # when the channel is back, everything is told
    world.decide(2)
    world.sender.fails = set()
    for _ in range(3):
        world.pass_time()
    assert world.titles("ops") == [REVIEW.format(1), REVIEW.format(2)]
    assert channel_states(world.workspace)[0].failing_since is None


@pytest.mark.parametrize("restarts", [False, True])
def test_quiet_hours_hold_a_message_that_was_begun_but_not_what_breaks_through(tmp_path: Path, restarts: bool) -> None:
    quiet = "ops: { url: 'json://localhost/a', quiet_hours: '00:04-06:00', break_through: [loop] }"
    world = World(tmp_path / "quiet", quiet)
    world.sender.fails = {"ops"}
    world.decide(1)
    world.pass_time()
    assert channel_states(world.workspace)[0].failures == 1
    # when the channel is back in the quiet hours
    world.sender.fails = set()
    world.pass_time(5 * MINUTE)
    if restarts:
        world.restart()
    world.pass_time(5 * MINUTE)
    assert world.sender.sent == []
    heart = Heart(world.workspace.run_folder, world.clock)
    heart.falter("disk full")
    world.pass_time(12 * MINUTE)
    world.pass_time()
    assert [title[:24] for title in world.titles("ops")] == ["[severe] The loop stands"]
    heart.stop()
    world.pass_time(timedelta(hours=6))
    world.pass_time()
    assert world.titles("ops")[1:] == ["[severe] small: 2 alerts (1 review, 1 loop)"]
    world.dispatcher.close()
    world.workspace.metadata.close()


@pytest.mark.parametrize("error", [Conflict("another process wrote first"), OSError(28, "No space left on device")])
def test_a_process_that_watches_the_loop_goes_on_after_a_failure(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[int]()

    def turns(workspace: Workspace) -> bool:
        looks.append(1)
        if len(looks) == 1:
            raise error
        return True

    monkeypatch.setattr(running, "_turns", turns)
    running.watch_loop(world.workspace, lambda: len(looks) == 2)
    assert len(looks) == 2


def test_a_channel_that_hangs_holds_up_nothing(world: World) -> None:
    world.sender.hangs = {"ops"}
    world.decide(1)
    world.pass_time()
    world.decide(2)
    world.pass_time()
    assert world.titles("mail") == [REVIEW.format(1), REVIEW.format(2)]
    assert channel_states(world.workspace)[0].sending_since is not None


def test_records_that_are_read_again_are_not_told_again(world: World) -> None:
    world.decide(1)
    world.pass_time()
    now = world.clock.now()
    world.workspace.metadata.put(AlertPosition(id="alert_position/99", created_at=now, number=99, newest={}))
    world.restart()
    world.dispatcher.step()
    world.pass_time()
    assert world.titles("ops") == [REVIEW.format(1)]


def test_a_record_that_two_processes_read_is_one_alert(world: World) -> None:
    other = Dispatcher(world.workspace, world.sender)
    world.decide(1)
    alerts = world.workspace.metadata.count(Alert)
    other.step()
    assert world.workspace.metadata.count(Alert) == alerts


def test_a_loop_that_stands_still_and_turns_again_is_told(world: World) -> None:
    heart = Heart(world.workspace.run_folder, world.clock)
    world.dispatcher.step()
    world.pass_time(9 * MINUTE)
    assert world.sender.sent == []
    world.pass_time()
    world.pass_time()
    world.pass_time(30 * MINUTE)
    assert world.titles("ops") == ["[severe] The loop stands still since 4 Mar 2026, 00:00 UTC"]
    world.restart()
    heart.beat()
    world.dispatcher.step()
    world.pass_time()
    assert world.titles("ops")[1:] == ["[minor] The loop turns again"]
    text = sent_messages(world.workspace, channel="ops")[1].text
    assert "no step for 11 min; serving goes on" in text
    assert "has ended no step since 2026-03-04 00:00:00 UTC" in text


def test_a_loop_whose_process_died_is_told_at_once_with_what_it_knew(world: World) -> None:
    pulse = LoopPulse(pid=2**22 + 1, at=world.clock.now())
    process_files.write_atomically(world.workspace.run_folder / PULSE, msgspec.json.encode(pulse))
    world.dispatcher.step()
    world.pass_time()
    assert "has ended without closing" in sent_messages(world.workspace, channel="ops")[0].text
    heart = Heart(world.workspace.run_folder, world.clock)
    heart.stop()
    world.dispatcher.step()
    world.pass_time()
    assert world.titles("ops")[1:] == ["[minor] The loop was stopped in order"]


def test_a_loop_that_pauses_for_its_store_says_so(world: World) -> None:
    heart = Heart(world.workspace.run_folder, world.clock)
    heart.falter("metadata store: put failed: disk full")
    world.dispatcher.step()
    world.pass_time(12 * MINUTE)
    world.pass_time()
    assert "metadata store: put failed: disk full" in sent_messages(world.workspace, channel="ops")[0].text


def stream(workspace: Workspace, trouble: str | None) -> None:
    one = StreamProgress(source="payments", rows=12, trouble=trouble)
    progress = IngestionProgress(pid=process_files.own_pid(), since=NOW, streams=(one,))
    process_files.write_atomically(workspace.run_folder / PROGRESS, msgspec.json.encode(progress))


def test_a_stream_that_does_not_flow_for_a_minute_and_its_end_are_told(world: World) -> None:
    for trouble in ("the broker is away", None, "the broker is away"):
        stream(world.workspace, trouble)
        world.pass_time(MINUTE / 2)
    assert world.workspace.metadata.count(Alert) == 0
    world.pass_time(MINUTE)
    world.pass_time()
    stream(world.workspace, None)
    world.dispatcher.step()
    world.pass_time()
    assert world.titles("ops") == ["[moderate] Stream payments does not flow", "[minor] Stream payments flows again"]


def test_alerts_that_no_process_sends_are_a_trouble(world: World) -> None:
    assert "run: trimtab up" in str(alert_trouble(world.workspace))
    world.dispatcher.step()
    assert alert_trouble(world.workspace) is None, "this process has written its states"
