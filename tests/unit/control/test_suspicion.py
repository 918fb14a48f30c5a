"""The suspicion rules at their borders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.control.suspicion import Finding, Known, SuspicionRules, held, joined
from trimtab.control.window_facts import WindowFacts
from trimtab.policy.decide import Quarantine
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, signal, window_report

POLICY = Quarantine()


def facts(day: int, mean: float = 0.0, *, missing: float = 0.0, loss: float | None = None) -> WindowFacts:
    start = FIRST + day * DAY
    labelled = 0 if loss is None else 100
    return WindowFacts(
        start=start,
        end=start + DAY,
        rows=100,
        means={"wind": mean},
        missing={"wind": missing},
        loss=loss,
        labelled=labelled,
    )


def zigzag(windows: int, *, step: float = 1.0) -> list[float]:
    """Values whose largest leap from the median of the last 7 is 2 steps: 0, 1, 2, 1, 0, 1, 2, ..."""
    return [step * (0, 1, 2, 1)[n % 4] for n in range(windows)]


def usual(windows: int = 60) -> list[WindowFacts]:
    return [facts(day, value, loss=0.5 + value / 100) for day, value in enumerate(zigzag(windows))]


def find(windows: Sequence[WindowFacts], known: Known | None = None) -> tuple[Finding, ...]:
    return SuspicionRules().find(windows, known or Known(), (), POLICY)


def suspicion(day: int, *, rule: str = "inputs", known_at: datetime | None = None) -> Suspicion:
    window = facts(day)
    return Suspicion(
        id=f"m/suspicion/{day}",
        created_at=FIRST,
        model="m",
        start=window.start,
        end=window.end,
        rule=rule,  # type: ignore[arg-type] # one of them
        subject="wind",
        value=0.0,
        limit=0.0,
        known_at=known_at or window.end,
        reason="a test",
    )


def end(of: Suspicion, outcome: str) -> SuspicionEnd:
    return SuspicionEnd(
        id=f"{of.id}/end",
        created_at=FIRST,
        model="m",
        start=of.start,
        suspicion=of.id,
        outcome=outcome,  # type: ignore[arg-type] # one of them
        known_at=of.known_at,
        reason="a test",
        by="policy",
    )


@pytest.mark.parametrize(("mean", "suspected"), [(3.0, False), (3.0001, True), (-1.0, False), (-1.0001, True)])
def test_a_mean_is_suspected_beyond_twice_the_largest_leap(mean: float, suspected: bool) -> None:
    found = find([*usual(), facts(60, mean, loss=0.5)])  # the median is 1, the largest leap was 1
    assert [f.rule for f in found] == (["inputs"] if suspected else [])
    if suspected:
        assert (found[0].subject, found[0].limit) == ("wind", 2.0)
        assert "the mean of wind" in found[0].reason


@pytest.mark.parametrize(("windows", "suspected"), [(20, False), (21, True)])
def test_a_column_is_judged_from_14_leaps_on(windows: int, suspected: bool) -> None:
    assert bool(find([*usual(windows), facts(windows, 50.0)])) is suspected


def test_a_column_that_was_constant_so_far_is_not_judged_by_its_leaps() -> None:
    assert find([*(facts(day, 0.0) for day in range(60)), facts(60, 5.0)]) == ()


@pytest.mark.parametrize(("share", "suspected"), [(0.30, False), (0.3001, True)])
def test_missing_values_are_suspected_beyond_20_points_more_than_ever(share: float, suspected: bool) -> None:
    before = [facts(day, value, missing=0.1 if day == 5 else 0.0) for day, value in enumerate(zigzag(60))]
    found = find([*before, facts(60, 0.0, missing=share)])
    assert [f.rule for f in found] == (["missing"] if suspected else [])


def spiked() -> list[WindowFacts]:
    """The largest leap of one window is 0.19, of three 0.0667; the median is 0.51."""
    found = usual()
    found[20] = facts(20, 0.0, loss=0.7)
    return found


@pytest.mark.parametrize(("loss", "suspected"), [(0.795, False), (0.7951, True)])
def test_a_loss_is_suspected_when_it_leaps_half_as_far_again_as_ever(loss: float, suspected: bool) -> None:
    found = find([*spiked(), facts(60, 0.0, loss=loss)])
    assert [f.rule for f in found] == (["loss"] if suspected else [])


def test_a_loss_that_falls_is_not_suspected() -> None:
    assert find([*usual(), facts(60, 0.0, loss=0.1)]) == ()


@pytest.mark.parametrize(("windows", "suspected"), [(41, False), (42, True)])
def test_no_loss_is_suspected_before_42_windows_are_known(windows: int, suspected: bool) -> None:
    assert bool(find([*usual(windows), facts(windows, 1.0, loss=5.0)])) is suspected


@pytest.mark.parametrize(("loss", "suspected"), [(0.6099, False), (0.6101, True)])
def test_a_loss_that_is_high_for_three_windows_is_suspected_with_all_three(loss: float, suspected: bool) -> None:
    high = [facts(60 + n, 0.0, loss=loss) for n in range(3)]
    assert find([*spiked(), *high[:1]]) == find([*spiked(), *high[:2]]) == ()
    found = find([*spiked(), *high])
    assert [f.windows for f in found] == ([tuple(high)] if suspected else [])


def test_suspected_windows_are_not_compared_with() -> None:
    hot = [facts(60 + n, 40.0, loss=0.5) for n in range(8)]
    known = Known(tuple(suspicion(60 + n) for n in range(7)))
    assert find([*usual(), *hot], known)[0].rule == "inputs"
    assert find([*usual(), *hot[:7], facts(67, 1.0, loss=0.5)], known) == ()


def test_a_person_who_lets_a_leap_in_makes_it_usual() -> None:
    one = suspicion(60)
    known = Known((one,), {one.id: end(one, "let_in")})
    assert find([*usual(), facts(60, 40.0), facts(61, 60.0)], known) == ()


def test_a_new_world_is_compared_with_itself_and_keeps_its_scale() -> None:
    many = [suspicion(60 + n) for n in range(21)]
    known = Known(tuple(many), {s.id: end(s, "new_world") for s in many})
    world = [facts(60 + n, 100 + value, loss=0.5) for n, value in enumerate(zigzag(21))]
    assert find([*usual(), *world, facts(81, 102.0, loss=0.5)], known) == ()
    assert find([*usual(), *world, facts(81, 104.0, loss=0.5)], known)[0].limit == 2.0


def test_a_dropped_rule_finds_nothing_more() -> None:
    one = suspicion(30)
    known = Known((one,), {one.id: end(one, "rule_dropped")})
    assert find([*usual(), facts(60, 100.0, missing=0.9, loss=0.5)], known)[0].rule == "missing"


def test_a_broken_absolute_rule_of_the_monitor_is_a_suspicion() -> None:
    window = window_report(60)
    signals = [signal(window, "quality", subject="absolute:wind"), signal(window, "quality", subject="checks")]
    found = SuspicionRules().find([facts(60, 1.0)], Known(), signals, POLICY)
    assert [(f.rule, f.subject) for f in found] == [("absolute", "wind")]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_windows_taken_in_one_by_one_are_judged_as_those_taken_in_at_once(means: list[float]) -> None:
    windows = [*usual(30), *(facts(30 + n, mean, loss=abs(mean)) for n, mean in enumerate(means))]
    rules, known = SuspicionRules(), Known()
    for upto in range(1, len(windows) + 1):
        some = windows[:upto]
        found = rules.find(some, known, (), POLICY)
        assert found == SuspicionRules().find(some, known, (), POLICY)
        made = [suspicion((w.start - FIRST).days, rule=f.rule) for f in found for w in f.windows]
        known = Known((*known.suspicions, *(s for s in made if s.id not in {k.id for k in known.suspicions})))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10))))
def test_joined_stretches_hold_the_same_days_and_do_not_touch(pairs: list[tuple[int, int]]) -> None:
    made = [(FIRST + a * DAY, FIRST + (a + b) * DAY) for a, b in pairs]
    found = joined(made)
    days = {FIRST + d * DAY for a, b in pairs for d in range(a, a + b)}
    assert {day for day in (FIRST + n * DAY for n in range(70)) if any(s <= day < e for s, e in found)} == days
    assert all(a[1] < b[0] for a, b in pairwise(found))


def test_rows_are_held_at_the_times_between_a_suspicion_s_beginning_and_its_end(tmp_path: Path) -> None:
    book = SqlMetadata(tmp_path / "metadata.db")
    found = suspicion(3)
    book.put(found, msgspec.structs.replace(end(found, "let_in"), known_at=FIRST + 9 * DAY))
    times = (found.known_at - DAY, found.known_at, FIRST + 8 * DAY, FIRST + 9 * DAY)
    assert [len(held(book, "m", as_of=time)) for time in times] == [0, 1, 1, 0]
    book.close()
