"""A replay sends rows and labels in event time, takes turns with the loop, and waits for the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from trimtab.app.gateway.turns import read_turn
from trimtab.app.project.process_files import PROGRESS, Progress, own_pid
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.replay import replay as replaying
from trimtab.app.replay.client import Answer, Client
from trimtab.app.replay.replay import Replay, Tally
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.app.stages import ingesting
from trimtab.clock import ManualClock
from trimtab.errors import StageError, StoreError
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.judged import bundle_record
from trimtab.testing.predictions import label_rows, prediction_rows

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROWS, KNOWN_AFTER = 60, 30 * HOUR
"""A row an hour for two days and a half; the label of each is known 30 hours later."""
DEFINITIONS = """
import trimtab as tt

trips = tt.FileSource("trips", "trips.parquet", timestamp="at", known_at="known")
delay = tt.Model("delay", task="binary", examples=trips, label="late", features=["row"])
"""


class Loop(ManualClock):
    """A clock that does, whenever the replay waits, what the loop does then: it answers the turn that is asked for."""

    def __init__(self) -> None:
        super().__init__(START)
        self.folder = Path()
        self.turns: list[tuple[int, int]] = []
        """Number of each turn, and the rows that the loop must have read for it."""
        self.is_there = False

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        asked = read_turn(self.folder) if self.is_there else None
        if asked is not None:
            self.turns.append((asked.number, asked.rows))
            self.announce(turn=asked.number, rows=asked.rows)

    def announce(self, *, turn: int = 0, rows: int = 0) -> None:
        self.is_there = True
        found = Progress(pid=own_pid(), watermark=0, rows=rows, labels=0, busy=False, turn=turn)
        (self.folder / PROGRESS).write_bytes(msgspec.json.encode(found))


class Gateway(Client):
    """Keeps what is posted, in order: the ids of predictions, and "label" with the id of each label."""

    def __init__(self, answer: Callable[[str], Answer] = lambda _: Answer(200, b"")) -> None:
        super().__init__("http://127.0.0.1:1", ManualClock(), connections=0)
        self.posted: list[str] = []
        self.labels: dict[str, list[str]] = {}
        """By label: the predictions that were posted before it."""
        self._answer = answer

    def post_all(self, path: str, bodies: Sequence[bytes]) -> list[Answer]:
        found = []
        for body in bodies:
            message: dict[str, Any] = msgspec.json.decode(body)
            if path.endswith("/feedback"):
                self.labels |= {each["id"]: list(self.posted) for each in message["labels"]}
            else:
                self.posted.append(message["id"])
            found.append(self._answer(path))
        return found


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A project with rows in its table, and a gateway that serves its first version."""
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "trimtab.yaml").write_text("project: p\ndecide: { window: 1d, lateness: 6h }\n")
    at = [START + n * HOUR for n in range(ROWS)]
    rows = {"at": at, "known": [one + KNOWN_AFTER for one in at], "row": [float(n) for n in range(ROWS)]}
    pl.DataFrame({**rows, "late": [n % 2 for n in range(ROWS)]}).write_parquet(tmp_path / "trips.parquet")
    clock = Loop()
    opened = open_workspace(tmp_path, clock=clock)
    clock.folder = opened.run_folder
    clock.move_to(START + timedelta(days=30))
    ingesting.ingest(opened)
    opened.metadata.put(bundle_record(1))
    rollouts = Rollouts(opened.metadata, opened.project.policy.rollout, "delay", opened.clock)
    rollouts.deploy(bundle_record(1), cause="1", reason="a test", by="tests")
    announce(opened)
    yield opened
    opened.metadata.close()


def announce(workspace: Workspace, *, revision: int = 1, troubles: dict[str, str] | None = None) -> None:
    found = Announcement("127.0.0.1", 1, own_pid(), troubles=troubles or {}, serving={"delay": revision})
    (workspace.run_folder / ANNOUNCEMENT).write_bytes(msgspec.json.encode(found))


def loop_of(workspace: Workspace) -> Loop:
    assert isinstance(workspace.clock, Loop)
    return workspace.clock


def play(workspace: Workspace, gateway: Gateway, **options: Any) -> Tally:
    stopping = options.pop("stopping", lambda: False)
    end = options.pop("end", START + ROWS * HOUR)
    made = Replay(workspace, workspace.model("delay"), start=START, end=end, **options)
    return made.run(gateway, tell=lambda _: None, stopping=stopping)


def number(id_: str) -> int:
    return int(id_.rpartition("-")[2])


def test_every_row_is_sent_once_in_order_and_labels_once_they_are_known(workspace: Workspace) -> None:
    gateway = Gateway()
    tally = play(workspace, gateway)
    assert gateway.posted == [f"trips-{n}" for n in range(ROWS)]
    assert (tally.sent, tally.failed, tally.labels, tally.labels_failed) == (ROWS, 0, len(gateway.labels), 0)
    # a label comes when the rows of its hour have been sent, 30 hours after its own, and none before it is known
    known_by_the_end = [n for n in range(ROWS) if n * HOUR + KNOWN_AFTER < ROWS * HOUR]
    assert sorted(map(number, gateway.labels)) == known_by_the_end
    for label, sent_before in gateway.labels.items():
        assert len(sent_before) * HOUR >= number(label) * HOUR + KNOWN_AFTER - HOUR, label


def test_what_is_in_the_log_already_is_not_sent_again(workspace: Workspace) -> None:
    log = SegmentLog(workspace.root / "predictions")
    log.append(prediction_rows(["trips-0", "trips-2", "trips-4"], model=["delay", "delay", "another"]))
    log.append_labels(label_rows(["trips-1", "trips-3"], model=["delay", None]))
    log.close()
    gateway = Gateway()
    play(workspace, gateway)
    assert [number(id_) for id_ in gateway.posted[:4]] == [1, 3, 4, 5]
    assert not gateway.labels.keys() & {"trips-1", "trips-3"}, "a label that names no model is of any"


def test_the_loop_has_its_turn_whenever_a_window_closes(workspace: Workspace) -> None:
    loop_of(workspace).announce()
    answered = list[int]()

    def answer() -> int:
        answered.append(len(loop_of(workspace).turns))
        return 0

    play(workspace, Gateway(), answer=answer)
    # a day closes with the first row six hours after it; the first turn comes before all rows, the last one after
    turns = loop_of(workspace).turns
    assert turns == [(1, 0), (2, 7), (3, 31), (4, 55), (5, 60)]
    assert answered == [1, 2, 3, 4, 5], "reviews are answered after each turn"
    assert read_turn(workspace.run_folder) is None, "the loop goes on by itself"


def test_answers_give_the_loop_another_turn(workspace: Workspace) -> None:
    loop_of(workspace).announce()
    waiting = [1, 0]
    play(workspace, Gateway(), answer=lambda: waiting.pop(0) if waiting else 0, end=START + HOUR)
    assert len(loop_of(workspace).turns) == 3


def test_a_loop_that_has_ended_is_not_waited_for_forever(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "PATIENCE_SECONDS", 0.1)
    loop, gateway = loop_of(workspace), Gateway()
    loop.announce()

    def stopping() -> bool:
        if len(gateway.posted) >= 3 and loop.is_there:
            loop.is_there = False
            (workspace.run_folder / PROGRESS).unlink()
        return False

    with pytest.raises(StoreError, match="the steering loop has ended"):
        play(workspace, gateway, stopping=stopping)
    assert len(gateway.posted) < ROWS
    assert read_turn(workspace.run_folder) is None


def test_a_gateway_that_does_not_come_to_serve_is_told_with_its_trouble(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "TROUBLE_SECONDS", 0.1)
    announce(workspace, revision=0, troubles={"delay": "no such file"})
    with pytest.raises(StoreError, match="does not serve revision 1: no such file"):
        play(workspace, Gateway())


def test_what_fails_is_counted_and_the_first_errors_are_kept(workspace: Workspace) -> None:
    refused = Gateway(lambda path: Answer(400, b"no such column"))
    tally = play(workspace, refused)
    assert (tally.sent, tally.failed) == (ROWS, ROWS)
    assert tally.labels_failed == tally.labels == len(refused.labels)
    assert tally.errors == ["no such column"] * 5


def test_a_replay_stops_between_two_ticks(workspace: Workspace) -> None:
    gateway = Gateway()
    tally = play(workspace, gateway, stopping=lambda: len(gateway.posted) >= 3)
    assert (tally.sent, len(gateway.posted)) == (3, 3)
    assert tally.event_time == START + 2 * HOUR


def test_a_stretch_without_rows_is_refused(workspace: Workspace) -> None:
    with pytest.raises(StageError, match="no rows between"):
        Replay(workspace, workspace.model("delay"), start=START - HOUR, end=START)
