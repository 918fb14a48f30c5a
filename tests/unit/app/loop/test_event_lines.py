"""`trimtab up` tells what the loop did; the reason that it tells is the one that counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trimtab.app.loop.event_lines import NewEvents
from trimtab.clock import ManualClock
from trimtab.control.controller import Controller
from trimtab.control.decision import counted_reason
from trimtab.control.holds import set_freeze
from trimtab.control.resolve import resolve
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.serving import Assignment, Revision
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, RecordingActions, judged_signals, window_report

CLOCK = ManualClock(FIRST)
POLICY = parse_policy("project: p\nimpact: { cost: { false_negative: 40 } }\n")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def decided(book: Metadata, day: int, p_seq: float, money: float) -> Decision:
    window = window_report(day)
    book.put(window, *judged_signals(window, data_p_seq=p_seq, money_per_day=money))
    (found,) = Controller(book, POLICY, MODEL, RecordingActions(), CLOCK).step()
    return found


def test_a_freeze_and_its_end_are_told(book: Metadata) -> None:
    events = NewEvents(book, CLOCK)
    set_freeze(book, MODEL, frozen=True, reason="the audit", by="ann", clock=CLOCK, until=FIRST + DAY)
    set_freeze(book, MODEL, frozen=False, reason="it is over", by="ben", clock=CLOCK)
    assert [line.split("  ", 1)[1] for line in events.lines()] == [
        "freeze  delay, until 2026-03-02 00:00, by ann: the audit",
        "unfreeze  delay, by ben: it is over",
    ]


def test_each_thing_that_happened_is_told_once(book: Metadata) -> None:
    decided(book, 0, 0.001, 700.0)
    events = NewEvents(book, CLOCK)
    assert list(events.lines()) == [], "what was there before is no events"
    # when nothing worth telling, an answer, a training and a promotion come
    decided(book, 1, 1.0, 0.0)
    resolve(book, "delay/decision/1", "approve", "the terminal opened", "ann", CLOCK)
    names = {"workflow": "w", "model": MODEL, "decision": "delay/decision/1"}
    book.put(WorkflowStep(id="w/train", created_at=CLOCK.now(), step="train", outcome="run 1", refers_to=None, **names))
    serves = (Assignment(role="champion", bundle="delay/2", version=2, weight=100.0),)
    made = {"model": MODEL, "number": 1, "assignments": serves, "action": "promote", "cause": "c", "reason": "better"}
    book.put(msgspec.convert({"id": "delay#1", "created_at": CLOCK.now(), "by": "trimtab", **made}, Revision))
    # then each is one line, and nothing is told twice
    told = [line.split("  ", 1)[1] for line in events.lines()]
    assert sorted(told) == [
        "approve  delay/decision/1, by ann: the terminal opened",
        "promote  delay, revision 1: champion 2 (100 %), by trimtab",
        "train  delay/decision/1: run 1",
    ]
    assert list(events.lines()) == []


def test_where_nothing_is_known_to_have_happened_a_look_a_second_is_enough(book: Metadata) -> None:
    clock = ManualClock(FIRST)
    events = NewEvents(book, clock)
    decided(book, 0, 0.001, 700.0)
    assert list(events.lines(now=False)) == []
    clock.sleep(1.0)
    assert len(list(events.lines(now=False))) == 1


def test_the_reason_told_is_the_one_that_counted(book: Metadata) -> None:
    proposed = decided(book, 0, 0.001, 700.0)
    assert proposed.action == "review"
    assert counted_reason(proposed) == proposed.reasons[-1]
    braked = decided(book, 1, 0.001, 700.0)
    assert (braked.action, counted_reason(braked)) == ("monitor", "a review is already open (delay/decision/1)")
    limits = ("2 of 10 predictions failed", "version 1, which served before, is restored", "labels are not here yet")
    early = msgspec.structs.replace(proposed, action="rollback", reasons=limits)
    assert counted_reason(early) == "2 of 10 predictions failed"
    instead = msgspec.structs.replace(proposed, reasons=(*proposed.reasons, "it takes the place of the open review"))
    assert counted_reason(instead) == counted_reason(proposed)


def test_the_reason_of_a_refresh_is_that_it_is_due(book: Metadata) -> None:
    seen = decided(book, 0, 0.001, 700.0).reasons[:2]
    refresh = msgspec.structs.replace(
        decided(book, 1, 0.001, 700.0), action="retrain", trigger="routine", reasons=(*seen, "routine: 7 days ago")
    )
    assert counted_reason(refresh) == "routine: 7 days ago"
    suspected = msgspec.structs.replace(refresh, action="review", reasons=(*seen, "check the pipe", "a person is told"))
    assert counted_reason(suspected) == "check the pipe"
