"""Buckets: few spans of many windows, without losing a peak."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.charts.buckets import bucketed, grouped, quantile, rolling_mean
from trimtab.charts.theme import Frame
from trimtab.charts.window_panels import WindowValue, loss_panel

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.none() | st.just(math.nan), max_size=400)


def windows(numbers: list[float | None], *, hours: int = 24) -> list[WindowValue]:
    step = timedelta(hours=hours)
    return [
        WindowValue(start=BEGIN + n * step, end=BEGIN + (n + 1) * step, value=value) for n, value in enumerate(numbers)
    ]


@given(NUMBERS, st.integers(1, 90))
def test_keep_the_extremes_and_count_every_value_once(numbers: list[float | None], most: int) -> None:
    found = bucketed(windows(numbers), lambda window: window.value, most)
    known = [value for value in numbers if value is not None and math.isfinite(value)]
    assert len(found) <= most
    assert sum(bucket.count for bucket in found) == len(known)
    if known:
        assert min(bucket.low for bucket in found) == min(known)
        assert max(bucket.high for bucket in found) == max(known)
        mean = math.fsum(bucket.mean * bucket.count for bucket in found) / len(known)
        assert mean == pytest.approx(math.fsum(known) / len(known), abs=1e-6)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=200), st.integers(1, 50))
def test_groups_are_in_order_and_hold_each_item_once(hours: list[int], most: int) -> None:
    """Gaps in time are allowed, and items of the same time."""
    step = timedelta(hours=1)
    items = [WindowValue(start=BEGIN + n * step, end=BEGIN + (n + 1) * step, value=1.0) for n in hours]
    found = grouped(items, most)
    assert len(found) <= most
    assert sorted(item.start for group in found for item in group) == sorted(item.start for item in items)
    assert all(before[-1].start <= after[0].start for before, after in pairwise(found))


@given(st.integers(0, 4_999), st.sampled_from([2.0, -2.0]))
def test_a_peak_of_one_window_among_many_is_drawn(place: int, peak: float) -> None:
    numbers: list[float | None] = [0.5] * 5_000
    numbers[place] = peak
    made = windows(numbers)
    spec = loss_panel(made, [], Frame(start=made[0].start, end=made[-1].end, width=900))
    drawn = {value for layer in spec["layer"] for row in layer["data"]["values"] for value in row.values()}
    assert peak in drawn


def test_few_windows_are_drawn_one_by_one() -> None:
    assert [bucket.count for bucket in bucketed(windows([1.0, 2.0, 3.0]), lambda w: w.value, 3)] == [1, 1, 1]


def test_a_rolling_mean_takes_the_values_before_it() -> None:
    assert rolling_mean([1.0, 3.0, 5.0, 7.0], 2) == [1.0, 2.0, 4.0, 6.0]


def test_a_quantile_lies_between_two_values() -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert (quantile([1.0, 9.0], 0.0), quantile([1.0, 9.0], 1.0)) == (1.0, 9.0)
