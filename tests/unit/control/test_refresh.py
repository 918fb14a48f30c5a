"""When a routine refresh is due, and whether its model serves at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.control.cause import Cause
from trimtab.control.history import ControlHistory
from trimtab.control.refresh import LabelledRows, due, labelled_rows, promotes_at_once, rare
from trimtab.policy.reader import parse_policy
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, champion_revision, dataset_record, window_report

POLICY = parse_policy("project: p\nretrain: { refresh: { every: 7d, min_new_rows: 1% } }\n")
BY_DATA = parse_policy("project: p\nretrain: { on_new_data: 500 }\n")
OFF = parse_policy("project: p\n")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    store.put(champion_revision(1, 1), bundle_record(1), dataset_record())
    yield store
    store.close()


def cause(day: int) -> Cause:
    return Cause(window=window_report(day), signals=())


@pytest.mark.parametrize(("day", "is_due"), [(5, False), (6, True), (30, True)])
def test_a_refresh_is_due_when_the_time_since_the_last_one_has_passed(day: int, is_due: bool) -> None:
    found = due(cause(day), POLICY, LabelledRows(since=FIRST, new=100, known=1000))
    assert (found is not None) is is_due
    if found is not None:
        assert found.trigger == "routine"
        assert found.reason.startswith("routine: ")


@pytest.mark.parametrize(("day", "is_due"), [(3, False), (4, True)])
def test_the_first_refresh_counts_the_time_that_labels_take_to_be_complete(day: int, is_due: bool) -> None:
    rows = LabelledRows(since=FIRST, new=100, known=1000, by_clock=True)
    assert (due(cause(day), POLICY, rows) is not None) is is_due  # labels are complete after 2 days


@pytest.mark.parametrize(("new", "is_due"), [(0, False), (9, False), (10, True)])
def test_a_refresh_needs_one_percent_more_rows(new: int, is_due: bool) -> None:
    found = due(cause(6), POLICY, LabelledRows(since=FIRST, new=new, known=1000))
    assert (found is not None) is is_due


def test_nothing_is_due_before_the_first_model_or_without_a_policy_for_it() -> None:
    assert due(cause(30), POLICY, LabelledRows()) is None
    assert due(cause(30), OFF, LabelledRows(since=FIRST, new=100, known=1000)) is None


@pytest.mark.parametrize(("new", "is_due"), [(499, False), (500, True)])
def test_so_many_new_rows_start_a_retraining(new: int, is_due: bool) -> None:
    found = due(cause(1), BY_DATA, LabelledRows(since=FIRST, new=new, known=1000))
    assert (found is not None and found.trigger == "data") is is_due


def test_rows_are_counted_from_the_training_set_on_then_from_the_last_retraining_without_suspects(
    book: Metadata,
) -> None:
    for day in range(-2, 6):
        book.put(window_report(day, labelled=100), window_report(day, version=2, role="shadow", labelled=90))
    until = FIRST + 5 * DAY  # the window of day 5 ends later
    first = labelled_rows(book, MODEL, ControlHistory(), until=until)
    assert (first.since, first.new, first.known, first.by_clock) == (FIRST, 500, 900, True)
    suspected = [(FIRST + DAY, FIRST + 3 * DAY)]
    assert labelled_rows(book, MODEL, ControlHistory(), until=until, suspected=suspected).new == 300
    later = labelled_rows(book, MODEL, ControlHistory(last_retrain=FIRST + 2 * DAY), until=until)
    assert (later.since, later.new, later.by_clock) == (FIRST + 2 * DAY, 300, False)


@pytest.mark.parametrize(("windows", "expected"), [(14, False), (15, True)])
def test_refreshes_are_rare_beyond_14_windows(windows: int, expected: bool) -> None:
    policy = parse_policy(f"project: p\nretrain: {{ refresh: {{ every: {windows}d }} }}\n")
    assert policy.retrain.refresh is not None
    assert rare(policy.retrain.refresh, policy.decide.window) is expected


def test_models_serve_at_once_where_the_policy_says_so(book: Metadata) -> None:
    compared = parse_policy("project: p\nretrain: { refresh: { promote: compared, shadows: 2 } }\n")
    assert [promotes_at_once(p, book, MODEL) for p in (POLICY, compared, OFF)] == [True, False, False]
    assert [p.kept_shadows for p in (POLICY, compared, OFF)] == [3, 2, 0]
