"""Latency, errors and cost, compared with a version's own first windows."""

from __future__ import annotations

import math

import pytest

from trimtab.monitoring.detection.own_windows import FIRST_WINDOWS, OPERATIONS, Operation, OwnWindows


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_window_without_a_finite_value_does_not_end_the_comparison(operation: Operation, broken: float) -> None:
    windows = OwnWindows(operation, horizon=100, seed=0)
    values = [0.1 + 0.001 * n for n in range(FIRST_WINDOWS)]
    assert [windows.step(value, 200) for value in (*values[:10], broken, *values[10:])] == [None] * (FIRST_WINDOWS + 1)
    assert windows.step(broken, 200) is None
    step = windows.step(0.5, 200)
    assert step is not None
    assert step.m > 0
