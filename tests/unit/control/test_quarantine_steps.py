"""What the quarantine writes as windows are judged, what a person changes, and that a restart writes the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.cause import Cause
from trimtab.control.quarantine_steps import QuarantineSteps
from trimtab.control.suspects import hold, let_in
from trimtab.control.suspicion import Quarantined, held
from trimtab.control.window_facts import WindowFacts, merged
from trimtab.control.window_history import WindowHistory, column_facts
from trimtab.errors import UsageError
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.records.monitoring import Profile, WindowReport
from trimtab.stats.correlations import ENTRY as CORRELATIONS
from trimtab.stats.profile import profile
from trimtab.stats.schemes import NumericBins
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, dataset_record, window_report

CLOCK = ManualClock(FIRST)
POLICY = parse_policy("project: p\nretrain: { refresh: { every: 7d } }\n")
BINS = NumericBins.from_reference([0.0, 1.0, 2.0, 3.0])
BEFORE = [
    WindowFacts(
        start=FIRST + (n - 60) * DAY,
        end=FIRST + (n - 59) * DAY,
        rows=100,
        means={"wind": (0.0, 1.0, 2.0, 1.0)[n % 4]},
        missing={"wind": 0.0},
        loss=0.5 + (0.0, 0.01, 0.02, 0.01)[n % 4],
        labelled=100,
    )
    for n in range(60)
]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    store.put(bundle_record(1), dataset_record())
    yield store
    store.close()


def steps(book: Metadata) -> QuarantineSteps:
    return QuarantineSteps(book, MODEL, CLOCK, lambda: BEFORE)


def mature(book: Metadata, day: int, wind: float = 1.0, *, loss: float = 0.51, rows: int = 1000) -> WindowReport:
    window = msgspec.structs.replace(window_report(day, metrics={"log_loss": loss}), rows=rows, labelled=rows)
    column = profile([wind] * 10, BINS)
    record = Profile(
        id=f"{window.id}/profile",
        created_at=FIRST,
        model=MODEL,
        version=1,
        start=window.start,
        end=window.end,
        rows=rows,
        columns={"wind": column.to_dict(), "score": profile([wind * 100] * 10, BINS).to_dict()},
    )
    book.put(window, record)
    return window


def judge(book: Metadata, window: WindowReport, made: QuarantineSteps, policy: Policy = POLICY) -> Quarantined:
    return made.judge(Cause(window=window, signals=()), policy)


def run(book: Metadata, winds: Sequence[float], *, policy: Policy = POLICY, restart: bool = False) -> list[Quarantined]:
    made, found = steps(book), []
    for day, wind in enumerate(winds):
        made = steps(book) if restart else made
        found.append(judge(book, mature(book, day, wind), made, policy))
    return found


def day(n: int) -> datetime:
    return FIRST + n * DAY


def test_a_leap_is_written_once_told_once_and_its_windows_stay_held(book: Metadata) -> None:
    found = run(book, [1, 2, 30, 30, 1, 2])
    assert [q.suspected for q in found] == [False, False, True, True, False, False]
    assert [q.begins for q in found] == [False, False, True, False, False, False]
    assert [s.start for s in book.find(Suspicion, oldest_first=True)] == [day(2), day(3)]
    assert held(book, MODEL, as_of=day(6)) == ((day(2), day(4)),)
    assert held(book, MODEL, as_of=day(2)) == ()
    assert "let in" in found[2].reasons[0]


def test_the_score_and_the_correlations_of_a_window_are_no_inputs() -> None:
    column = profile([1.0, float("nan")], BINS)
    means, missing = column_facts({"wind": column, "score": column, CORRELATIONS: column})
    assert (means, missing) == ({"wind": 1.0}, {"wind": 0.5})


def test_a_restart_at_every_window_writes_the_same(book: Metadata, tmp_path: Path) -> None:
    other = SqlMetadata(tmp_path / "other.db")
    winds = [1, 2, 30, 30, 1, 2, *[50] * 22, 51, 1]
    first, second = run(book, winds), run(other, winds, restart=True)
    assert first == second
    for kind in (Suspicion, SuspicionEnd):
        assert book.find(kind) == other.find(kind)
    other.close()


def test_a_window_judged_again_after_a_crash_finds_the_same(book: Metadata) -> None:
    made = steps(book)
    window = mature(book, 0, 30.0)
    assert judge(book, window, made) == judge(book, window, steps(book)) == judge(book, window, made)
    assert book.count(Suspicion) == 1


def test_what_lasts_21_windows_is_a_new_world_whose_rows_come_back(book: Metadata) -> None:
    found = run(book, [1, *[30, 31] * 11])
    ended = [n for n, q in enumerate(found) if q.ended]
    assert ended == [21]  # the 21st suspected window in a row
    assert {e.outcome for e in found[21].ended} == {"new_world"}
    assert len(found[21].ended) == 21
    assert held(book, MODEL, as_of=day(22)) == ()
    assert len(held(book, MODEL, as_of=day(21))) == 1
    assert not found[22].found
    assert "new world" in found[21].reasons[-1]


def test_a_rule_that_suspects_more_than_15_percent_is_dropped(book: Metadata) -> None:
    winds = [1.0, *([30.0] * 12 + [1.0]) * 2, 30.0]
    found = run(book, winds)
    dropped = [n for n, q in enumerate(found) if any(e.outcome == "rule_dropped" for e in q.ended)]
    assert dropped == [23]  # 22 of 84 windows: more than 15 %, and more than a single stretch may have
    assert not any(q.found for q in found[24:])


def test_without_a_refresh_or_with_the_quarantine_off_nothing_is_suspected(book: Metadata) -> None:
    off = parse_policy("project: p\nretrain: { refresh: { every: 7d }, quarantine: { enabled: false } }\n")
    for policy in (off, parse_policy("project: p\n")):
        assert run(book, [1, 30], policy=policy)[-1] == Quarantined()
    assert book.count(Suspicion) == 0


def test_a_loss_that_leaps_is_suspected_by_the_best_version_trained_without_suspects(book: Metadata) -> None:
    made = steps(book)
    judge(book, mature(book, 0), made)
    assert [s.rule for s in judge(book, mature(book, 1, loss=5.0), made).found] == ["loss"]
    book.put(bundle_record(2))
    poisoned = msgspec.structs.replace(dataset_record(as_of=day(3)), id="poisoned")
    book.put(poisoned, msgspec.structs.replace(bundle_record(3), dataset="poisoned"))
    window = mature(book, 2, loss=0.51)
    book.put(
        window_report(2, version=2, role="shadow", metrics={"log_loss": 0.49}),
        window_report(2, version=3, role="shadow", metrics={"log_loss": 0.1}),
    )
    facts = WindowHistory(book, MODEL, lambda: BEFORE).until(window.end, book.find(Suspicion))
    assert facts[-1].loss == 0.49


def test_a_bad_model_beside_good_shadows_makes_no_window_suspected(book: Metadata) -> None:
    made = steps(book)
    window = mature(book, 0, loss=5.0)
    book.put(bundle_record(2), window_report(0, version=2, role="shadow", metrics={"log_loss": 0.5}))
    assert not judge(book, window, made).found


def test_a_window_of_few_rows_is_judged_with_the_next_one(book: Metadata) -> None:
    made = steps(book)
    assert judge(book, mature(book, 0, 30.0, rows=4), made) == Quarantined()
    (found,) = judge(book, mature(book, 1, 30.0, rows=1), made).found
    assert (found.start, found.end) == (day(0), day(2))


def test_merged_windows_weigh_their_rows() -> None:
    a = WindowFacts(start=day(0), end=day(1), rows=1, means={"x": 10.0}, missing={"x": 0.0}, loss=1.0, labelled=1)
    b = WindowFacts(start=day(1), end=day(2), rows=4, means={"x": 20.0}, missing={"x": 0.5}, loss=2.0, labelled=3)
    (joined,) = merged([a, b])
    assert (joined.rows, joined.means["x"], joined.missing["x"]) == (5, 50 / 3, 0.4)
    assert (joined.loss, joined.labelled) == (1.75, 4)


def test_a_person_lets_a_stretch_in_and_it_is_not_suspected_again(book: Metadata) -> None:
    run(book, [1, 30, 31])
    ends = let_in(book, MODEL, day(1), None, reason="a storm", by="ann", clock=CLOCK)
    assert [(e.start, e.outcome, e.known_at) for e in ends] == [(day(1), "let_in", day(3)), (day(2), "let_in", day(3))]
    assert held(book, MODEL, as_of=day(3)) == ()
    assert held(book, MODEL, as_of=day(2)) == ((day(1), day(2)),)
    assert not judge(book, mature(book, 3, 33.0), steps(book)).found
    with pytest.raises(UsageError, match="Nothing is held"):
        let_in(book, MODEL, day(1), None, reason="again", by="ann", clock=CLOCK)


def test_a_person_holds_rows_until_they_are_let_in(book: Metadata) -> None:
    run(book, [1, 2])
    hold(book, MODEL, day(0), day(2), reason="wrong labels", by="ann", clock=CLOCK)
    assert held(book, MODEL, as_of=day(2)) == ((day(0), day(2)),)
    with pytest.raises(UsageError, match="held already"):
        hold(book, MODEL, day(0), day(1), reason="again", by="ann", clock=CLOCK)
    let_in(book, MODEL, day(0), None, reason="they were right", by="ann", clock=CLOCK)
    assert hold(book, MODEL, day(0), day(2), reason="no, wrong", by="ann", clock=CLOCK).id.endswith("/person/2")


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_person_gives_a_reason(book: Metadata, reason: str) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        hold(book, MODEL, day(0), day(1), reason=reason, by="ann", clock=CLOCK)
    with pytest.raises(UsageError, match="not after"):
        hold(book, MODEL, day(1), day(1), reason="x", by="ann", clock=CLOCK)
