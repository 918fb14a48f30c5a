"""A person's answers to reviews."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.control.controller import Controller
from trimtab.control.resolve import resolve
from trimtab.control.reviews import open_notes, pending_reviews
from trimtab.errors import UsageError
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision, Resolution
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import FIRST, MODEL, RecordingActions, judged_signals, window_report

CLOCK = ManualClock(FIRST)
POLICY = parse_policy("project: p\nimpact: { cost: { false_negative: 40 } }\n")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    """Decision 1 monitors, decision 2 proposes a retraining."""
    store = SqlMetadata(tmp_path / "metadata.db")
    for day, p_seq, money in ((0, 1.0, 0.0), (1, 0.001, 700.0)):
        window = window_report(day)
        store.put(window, *judged_signals(window, data_p_seq=p_seq, money_per_day=money))
    Controller(store, POLICY, MODEL, RecordingActions(), CLOCK).step()
    yield store
    store.close()


def test_an_answer_is_written_and_closes_the_review(book: Metadata) -> None:
    assert [d.id for d in pending_reviews(book, MODEL)] == ["delay/decision/2"]
    found = resolve(book, "delay/decision/2", "approve", " the new terminal opened ", "ann", CLOCK)
    assert (found.id, found.reason, found.by) == ("delay/decision/2/resolution", "the new terminal opened", "ann")
    assert book.get(Resolution, found.id) == found
    assert found.as_of is None  # no window has closed
    assert pending_reviews(book, MODEL) == ()


def test_an_answer_notes_the_event_time(book: Metadata) -> None:
    book.put(window_report(4, stage="closed"), window_report(2))
    assert resolve(book, "delay/decision/2", "reject", "holidays", "ann", CLOCK).as_of == FIRST + timedelta(days=5)


def test_a_second_answer_is_refused_and_says_what_the_first_was(book: Metadata) -> None:
    resolve(book, "delay/decision/2", "reject", "holidays", "ann", CLOCK)
    with pytest.raises(UsageError, match=r"answered by ann at 2026-03-01 00:00 UTC: reject \(holidays\)"):
        resolve(book, "delay/decision/2", "approve", "no, do it", "bob", CLOCK)


@pytest.mark.parametrize(
    ("decision", "reason", "by", "said"),
    [
        ("delay/decision/22", "why not", "ann", "Did you mean.*Waiting for review: delay/decision/2"),
        ("delay/decision/1", "why not", "ann", "is a decision to monitor; it does not wait"),
        ("delay/decision/2", "  ", "ann", "needs a reason"),
        ("delay/decision/2", "why not", "", "needs a name of who decides"),
    ],
)
def test_what_does_not_fit_is_refused(book: Metadata, decision: str, reason: str, by: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve(book, decision, "approve", reason, by, CLOCK)
    assert book.count(Resolution) == 0


def test_an_unknown_verdict_is_refused(book: Metadata) -> None:
    with pytest.raises(UsageError, match="Did you mean 'approve'"):
        resolve(book, "delay/decision/2", "aprove", "yes", "ann", CLOCK)  # type: ignore[arg-type]  # what is tested


def test_a_review_that_proposes_nothing_cannot_be_approved_but_answered(book: Metadata) -> None:
    # given a window that is unusual by itself, no more: a person should look
    resolve(book, "delay/decision/2", "reject", "holidays", "ann", CLOCK)
    window = window_report(2)
    book.put(window, *judged_signals(window, p=0.001))
    Controller(book, POLICY, MODEL, RecordingActions(), CLOCK).step()
    assert (book.get(Decision, "delay/decision/3").action, book.get(Decision, "delay/decision/3").cell) == (
        "review",
        "monitor",
    )
    with pytest.raises(UsageError, match=r"proposes no retraining, so there is nothing to approve.*trimtab retrain"):
        resolve(book, "delay/decision/3", "approve", "looks bad", "ann", CLOCK)
    assert resolve(book, "delay/decision/3", "reject", "a holiday", "ann", CLOCK).verdict == "reject"


def test_what_a_person_should_look_at_is_listed_until_it_is_acknowledged(book: Metadata) -> None:
    # given an answered proposal, and a review of a window that is only unusual by itself
    resolve(book, "delay/decision/2", "reject", "holidays", "ann", CLOCK)
    window = window_report(2)
    book.put(window, *judged_signals(window, p=0.001))
    Controller(book, POLICY, MODEL, RecordingActions(), CLOCK).step()
    note = book.get(Decision, "delay/decision/3")
    assert (note.action, note.cell) == ("review", "monitor")
    assert open_notes(book, MODEL) == (note,)
    # when somebody has looked
    resolve(book, note.id, "acknowledge", "a public holiday", "ann", CLOCK)
    # then it waits for nobody
    assert open_notes(book, MODEL) == ()
    assert pending_reviews(book, MODEL) == ()


def test_a_proposal_needs_an_answer(book: Metadata) -> None:
    with pytest.raises(UsageError, match=r"proposes a retraining and needs an answer: trimtab approve delay/dec"):
        resolve(book, "delay/decision/2", "acknowledge", "seen", "ann", CLOCK)
