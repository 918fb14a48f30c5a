"""The controller: each window judged once, decisions before actions, and what a crash leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.cause import Cause
from trimtab.control.controller import Controller
from trimtab.control.decision import Draft, decide
from trimtab.control.history import ControlHistory
from trimtab.control.holds import set_freeze
from trimtab.control.ledger import Ledger, verify_chain
from trimtab.control.resolve import resolve
from trimtab.control.reviews import pending_reviews
from trimtab.errors import ActionError, Conflict
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import (
    DAY,
    FIRST,
    MODEL,
    RecordingActions,
    champion_revision,
    judged_signals,
    window_report,
)

CLOCK = ManualClock(FIRST)
POLICY = parse_policy(
    """
project: p
impact: { cost: { false_negative: 40 }, over: 1d }
rollout: { rollback_when: { error_rate: 2% } }
"""
)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    store.put(champion_revision(1, 1))
    yield store
    store.close()


@pytest.fixture
def actions() -> RecordingActions:
    return RecordingActions()


def controller(book: Metadata, actions: RecordingActions) -> Controller:
    return Controller(book, POLICY, MODEL, actions, CLOCK)


def mature(book: Metadata, day: int, *, version: int = 1, p_seq: float = 1.0, money: float = 0.0) -> None:
    window = window_report(day, version=version)
    book.put(window, *judged_signals(window, data_p_seq=p_seq, money_per_day=money))


def test_every_champion_window_gets_one_decision_also_when_nothing_is_done(
    book: Metadata, actions: RecordingActions
) -> None:
    loop = controller(book, actions)
    mature(book, 0)
    book.put(window_report(0, version=2, role="challenger"), window_report(1, stage="closed"))
    assert [d.action for d in loop.step()] == ["monitor"]
    mature(book, 1)
    mature(book, 2)
    assert [d.number for d in loop.step()] == [2, 3]
    assert loop.step() == ()
    assert actions.asked == []
    assert controller(book, actions).step() == (), "another process judges nothing again"
    verify_chain(book.find(Decision, model=MODEL, oldest_first=True))


def test_a_severe_drift_with_high_impact_starts_a_retraining_and_cools_down(
    book: Metadata, actions: RecordingActions
) -> None:
    loop = controller(book, actions)
    for day in range(5):
        mature(book, day, p_seq=0.001, money=6000.0)
    assert [d.action for d in loop.step()] == ["retrain", "monitor", "monitor", "retrain", "monitor"]
    assert actions.asked == [("retrain", "delay/decision/1"), ("retrain", "delay/decision/4")]


def test_a_proposal_is_made_once_until_it_is_answered(book: Metadata, actions: RecordingActions) -> None:
    loop = controller(book, actions)
    mature(book, 0, p_seq=0.001, money=700.0)
    mature(book, 1, p_seq=0.001, money=700.0)
    first, second = loop.step()
    assert (first.action, second.action) == ("review", "monitor")
    assert second.reasons[-1] == "a review is already open (delay/decision/1)"
    assert [d.id for d in pending_reviews(book, MODEL)] == [first.id]
    resolve(book, first.id, "reject", "it is the season", "ann", CLOCK)
    mature(book, 2, p_seq=0.001, money=700.0)
    assert [d.action for d in loop.step()] == ["review"]
    assert actions.asked == [("review", "delay/decision/1"), ("review", "delay/decision/3")]


def test_when_it_gets_severe_the_policy_answers_its_own_open_review_and_retrains(
    book: Metadata, actions: RecordingActions
) -> None:
    loop = controller(book, actions)
    actions.busy = True
    mature(book, 0, p_seq=0.001, money=6000.0)
    assert [d.action for d in loop.step()] == ["monitor"], "something else is being trained"
    actions.busy = False
    mature(book, 1, p_seq=0.015, money=700.0)
    (proposal,) = loop.step()
    assert proposal.action == "review"
    actions.busy = True  # the workflow that waits for the answer
    mature(book, 2, p_seq=0.001, money=6000.0)
    (retraining,) = loop.step()
    assert retraining.action == "retrain"
    assert actions.asked == [("review", proposal.id), ("retrain", retraining.id)]
    assert pending_reviews(book, MODEL) == ()
    (answer,) = book.find(Resolution)
    assert (answer.verdict, answer.by) == ("reject", "policy")
    assert answer.reason == f"superseded: {retraining.id} retrains without waiting"


def test_an_approved_review_begins_the_cooldown(book: Metadata, actions: RecordingActions) -> None:
    loop = controller(book, actions)
    mature(book, 0, p_seq=0.001, money=700.0)
    (proposal,) = loop.step()
    resolve(book, proposal.id, "approve", "yes", "ann", CLOCK)
    mature(book, 1, p_seq=0.001, money=6000.0)
    (after,) = loop.step()
    assert (after.cell, after.action) == ("retrain", "monitor")
    assert "cooldown" in after.reasons[-1]


def test_a_request_to_look_starts_nothing(book: Metadata, actions: RecordingActions) -> None:
    window = window_report(0)
    book.put(window, *judged_signals(window, p=0.0001))
    (decision,) = controller(book, actions).step()
    assert (decision.cell, decision.action) == ("monitor", "review")
    assert actions.asked == []
    assert pending_reviews(book, MODEL) == ()


def test_broken_limits_roll_back_when_the_window_closes_and_its_labels_are_judged_later(
    book: Metadata, actions: RecordingActions
) -> None:
    book.put(champion_revision(2, 2, action="promote"))
    loop = controller(book, actions)
    book.put(window_report(0, version=2, stage="closed", metrics={"error_rate": 0.2}))
    (rollback,) = loop.step()
    assert rollback.action == "rollback"
    assert actions.asked == [("rollback", rollback.id)]
    book.put(champion_revision(3, 1, action="rollback", cause=rollback.id))
    mature(book, 0, version=2, p_seq=0.001, money=6000.0)
    (judged,) = loop.step()
    assert judged.action == "monitor"
    assert "version 2 no longer serves" in judged.reasons[-1]
    book.put(window_report(1, stage="closed", metrics={"error_rate": 0.2}))
    (again,) = loop.step()
    assert again.action == "review", "version 1 came back by a rollback; version 2 failed"


def test_only_the_newest_closed_window_rolls_back(book: Metadata, actions: RecordingActions) -> None:
    book.put(champion_revision(2, 2, action="promote"))
    book.put(
        window_report(0, version=2, stage="closed", metrics={"error_rate": 0.2}),
        window_report(1, version=2, stage="closed", metrics={"error_rate": 0.0}),
    )
    assert controller(book, actions).step() == ()


def test_a_process_that_died_before_the_action_is_made_up_for(book: Metadata, actions: RecordingActions) -> None:
    mature(book, 0, p_seq=0.001, money=6000.0)
    actions.failing = KeyboardInterrupt()  # type: ignore[assignment]  # death, not an error
    with pytest.raises(KeyboardInterrupt):
        controller(book, actions).step()
    assert book.count(Decision) == 1, "the decision was written first"
    actions.failing = None
    assert controller(book, actions).step() == ()
    assert actions.asked == [("retrain", "delay/decision/1")]


def test_an_action_that_left_a_trace_is_not_asked_for_again(book: Metadata, actions: RecordingActions) -> None:
    mature(book, 0, p_seq=0.001, money=6000.0)
    (decision,) = controller(book, actions).step()
    book.put(
        WorkflowStep(
            id="w/train",
            created_at=FIRST,
            workflow="w",
            model=MODEL,
            decision=decision.id,
            step="train",
            outcome="done",
            refers_to=None,
        )
    )
    controller(book, actions).step()
    assert len(actions.asked) == 1


def test_what_is_left_behind_for_a_replaced_champion_is_dropped(book: Metadata, actions: RecordingActions) -> None:
    mature(book, 0, p_seq=0.001, money=6000.0)
    actions.failing = ActionError("no room")
    controller(book, actions).step()
    actions.failing = None
    book.put(champion_revision(2, 2, action="promote"))
    controller(book, actions).step()
    assert actions.asked == []


@pytest.mark.parametrize(("step", "action"), [("register", "monitor"), ("stop", "retrain")])
def test_a_retraining_that_was_refused_starts_no_whole_cooldown(
    book: Metadata, actions: RecordingActions, step: str, action: str
) -> None:
    # given a retraining that a gate has refused, or that has made a bundle
    loop = controller(book, actions)
    mature(book, 0, p_seq=0.001, money=6000.0)
    (decision,) = loop.step()
    book.put(
        WorkflowStep(
            id=f"w/{step}",
            created_at=FIRST,
            workflow="w",
            model=MODEL,
            decision=decision.id,
            step=step,
            outcome="test",
            refers_to=None,
        )
    )
    # when the next day is as bad
    mature(book, 1, p_seq=0.001, money=6000.0)
    (judged,) = loop.step()
    # then only the bundle makes the loop wait for the cooldown of three days
    assert (judged.cell, judged.action) == ("retrain", action)


def test_a_refused_action_is_given_up_and_a_conflict_is_tried_again(book: Metadata, actions: RecordingActions) -> None:
    loop = controller(book, actions)
    mature(book, 0, p_seq=0.001, money=6000.0)
    actions.failing = Conflict("somebody wrote first")
    loop.step()
    actions.failing = None
    loop.step()
    assert actions.asked == [("retrain", "delay/decision/1")]
    mature(book, 5, p_seq=0.001, money=6000.0)
    actions.failing = ActionError("not now")
    loop.step()
    actions.failing = None
    loop.step()
    assert len(actions.asked) == 1


def test_a_decision_of_the_guard_hides_no_window_that_was_written_before_it(
    book: Metadata, actions: RecordingActions
) -> None:
    # given two windows, of which one is decided on, and then the guard's
    mature(book, 0)
    controller(book, actions).step()
    mature(book, 1)
    guarded = window_report(2)
    guarded = msgspec.structs.replace(guarded, id=f"{MODEL}/v1/r1/guarded", stage="guarded")
    book.put(guarded)
    ledger = Ledger(book, MODEL)
    draft = Draft(
        cause=Cause(window=guarded, signals=()),
        band="guard",
        impact_per_day=0.0,
        impact="high",
        cell="rollback",
        action="rollback",
        reasons=("it failed",),
    )
    assert ledger.append(draft, clock=CLOCK) is not None
    book.put(champion_revision(2, 1, action="rollback", cause=f"{MODEL}/decision/2"))
    # when a new process begins, then it decides on the window that is left, and once
    assert [d.window for d in controller(book, actions).step()] == [window_report(1).id]
    assert controller(book, actions).step() == ()


class Busy:
    """A book of records into which somebody writes between a look at how many there are and the reading of them."""

    def __init__(self, book: Metadata, *records: Record) -> None:
        self._book, self._records = book, list(records)

    def find(self, kind: type[Record], /, **where: Any) -> Sequence[Record]:
        if self._records and kind is type(self._records[0]):
            self._book.put(self._records.pop(0))
        return self._book.find(kind, **where)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


def test_a_window_that_is_written_meanwhile_pushes_no_other_out(book: Metadata, actions: RecordingActions) -> None:
    mature(book, 0)
    busy: Any = Busy(book, window_report(1), window_report(2))
    loop = controller(busy, actions)
    made = [*loop.step(), *loop.step()]
    assert [d.start for d in made] == [FIRST + n * DAY for n in range(3)]


class Raced:
    """A book of records into which another process writes a record at the moment of a write."""

    def __init__(self, book: Metadata, record: Record) -> None:
        self._book, self._records = book, [record]

    def put(self, *records: Record) -> None:
        if self._records:
            self._book.put(self._records.pop())
        self._book.put(*records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


@pytest.mark.parametrize(("day", "number"), [(2, 3), (1, None)])
def test_a_decision_that_is_written_meanwhile_breaks_no_chain(
    book: Metadata, actions: RecordingActions, tmp_path: Path, day: int, number: int | None
) -> None:
    # given one decision, and the next that another process writes at the moment of this one's, on another or its window
    mature(book, 0)
    mature(book, 1)
    controller(book, actions).step()
    first, second = book.find(Decision, model=MODEL, oldest_first=True)
    copy = SqlMetadata(tmp_path / "copy.db")
    copy.put(first)
    raced: Any = Raced(copy, second)
    cause = Cause(window=window_report(day), signals=tuple(judged_signals(window_report(day))))
    made = Ledger(raced, MODEL).append(decide(cause, POLICY, ControlHistory()), clock=ManualClock(FIRST + DAY))
    # then each window has one decision, and the numbers go on
    found = copy.find(Decision, model=MODEL, oldest_first=True)
    assert found[:2] == [first, second]
    assert found[2:] == ([made] if number else [])
    assert made is None or made.number == number
    verify_chain(found)
    copy.close()


class Read:
    """A book of records that notes how many records of each kind were read from it."""

    def __init__(self, book: Metadata) -> None:
        self._book = book
        self.read: Counter[type[Record]] = Counter()

    def find(self, kind: type[Record], /, **where: Any) -> Sequence[Record]:
        found = self._book.find(kind, **where)
        self.read[kind] += len(found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


def test_a_new_controller_does_not_read_all_that_was_decided(book: Metadata, actions: RecordingActions) -> None:
    loop = controller(book, actions)
    for day in range(60):
        mature(book, day)
    assert len(loop.step()) == 60
    mature(book, 60)
    counted: Any = Read(book)
    assert [d.number for d in controller(counted, actions).step()] == [61]
    assert counted.read[Decision] <= 5
    assert counted.read[WindowReport] <= 10


def test_a_review_is_escalated_and_then_expires(book: Metadata, actions: RecordingActions) -> None:
    loop = controller(book, actions)
    mature(book, 0, p_seq=0.001, money=700.0)
    (review,) = loop.step()
    # when windows go by and nobody answers
    for day in range(1, 14):
        mature(book, day)
    loop.step()
    # then it is escalated from the third day on
    assert actions.asked == [("review", review.id), *[("escalate", review.id)] * 11]
    assert pending_reviews(book, MODEL) == (review,)
    # and rejected by the policy on the fourteenth
    mature(book, 14)
    loop.step()
    (answer,) = book.find(Resolution)
    assert (answer.decision, answer.verdict, answer.by) == (review.id, "reject", "policy")
    assert answer.reason == "expired: no answer for 14d (decide.reviews.expire)"
    # and the next cause asks again
    mature(book, 15, p_seq=0.001, money=700.0)
    (again,) = loop.step()
    assert again.action == "review"


def test_while_a_model_is_frozen_windows_are_monitored_and_limits_still_roll_back(
    book: Metadata, actions: RecordingActions
) -> None:
    loop = controller(book, actions)
    book.put(champion_revision(2, 2, action="promote"))
    until = FIRST + 5 * DAY
    set_freeze(book, MODEL, frozen=True, reason="the audit", by="ann", clock=CLOCK, until=until)
    # the labels of day 1 have matured on day 4, those of day 2 when the freeze has ended
    mature(book, 1, version=2, p_seq=0.001, money=6000.0)
    (frozen,) = loop.step()
    assert (frozen.cell, frozen.action) == ("retrain", "monitor")
    assert frozen.reasons[-1] == f"{MODEL} is frozen until 2026-03-06 00:00 by ann: the audit"
    assert (frozen.held_by, frozen.held_until) == ("frozen", until)
    book.put(window_report(2, version=2, stage="closed", metrics={"error_rate": 0.5, "error_rate_low": 0.4}))
    (rollback,) = loop.step()
    assert rollback.action == "rollback"
    mature(book, 2, version=2, p_seq=0.001, money=6000.0)
    (free,) = loop.step()
    assert free.action == "retrain"
