"""Event time: which rows come in time, and how rows are parted by window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.monitoring.event_windows import BEGINNING, Span, Windowing, split
from trimtab.units import MICROS

HOUR = MICROS["h"]
TIMES = st.lists(st.integers(0, 100), max_size=60)


@given(times=TIMES, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_which_rows_are_late_does_not_depend_on_how_many_are_read_at_a_time(times: list[int], cuts: list[int]) -> None:
    windowing = Windowing(10, 3)
    rows = np.array(times, np.int64)
    whole, end = windowing.in_time(rows, BEGINNING)
    watermark, parts = BEGINNING, []
    for part in np.split(rows, sorted(min(cut, len(rows)) for cut in cuts)):
        mask, watermark = windowing.in_time(part, watermark)
        parts.append(mask)
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert watermark == end == max(times, default=BEGINNING)


def test_a_row_is_late_once_an_earlier_row_closed_its_window() -> None:
    windowing = Windowing(10, 3)
    mask, _ = windowing.in_time(np.array([5, 12, 9, 13, 9, 10]), BEGINNING)
    assert mask.tolist() == [True, True, True, True, False, True]
    assert windowing.closed(0, 13)
    assert not windowing.closed(0, 12)


@given(numbers=st.lists(st.integers(-5, 5), max_size=40))
def test_split_gives_every_row_to_its_window_in_order(numbers: list[int]) -> None:
    found = list(split(np.array(numbers, np.int64)))
    assert [number for number, _ in found] == sorted(set(numbers))
    for number, rows in found:
        assert rows.tolist() == [i for i, n in enumerate(numbers) if n == number]


def test_windows_are_counted_from_the_epoch_also_before_it() -> None:
    assert Windowing(10, 0).number(np.array([-1, 0, 9, 10])).tolist() == [-1, 0, 0, 1]


def test_days_of_traffic_leave_out_windows_without_rows() -> None:
    span = Windowing(12 * HOUR, 0).span([4, 5, 9])
    assert span == Span(48 * HOUR, 120 * HOUR, 3)
    assert span.days(12 * HOUR) == 1.5
