"""What a person is asked after a retraining has failed, and what decisions say of refused batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from trimtab.clock import ManualClock
from trimtab.control.controller import Controller
from trimtab.control.failures import last_good_data
from trimtab.control.holds import set_freeze
from trimtab.control.resolve import resolve
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.data import CheckReport, TableVersion
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
POLICY = parse_policy("project: p\nimpact: { cost: { false_negative: 40 }, over: 1d }\ndecide: { retry_after: 3d }\n")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    store.put(champion_revision(1, 1))
    yield store
    store.close()


@pytest.fixture
def loop(book: Metadata) -> Controller:
    return Controller(book, POLICY, MODEL, RecordingActions(), CLOCK, tables=("flights",))


def mature(book: Metadata, day: int, *, money: float = 0.0) -> None:
    window = window_report(day)
    book.put(window, *judged_signals(window, data_p_seq=0.001 if money else 1.0, money_per_day=money))


def stop(book: Metadata, decision: Decision, *, report: str | None = None) -> None:
    """End the retraining of a decision; report: of the gate that refused it."""
    workflow = f"retrain/{decision.id}"
    step = WorkflowStep(
        id=f"{workflow}/stop",
        created_at=FIRST,
        workflow=workflow,
        model=MODEL,
        decision=decision.id,
        step="stop",
        outcome="train: OSError: the disk is full",
        refers_to=report,
    )
    book.put(step)


def test_a_person_is_asked_once_after_a_failure(book: Metadata, loop: Controller) -> None:
    mature(book, 0, money=6000.0)
    (retraining,) = loop.step()
    stop(book, retraining)
    # when a calm day follows, then a person is asked to look
    mature(book, 1)
    (asked,) = loop.step()
    assert (asked.cell, asked.action, asked.trigger) == ("monitor", "review", "failure")
    assert asked.reasons[-1] == (
        "a person should look: the retraining of delay/decision/1 failed: train: OSError: the disk is full"
    )
    # and not again on the days after it
    mature(book, 2)
    (after,) = loop.step()
    assert (after.action, after.trigger) == ("monitor", "matrix")


def test_after_a_failure_a_bad_day_proposes_a_retraining_rather_than_to_wait(book: Metadata, loop: Controller) -> None:
    mature(book, 0, money=6000.0)
    (retraining,) = loop.step()
    stop(book, retraining)
    mature(book, 1, money=6000.0)
    (asked,) = loop.step()
    assert (asked.cell, asked.action, asked.trigger) == ("retrain", "review", "failure")
    # and when the person says no, the wait goes on without another question
    resolve(book, asked.id, "reject", "I repair it first", "ann", CLOCK)
    mature(book, 2, money=6000.0)
    (after,) = loop.step()
    assert after.action == "monitor"
    assert "decide.retry_after" in after.reasons[-1]


def test_a_refusal_by_a_gate_is_no_failure(book: Metadata, loop: Controller) -> None:
    mature(book, 0, money=6000.0)
    (retraining,) = loop.step()
    stop(book, retraining, report="run1/gates/x")
    mature(book, 1)
    assert [d.action for d in loop.step()] == ["monitor"]


def version(number: int, created_at: datetime) -> TableVersion:
    return TableVersion(
        id=f"flights@{number}",
        created_at=created_at,
        table="flights",
        version=number,
        rows=10,
        added_rows=10,
        content_hash="",
        schema={},
        source=f"{number}.parquet",
        source_hash=str(number),
    )


def checked(source: str, created_at: datetime, verdict: Literal["pass", "fail"] = "fail") -> CheckReport:
    return CheckReport(
        id=f"{source}/{created_at:%s}",
        created_at=created_at,
        table="flights",
        batch_hash=source,
        source=source,
        content_hash="",
        verdict=verdict,
        rows=10,
        failing_rows=4,
        max_failing_share=0.01,
        failures=(),
        quarantine=None,
        reason="4 of 10 rows fail",
    )


def test_a_refused_batch_is_said_with_the_age_of_the_last_good_version(book: Metadata) -> None:
    assert last_good_data(book, ["flights"]) == ()
    book.put(version(3, FIRST), checked("3.parquet", FIRST, "pass"))
    assert last_good_data(book, ["flights"]) == ()
    book.put(checked("4.parquet", FIRST + DAY), checked("5.parquet", FIRST + DAY + timedelta(hours=12)))
    (said,) = last_good_data(book, ["flights", "weather"])
    assert said == (
        "the last good version of table 'flights', 3, is used: 2 batches refused since; the newest (5.parquet) came "
        "1.5 days after it: 4 of 10 rows fail"
    )
    # and no longer when a batch has passed
    book.put(version(4, FIRST + 2 * DAY))
    assert last_good_data(book, ["flights"]) == ()


def test_a_table_that_is_checked_again_refuses_no_batch(book: Metadata) -> None:
    book.put(version(3, FIRST), checked("flights@3", FIRST + DAY))
    assert last_good_data(book, ["flights"]) == ()


def test_a_decision_to_retrain_says_that_it_uses_older_data(book: Metadata, loop: Controller) -> None:
    book.put(version(3, FIRST), checked("4.parquet", FIRST + DAY))
    mature(book, 0)
    mature(book, 1, money=6000.0)
    calm, retraining = loop.step()
    assert not any("last good version" in reason for reason in calm.reasons)
    assert "last good version of table 'flights', 3, is used: 1 batch refused" in retraining.reasons[-1]


def test_no_person_is_asked_about_a_failure_while_the_model_is_frozen(book: Metadata, loop: Controller) -> None:
    mature(book, 0, money=6000.0)
    (retraining,) = loop.step()
    stop(book, retraining)
    set_freeze(book, MODEL, frozen=True, reason="a sale", by="ann", clock=CLOCK)
    mature(book, 1)
    assert [d.action for d in loop.step()] == ["monitor"]
    set_freeze(book, MODEL, frozen=False, reason="it is over", by="ann", clock=CLOCK)
    mature(book, 2)
    assert [(d.action, d.trigger) for d in loop.step()] == [("review", "failure")]


def test_a_batch_that_was_refused_no_later_than_the_last_good_version_is_not_said(book: Metadata) -> None:
    book.put(version(3, FIRST), checked("2.parquet", FIRST))
    assert last_good_data(book, ["flights"]) == ()
