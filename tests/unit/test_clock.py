"""Time: aware, exact, and never backwards."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import EPOCH, Clock, ManualClock, SystemClock, from_micros, parse_time, to_micros, to_utc

MOMENT = datetime(2013, 3, 1, 5, tzinfo=UTC)


def test_the_system_clock_is_aware_and_goes_forward() -> None:
    clock: Clock = SystemClock()
    first = clock.now()
    clock.sleep(0)
    assert first.tzinfo is UTC
    assert clock.now() >= first


def test_a_manual_clock_stands_until_it_is_moved() -> None:
    clock = ManualClock(MOMENT)
    assert clock.now() == clock.now() == MOMENT
    clock.sleep(90)
    assert clock.now() == MOMENT + timedelta(seconds=90)


def test_a_manual_clock_never_goes_backwards() -> None:
    clock = ManualClock(MOMENT)
    clock.move_to(EPOCH)
    clock.sleep(-5)
    assert clock.now() == MOMENT


@given(st.datetimes(min_value=datetime(1800, 1, 1), max_value=datetime(2200, 1, 1)))
def test_microseconds_are_exact(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)
    assert from_micros(to_micros(moment)) == moment


def test_naive_times_are_utc_and_others_are_converted() -> None:
    assert to_utc(datetime(2013, 3, 1)) == datetime(2013, 3, 1, tzinfo=UTC)
    new_york = timezone(timedelta(hours=-5))
    assert to_utc(datetime(2013, 3, 1, tzinfo=new_york)).isoformat() == "2013-03-01T05:00:00+00:00"


@pytest.mark.parametrize("text", ["2013-03-01T05:00Z", " 2013-03-01T05:00:00+00:00", "2013-03-01T00:00-05:00"])
def test_times_are_parsed(text: str) -> None:
    assert parse_time(text) == MOMENT


def test_a_date_is_its_midnight() -> None:
    assert parse_time("2013-03-01") == datetime(2013, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "March", "2013-13-01", "0001-01-01T00:00+05:00"])
def test_what_is_no_time_says_how_one_looks(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected such as 2013-03-01 or 2013-03-01T05:00Z"):
        parse_time(text)
