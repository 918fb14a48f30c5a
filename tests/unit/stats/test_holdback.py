"""Holdback: windows join after a wait, and not at all around an alarm."""

from __future__ import annotations

from trimtab.stats.holdback import Holdback, holdback_length


def test_a_window_joins_after_the_wait() -> None:
    quarantine = Holdback[int](3)
    assert [quarantine.admit(window, 1.0) for window in range(6)] == [[], [], [], [0], [1], [2]]


def test_without_a_wait_it_joins_at_once() -> None:
    assert Holdback[str](0).admit("monday", 0.5) == ["monday"]


def test_windows_of_an_alarm_and_those_waiting_before_it_never_join() -> None:
    quarantine = Holdback[int](2)
    for window in (0, 1):
        quarantine.admit(window, 0.9)
    assert quarantine.admit(2, 0.04) == []
    assert [quarantine.admit(window, 0.9) for window in (3, 4, 5)] == [[], [], [3]]


def test_autocorrelated_windows_do_not_wait() -> None:
    assert (holdback_length(1.2), holdback_length(1.6)) == (10, 0)
