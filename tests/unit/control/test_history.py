"""What happened before a decision, from the records of a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.history import ControlEvents, ControlHistory, gather_history
from trimtab.control.ledger import Ledger
from trimtab.records.control import WorkflowStep
from trimtab.records.serving import Assignment
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import (
    DAY,
    FIRST,
    MODEL,
    champion_revision,
    dataset_record,
    run_record,
    window_report,
)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    """A store in which version 2 took the place of version 1, and was rolled back."""
    store = SqlMetadata(tmp_path / "metadata.db")
    for revision in (champion_revision(1, 1), champion_revision(2, 2), champion_revision(3, 1, action="rollback")):
        store.put(revision)
    yield store
    store.close()


def history(book: Metadata) -> ControlHistory:
    return gather_history(ControlEvents(book, MODEL), time=FIRST, running=False)


def test_a_champion_that_a_rollback_restored_stays_restored_while_others_challenge_it(book: Metadata) -> None:
    assert (history(book).champion, history(book).previous, history(book).restored) == (1, 2, True)
    # when another version challenges it
    challenger = Assignment(role="challenger", bundle=f"{MODEL}/3", version=3, weight=10.0)
    alone = champion_revision(4, 1)
    book.put(msgspec.structs.replace(alone, action="challenge", assignments=(*alone.assignments, challenger)))
    assert history(book).restored
    # until that one takes its place
    book.put(champion_revision(5, 3, action="promote"))
    assert (history(book).champion, history(book).restored) == (3, False)


def retrain(book: Metadata, day: int, *steps: str) -> None:
    """Write the decision to retrain by the window of a day, and steps of its workflow."""
    draft = Draft(
        cause=Cause(window=window_report(day), signals=()),
        band="severe",
        impact_per_day=0.0,
        impact="high",
        cell="retrain",
        action="retrain",
        reasons=("a test",),
    )
    decision = Ledger(book, MODEL).append(draft, clock=ManualClock(FIRST))
    assert decision is not None
    for step in steps:
        book.put(
            WorkflowStep(
                id=f"retrain/{decision.id}/{step}",
                created_at=FIRST,
                workflow=f"retrain/{decision.id}",
                model=MODEL,
                decision=decision.id,
                step=step,
                outcome=f"{step} of day {day}",
                refers_to=None,
            )
        )


def test_refusals_in_a_row_are_counted_back_to_the_newest_success(book: Metadata) -> None:
    retrain(book, 0, "stop")
    retrain(book, 1, "snapshot", "register", "abandon")
    assert (history(book).refused, history(book).why_refused) == (0, "")
    retrain(book, 2, "snapshot", "stop")
    retrain(book, 3, "stop")
    found = history(book)
    assert (found.refused, found.why_refused) == (2, "stop of day 3")
    assert (found.last_retrain, found.last_refused) == (FIRST + 2 * DAY, FIRST + 4 * DAY)


def test_a_retraining_under_way_counts_as_the_last_one(book: Metadata) -> None:
    retrain(book, 0, "stop")
    retrain(book, 4)
    assert (history(book).refused, history(book).last_retrain) == (0, FIRST + 5 * DAY)


def test_what_the_budget_counts_is_there_with_its_times(book: Metadata) -> None:
    for day in (1, 5, 20):
        retrain(book, day)
    book.put(dataset_record(as_of=FIRST + 4 * DAY), run_record(1, cost=2.0))
    found = gather_history(ControlEvents(book, MODEL), time=FIRST + 33 * DAY, running=0)
    assert found.retrained_at == (FIRST + 6 * DAY, FIRST + 21 * DAY)
    assert len(found.retrained_at) == found.retrains
    assert found.spent_at == ((FIRST + 4 * DAY, 2.0),)
    assert found.spent == 2.0
    later = gather_history(ControlEvents(book, MODEL), time=FIRST + 34 * DAY, running=0)
    assert (later.spent, later.spent_at) == (0.0, ())
