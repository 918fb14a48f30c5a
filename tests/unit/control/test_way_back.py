"""The way back: when a kept shadow leads by 3 standard errors, and the probation after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.cause import Cause
from trimtab.control.controller import Controller
from trimtab.control.decision import Draft
from trimtab.control.holds import set_freeze
from trimtab.control.ledger import Ledger
from trimtab.control.reviews import proposes_retraining
from trimtab.control.way_back import leads, on_probation, standard_errors
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision
from trimtab.records.serving import Assignment, Revision
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, RecordingActions, champion_revision, judged_signals, window_report

UNTIL = FIRST + 100 * DAY


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    store.put(serving(2, 2, kept=(1,)))
    yield store
    store.close()


def serving(number: int, champion: int, *, kept: Sequence[int] = (), cause: str = "test") -> Revision:
    found = champion_revision(number, champion, action="promote", cause=cause)
    shadows = (Assignment(role="shadow", bundle=f"{MODEL}/{v}", version=v, weight=0.0, kept=True) for v in kept)
    return msgspec.structs.replace(found, assignments=(*found.assignments, *shadows))


def compared(book: Metadata, gains: Sequence[float], *, version: int = 1, first: int = 0, champion: int = 2) -> None:
    for n, gain in enumerate(gains):
        metrics = {"paired_log_loss_gain": gain, "paired_version": float(champion), "paired_rows": 900.0}
        book.put(window_report(first + n, version=version, role="shadow", metrics=metrics))


def test_standard_errors_of_independent_values_are_those_of_a_t_statistic() -> None:
    x = [1.0, 3.0, 2.0, 4.0, 1.0, 3.0]  # the lag-1 correlation is below 0, and not counted
    mean, sd = sum(x) / 6, math.sqrt(sum((v - 14 / 6) ** 2 for v in x) / 5)
    assert standard_errors(x) == pytest.approx(mean / (sd / math.sqrt(6)))


def test_windows_that_resemble_the_window_before_count_less() -> None:
    assert standard_errors([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]) < 0.8 * standard_errors([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])


def test_constant_gains_are_infinitely_many_errors_from_zero_and_no_gains_none() -> None:
    assert standard_errors([0.5] * 10) == math.inf
    assert standard_errors([-0.5] * 10) == -math.inf
    assert standard_errors([0.0] * 10) == standard_errors([1.0]) == 0.0


def around(errors: float, windows: int = 10) -> list[float]:
    """Alternating gains whose mean is so many standard errors above 0."""
    sd = math.sqrt(windows / (windows - 1))
    return [errors * sd / math.sqrt(windows) + (1.0 if n % 2 else -1.0) for n in range(windows)]


@pytest.mark.parametrize(("errors", "clearly"), [(2.99, False), (3.01, True)])
def test_a_shadow_serves_again_from_3_standard_errors_on(book: Metadata, errors: float, clearly: bool) -> None:
    compared(book, around(errors))
    (lead,) = leads(book, MODEL, until=UNTIL)
    assert (lead.version, lead.windows, lead.leads, lead.clearly) == (1, 10, True, clearly)
    assert lead.errors == pytest.approx(errors)


@pytest.mark.parametrize(("windows", "clearly"), [(2, False), (3, True)])
def test_a_champion_needs_3_labelled_windows_to_be_judged(book: Metadata, windows: int, clearly: bool) -> None:
    compared(book, [1.0, 1.1] * 5, champion=7)
    compared(book, [1.0] * windows, first=10)
    (lead,) = leads(book, MODEL, until=UNTIL)
    assert (lead.champion_windows, lead.clearly) == (windows, clearly)


@pytest.mark.parametrize(("first", "counted"), [(19, 9), (20, 10)])
def test_evidence_of_an_earlier_way_back_does_not_count_again(book: Metadata, first: int, counted: int) -> None:
    window = window_report(19)
    draft = Draft(
        cause=Cause(window=window, signals=()),
        band="minor",
        impact_per_day=0.0,
        impact="low",
        cell="rollback",
        action="rollback",
        reasons=("it leads",),
        trigger="lead",
        to_version=2,
    )
    assert Ledger(book, MODEL).append(draft, clock=ManualClock(FIRST)) is not None
    compared(book, [1.0, 1.1] * 5, first=first)
    (lead,) = leads(book, MODEL, until=UNTIL)
    assert (lead.windows, lead.clearly) == (counted, counted == 10)


@pytest.mark.parametrize(("windows", "clearly"), [(9, False), (10, True)])
def test_a_shadow_needs_10_labelled_windows(book: Metadata, windows: int, clearly: bool) -> None:
    compared(book, [1.0, 1.1] * 5 if windows == 10 else [1.0] * 9)
    assert leads(book, MODEL, until=UNTIL)[0].clearly is clearly


def test_only_the_newest_28_windows_count(book: Metadata) -> None:
    compared(book, [*[-5.0] * 20, *[1.0, 1.2] * 14])
    (lead,) = leads(book, MODEL, until=UNTIL)
    assert lead.windows == 28
    assert lead.gain == pytest.approx(1.1)


def test_suspected_and_later_windows_are_no_evidence(book: Metadata) -> None:
    compared(book, [1.0, 1.2] * 6)
    suspected = [(FIRST + 3 * DAY, FIRST + 5 * DAY)]
    assert leads(book, MODEL, until=FIRST + 11 * DAY, suspected=suspected)[0].windows == 9


def test_a_shadow_that_only_led_the_champion_before_does_not_come_back(book: Metadata) -> None:
    compared(book, [1.0, 1.2] * 6, champion=3)
    assert leads(book, MODEL, until=UNTIL)[0].leads  # no window of the present champion has labels yet
    compared(book, [-0.1], first=20)
    assert not leads(book, MODEL, until=UNTIL)[0].leads


def test_the_farthest_lead_comes_first_and_others_than_kept_shadows_have_none(book: Metadata) -> None:
    book.put(serving(3, 2, kept=(1, 5)))
    compared(book, around(2.0))
    compared(book, around(4.0), version=5)
    compared(book, around(9.0), version=7)
    assert [lead.version for lead in leads(book, MODEL, until=UNTIL)] == [5, 1]


def test_probation_lasts_from_a_way_back_to_the_next_promotion(book: Metadata) -> None:
    assert not on_probation(book, MODEL)
    draft = Draft(
        cause=Cause(window=window_report(9), signals=()),
        band="minor",
        impact_per_day=0.0,
        impact="low",
        cell="rollback",
        action="rollback",
        reasons=("a test",),
        trigger="lead",
        to_version=1,
    )
    decision = Ledger(book, MODEL).append(draft, clock=ManualClock(FIRST))
    assert decision is not None
    book.put(champion_revision(3, 1, action="rollback", cause=decision.id))
    assert on_probation(book, MODEL)
    book.put(champion_revision(4, 1, action="deploy"))  # such as a challenger beside it
    assert on_probation(book, MODEL)
    book.put(champion_revision(5, 3, action="promote"))
    assert not on_probation(book, MODEL)


def test_a_rollback_for_another_reason_is_no_probation(book: Metadata) -> None:
    book.put(champion_revision(3, 1, action="rollback", cause="command/rollback/2"))
    assert not on_probation(book, MODEL)


# --- without a refresh: rollout.watch


def watching(book: Metadata, watch: str, *, gains: Sequence[float] = around(4.0), now: int = 9) -> Sequence[Decision]:
    """Return the decisions on the windows of a champion whose former one, a shadow, had such gains over it."""
    compared(book, gains)
    for day in range(now + 1):
        window = window_report(day, version=2)
        book.put(window, *judged_signals(window))
    policy = parse_policy(f"project: p\nrollout: {{ watch: {watch} }}\n")
    clock, actions = ManualClock(UNTIL), RecordingActions()
    found = Controller(book, policy, MODEL, actions, clock).step()
    assert Controller(book, policy, MODEL, RecordingActions(), clock).step() == ()
    assert [verb for verb, _ in actions.asked] == ["rollback" for d in found if d.action == "rollback"]
    return found


def test_a_former_champion_that_leads_serves_again_where_the_policy_says_so(book: Metadata) -> None:
    found = watching(book, "rollback")
    assert [d.action for d in found] == [*["monitor"] * 9, "rollback"]
    last = found[-1]
    assert (last.trigger, last.to_version, last.version) == ("lead", 1, 2)
    assert any("looks like a mistake: version 1, a shadow, was better" in reason for reason in last.reasons)


def test_a_person_is_asked_once_within_the_cooldown_where_the_policy_says_review(book: Metadata) -> None:
    found = watching(book, "review", gains=[0.5] * 13, now=12)
    assert [d.action for d in found] == [*["monitor"] * 9, "review", *["monitor"] * 3]
    asked = found[9]
    assert (asked.trigger, asked.to_version) == ("lead", None)
    assert not proposes_retraining(asked)
    assert asked.reasons[-1].startswith("a person decides whether to roll back")
    assert any("already open" in reason for reason in found[10].reasons)
    assert [d.held_by for d in found[8:11]] == ["", "", "review_open"]


@pytest.mark.parametrize("watch", ["review", "rollback"])
def test_a_former_champion_that_does_not_lead_clearly_changes_nothing(book: Metadata, watch: str) -> None:
    assert {d.action for d in watching(book, watch, gains=around(2.5))} == {"monitor"}


def test_nothing_is_watched_by_default(book: Metadata) -> None:
    assert {(d.action, d.trigger) for d in watching(book, "null")} == {("monitor", "matrix")}


def test_a_frozen_model_is_not_rolled_back(book: Metadata) -> None:
    set_freeze(book, MODEL, frozen=True, reason="a sale", by="ann", clock=ManualClock(FIRST))
    found = watching(book, "rollback")
    assert {d.action for d in found} == {"monitor"}
    assert "a sale" in found[-1].reasons[-1]
    assert found[-1].held_by == "frozen"


@pytest.mark.parametrize(
    ("text", "kept"), [("", 0), ("rollout: { watch: review }", 1), ("retrain: { refresh: {} }", 3)]
)
def test_the_former_champion_stays_as_a_shadow_while_it_is_watched(text: str, kept: int) -> None:
    assert parse_policy(f"project: p\n{text}\n").kept_shadows == kept
