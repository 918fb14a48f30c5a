"""Absolute rules: broken columns are found on the first window, ordinary ones never, and a restart changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.monitoring.detection.absolute import LASTS, RECENT, AbsoluteRules, Finding
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.testing.streams import DAY, World, play
from unit.monitoring.monitor_bench import DAYS, Bench, content

Array = np.ndarray[Any, Any]

NAMES = ("celsius", "amount", "rides", "carrier", "index")
WINDOWS = 40


def day(number: int, *, rows: int = 24) -> Array:
    """Return the rows of one day of a year with strong seasons; days differ much, rows of one day little."""
    rng = np.random.default_rng((7, number))
    season = np.sin(2 * np.pi * (number - 100) / 365)
    celsius = 12 + 12 * season + rng.normal(0, 3) + rng.normal(0, 2, rows)
    amount = rng.lognormal(3 + rng.normal(0, 0.2), 0.5, rows)
    rides = rng.poisson((60 + 30 * season) * (0.6 if number % 7 >= 5 else 1.0), rows)
    carrier = rng.choice(6, rows, p=[0.3, 0.25, 0.2, 0.15, 0.08, 0.02])
    return np.column_stack([celsius, amount, rides, carrier, np.full(rows, number)]).astype(np.float32)


def reference(windows: int = WINDOWS, *, rows: int = 24, made: Callable[[Array], Array] = lambda X: X) -> Reference:
    X = np.concatenate([made(day(n, rows=rows)) for n in range(windows)])
    return build_reference(
        X,
        np.full(len(X), 0.5),
        np.zeros(len(X)),
        np.repeat(np.arange(windows) * DAY, rows),
        NAMES,
        window=DAY,
        task="binary",
        threshold=0.5,
        costs={},
        categories=["carrier"],
    )


KNOWN = reference()


def judge(rules: AbsoluteRules, X: Array, number: int, known: Reference = KNOWN) -> list[Finding]:
    matrix = np.column_stack([X, np.full(len(X), 0.5)]).astype(np.float32)
    return rules.step(known.profile(matrix), number * DAY)


def column(place: int, change: Callable[[Array], Any]) -> Callable[[Array], Array]:
    def changed(X: Array) -> Array:
        X = X.copy()
        X[:, place] = change(X[:, place])
        return X

    return changed


BROKEN = [
    pytest.param(column(0, lambda x: np.nan), "celsius", "is missing in all 24 rows", id="missing"),
    pytest.param(column(3, lambda x: np.nan), "carrier", "is missing in all 24 rows", id="missing category"),
    pytest.param(column(2, lambda x: 60.0), "rides", "has one value (60) in all 24 rows", id="constant"),
    pytest.param(column(3, lambda x: 2.0), "carrier", "has one value in all 24 rows", id="constant category"),
    pytest.param(column(0, lambda x: x * 1.8 + 32), "celsius", "Fahrenheit in place of Celsius", id="fahrenheit"),
    pytest.param(column(1, lambda x: x * 100), "amount", "multiplied by 100", id="cents"),
    pytest.param(column(1, lambda x: x / 1000), "amount", "divided by 1000", id="thousandths"),
    pytest.param(column(2, lambda x: x / 60), "rides", "divided by 60", id="hours"),
    pytest.param(column(0, lambda x: x + 60), "celsius", "lies beyond all values before", id="shifted"),
    pytest.param(column(3, lambda x: np.where(x == 0, 77, x)), "carrier", "have a category that", id="renamed"),
]


@pytest.mark.parametrize(("change", "name", "said"), BROKEN)
def test_a_broken_column_is_found_on_the_first_window(change: Callable[[Array], Array], name: str, said: str) -> None:
    found = judge(AbsoluteRules(KNOWN), change(day(WINDOWS)), WINDOWS)
    assert [finding.column for finding in found] == [name]
    assert said in found[0].reason


def test_a_tenth_of_the_values_far_out_are_found_although_their_mean_was_seen_before() -> None:
    known = reference(rows=300)
    found = {}
    for share in (0.09, 0.12):
        X = day(WINDOWS, rows=300)
        X[: int(300 * share), 1] = 400.0
        found[share] = [finding.reason for finding in judge(AbsoluteRules(known), X, WINDOWS, known)]
    assert found[0.09] == []
    assert "12.0% of the values of 'amount' lie far beyond the reference" in found[0.12][0]


@pytest.mark.parametrize("rows", [24, 300])
def test_two_years_of_ordinary_days_with_strong_seasons_are_left_alone(rows: int) -> None:
    known = reference(rows=rows)
    rules = AbsoluteRules(known)
    found = [judge(rules, day(n, rows=rows), n, known) for n in range(WINDOWS, 730)]
    assert [finding for each in found for finding in each] == []


def test_a_column_that_has_been_missing_or_constant_before_may_be_again() -> None:
    def sometimes(X: Array) -> Array:
        X = X.copy()
        if X[0, 4] % 10 == 0:
            X[:, 0], X[:, 2] = np.nan, 5.0
        return X

    known = reference(made=sometimes)
    changed = column(2, lambda x: 5.0)(column(0, lambda x: np.nan)(day(WINDOWS)))
    assert judge(AbsoluteRules(known), changed, WINDOWS, known) == []


def test_few_rows_prove_nothing() -> None:
    missing = column(0, lambda x: np.nan)
    assert judge(AbsoluteRules(KNOWN), missing(day(WINDOWS, rows=7)), WINDOWS) == []
    assert judge(AbsoluteRules(KNOWN), missing(day(WINDOWS, rows=8)), WINDOWS) != []
    assert judge(AbsoluteRules(KNOWN), day(WINDOWS)[:0], WINDOWS) == []


def test_a_short_reference_gives_no_findings() -> None:
    for windows, found in ((13, 0), (14, 1)):
        known = reference(windows)
        assert len(judge(AbsoluteRules(known), column(0, lambda x: np.nan)(day(windows)), windows, known)) == found


def test_a_broken_column_stays_found_until_it_has_lasted_and_is_then_known() -> None:
    rules, cents = AbsoluteRules(KNOWN), column(1, lambda x: x * 100)
    found = [bool(judge(rules, cents(day(n)), n)) for n in range(WINDOWS, WINDOWS + LASTS + 5)]
    assert found == [True] * LASTS + [False] * 5


def test_the_broken_windows_do_not_change_what_is_known() -> None:
    rules, cents = AbsoluteRules(KNOWN), column(1, lambda x: x * 100)
    for n in range(WINDOWS, WINDOWS + 5):
        assert judge(rules, cents(day(n)), n)
    assert judge(rules, day(WINDOWS + 5), WINDOWS + 5) == []
    assert judge(rules, cents(day(WINDOWS + 6)), WINDOWS + 6)


def test_after_a_gap_a_season_that_was_seen_is_no_leap() -> None:
    known = reference(300)
    warmest = max(window["celsius"].maximum for window in known.profiles)
    X = day(300 + RECENT)
    X[:, 0] += warmest + 1 - X[:, 0].mean()
    for gap, found in ((0, ["celsius"]), (RECENT + 1, [])):
        rules = AbsoluteRules(known)
        assert [f.column for f in judge(rules, column(4, lambda x: 300)(X), 300 + gap, known)] == found


def test_the_state_continues_as_if_there_had_been_no_restart() -> None:
    cents = column(1, lambda x: x * 100)

    def stream(n: int) -> Array:
        return cents(day(n)) if n % 5 == 0 else day(n)

    one, other = AbsoluteRules(KNOWN), AbsoluteRules(KNOWN)
    for n in range(WINDOWS, WINDOWS + 30):
        again = AbsoluteRules(KNOWN)
        again.load(json.loads(json.dumps(other.state())))
        other = again
        assert judge(one, stream(n), n) == judge(other, stream(n), n)
    assert one.state() == other.state()


def test_the_monitor_writes_a_signal_and_a_restart_writes_the_same(bench: Bench, tmp_path: Any) -> None:
    for n in range(DAYS, DAYS + 6):
        play(bench.log, World(seed=11, shift={3: float("nan")} if n in (DAYS + 2, DAYS + 4) else {}), [n])
    again = Bench(tmp_path / "again")
    again.log = bench.log
    bench.monitor().step()
    found = bench.signals("quality", subject="absolute:hour")
    assert [(s.value, s.effect["limit"], s.carriers) for s in found] == 2 * [(1.0, 0.0, ("hour",))]
    for _ in range(2):
        again.monitor().step()
    assert content(again.book) == content(bench.book)
    again.book.close()
