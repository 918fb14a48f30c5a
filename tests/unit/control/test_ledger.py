"""The ledger: numbers, links, and what a change looks like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft, decide
from trimtab.control.history import ControlHistory
from trimtab.control.ledger import Ledger, digest, verify_chain
from trimtab.errors import StoreError
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, judged_signals, window_report

CLOCK, LATER = ManualClock(FIRST), ManualClock(FIRST + DAY)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def draft(day: int) -> Draft:
    window = window_report(day)
    return decide(
        Cause(window=window, signals=tuple(judged_signals(window))), parse_policy("project: p\n"), ControlHistory()
    )


@pytest.fixture
def decisions(book: Metadata) -> list[Decision]:
    """Five decisions, as they come back from the store."""
    ledger = Ledger(book, MODEL)
    for day in range(5):
        ledger.append(draft(day), clock=CLOCK)
    return list(book.find(Decision, model=MODEL, oldest_first=True))


def test_decisions_are_numbered_and_linked(decisions: list[Decision]) -> None:
    assert [d.id for d in decisions] == [f"delay/decision/{n}" for n in range(1, 6)]
    assert [d.previous_hash for d in decisions[1:]] == [d.hash for d in decisions[:-1]]
    verify_chain(decisions)
    verify_chain([])


@pytest.mark.parametrize("field", ["reasons", "action", "p_seq", "by", "created_at", "impact_per_day", "signals"])
def test_a_changed_decision_is_named(decisions: list[Decision], field: str) -> None:
    other = {
        "reasons": ("all is well",),
        "action": "retrain",
        "p_seq": 0.5001,
        "by": "somebody",
        "created_at": FIRST.replace(year=2027),
        "impact_per_day": 1.0,
        "signals": (),
    }[field]
    decisions[2] = msgspec.structs.replace(decisions[2], **{field: other})
    with pytest.raises(StoreError, match=r"broken at 'delay/decision/3'.*changed"):
        verify_chain(decisions)


def test_a_change_with_a_new_hash_breaks_the_next_link(decisions: list[Decision]) -> None:
    forged = msgspec.structs.replace(decisions[2], reasons=("all is well",))
    decisions[2] = msgspec.structs.replace(forged, hash=digest(forged))
    with pytest.raises(StoreError, match="broken at 'delay/decision/4'"):
        verify_chain(decisions)


def test_a_removed_decision_is_named(decisions: list[Decision]) -> None:
    del decisions[1]
    with pytest.raises(StoreError, match="decision 2 is missing before 'delay/decision/3'"):
        verify_chain(decisions)


def test_a_window_is_decided_on_once(book: Metadata) -> None:
    ledger = Ledger(book, MODEL)
    assert ledger.append(draft(0), clock=CLOCK) is not None
    assert ledger.append(draft(0), clock=CLOCK) is None


def test_two_processes_share_one_chain(book: Metadata) -> None:
    one, other = Ledger(book, MODEL), Ledger(book, MODEL)
    one.append(draft(0), clock=CLOCK)
    assert other.append(draft(0), clock=LATER) is None, "the other process has decided on it"
    made = other.append(draft(1), clock=CLOCK)
    assert made is not None
    assert made.number == 2
    verify_chain(book.find(Decision, model=MODEL, oldest_first=True))
