"""Series of one value a window: reference, weekly pattern, both directions, restarts, false alarms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.monitoring.series import Direction, Series, SeriesStep, reference_windows
from trimtab.units import MICROS

DAY, HOUR = MICROS["d"], MICROS["h"]


def made(direction: Direction = "fall", *, window: int = DAY, name: str = "sales") -> Series:
    return Series(name, direction=direction, window=window, horizon=100)


def play(series: Series, values: np.ndarray, *, first: int = 0, window: int = DAY) -> list[SeriesStep]:
    return [series.step((first + n) * window, float(value)) for n, value in enumerate(values)]


def noise(seed: int, windows: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 5, windows)


@pytest.mark.parametrize(
    ("window", "windows"), [(7 * DAY, 30), (DAY, 30), (6 * HOUR, 112), (HOUR, 672), (MICROS["m"], 1000)]
)
def test_the_reference_is_four_weeks_at_least_thirty_windows_and_at_most_a_thousand(window: int, windows: int) -> None:
    assert reference_windows(window) == windows


def test_nothing_is_judged_before_the_reference_is_complete() -> None:
    steps = play(made(), noise(0, 31))
    assert [step.p is None for step in steps] == [True] * 30 + [False]
    assert "30 are known" in steps[29].reason
    assert "13 are known" in steps[12].reason


@pytest.mark.parametrize(
    ("direction", "shift", "alarms"),
    [("fall", -30, True), ("fall", 30, False), ("rise", 30, True), ("rise", -30, False), ("both", 30, True)],
)
def test_a_change_in_the_bad_direction_is_an_alarm(direction: Direction, shift: float, alarms: bool) -> None:
    series = made(direction)
    play(series, noise(1, 40))
    changed = play(series, noise(2, 12) + shift, first=40)
    assert (min(step.p_seq or 1 for step in changed) < 0.05) is alarms
    assert np.sign(changed[0].change_sd or 0) == np.sign(shift)


def test_a_weekly_pattern_is_no_alarm_and_a_sunday_of_saturdays_size_is_one() -> None:
    week = np.array([100.0, 100, 100, 100, 100, 300, 20])
    values = np.tile(week, 20) + np.random.default_rng(3).normal(0, 5, 140)
    series = made()
    steps = play(series, values)
    assert series.is_seasonal
    assert min(step.p_seq or 1 for step in steps) > 0.05
    assert steps[-1].expected == pytest.approx(20, abs=12)
    saturday = series.step(145 * DAY, 100.0)  # usual on other days
    assert (saturday.p or 1) < 0.01
    assert "at this time of the week" in saturday.reason


def test_values_without_a_pattern_are_compared_with_all_windows() -> None:
    series = made()
    play(series, noise(4, 40))
    assert not series.is_seasonal


def test_an_hourly_series_knows_the_hours_of_the_week() -> None:
    hours = np.arange(24 * 7 * 5)
    values = 50 + 40 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(5).normal(0, 2, len(hours))
    series = made("both", window=HOUR)
    steps = play(series, values, window=HOUR)
    assert series.is_seasonal
    assert [step.p is None for step in steps].count(True) == 672
    assert min(step.p_seq or 1 for step in steps) > 0.05


def test_false_alarms_of_steady_series_stay_under_the_promise() -> None:
    alarms = 0
    for seed in range(20):
        steps = play(made("both", name=str(seed)), noise(1000 + seed, 130))
        alarms += min(step.p_seq or 1 for step in steps) < 0.05
    assert alarms <= 3


@given(st.lists(st.floats(-1e6, 1e6), min_size=31, max_size=60), st.sampled_from(["rise", "fall", "both"]))
def test_a_series_stepped_again_gives_the_same_steps(values: list[float], direction: Direction) -> None:
    assert play(made(direction), np.array(values)) == play(made(direction), np.array(values))


@given(st.lists(st.floats(-1e6, 1e6), min_size=31, max_size=60))
def test_a_fall_is_a_rise_of_the_negative(values: list[float]) -> None:
    falls = play(made("fall"), np.array(values))
    rises = play(made("rise"), -np.array(values))
    assert [(step.p, step.p_seq) for step in falls] == [(step.p, step.p_seq) for step in rises]
