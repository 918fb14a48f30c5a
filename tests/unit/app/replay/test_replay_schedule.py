"""Ticks of a replay: where they begin, which labels come with them, and which of them lets a window close."""

from __future__ import annotations

from trimtab.app.replay.replay import TICK, Schedule
from trimtab.units import MICROS

DAY, MINUTE = MICROS["d"], MICROS["m"]


def test_ticks_begin_at_full_hours_and_where_windows_end_or_close() -> None:
    schedule = Schedule(window=DAY, lateness=90 * MINUTE)
    points, point = [], DAY - TICK
    while point < DAY + 3 * TICK:
        points.append((point - DAY) // MINUTE)
        point = schedule.after(point)
    assert points == [-60, 0, 60, 90, 120]


def test_the_point_of_a_moment_is_never_after_it() -> None:
    schedule = Schedule(window=DAY, lateness=90 * MINUTE)
    assert schedule.floor(DAY) == DAY
    assert schedule.floor(DAY - 1) == DAY - TICK
    assert schedule.floor(DAY + 95 * MINUTE) == DAY + 90 * MINUTE


def test_short_windows_make_short_ticks() -> None:
    schedule = Schedule(window=10 * MINUTE, lateness=0)
    assert schedule.after(DAY) == DAY + 10 * MINUTE
    assert schedule.closes_after(DAY - 1) == DAY
    assert schedule.closes_after(DAY) == DAY + 10 * MINUTE


def test_a_window_closes_when_its_lateness_is_over() -> None:
    schedule = Schedule(window=DAY, lateness=TICK)
    assert schedule.closes_after(DAY) == DAY + TICK
    assert schedule.closes_after(DAY + TICK) == 2 * DAY + TICK
