"""Numbers, times and names as pages, reports and alerts write them."""

import doctest
import math
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.app.overviews import wording
from trimtab.records.record import SignalKind

AT = datetime(2013, 12, 29, tzinfo=UTC)
FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


def number(text: str) -> float:
    return float(text.replace(",", "").replace(wording.MINUS, "-").replace("+", ""))


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(wording).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.500"),
        (12.0, "12.0"),
        (99.96, "100"),
        (0.9996, "1.00"),
        (0.0, "0"),
        (2.5e-9, "2.50e-9"),
        (2.25e-6, "2.25e-6"),
        (0.00012, "0.000120"),
        (-7.25, "−7.25"),
    ],
)
def test_a_metric_has_three_figures(value: float, text: str) -> None:
    assert wording.metric(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.05, "0.050"), (0.0999, "0.10"), (0.9999, "1"), (0.00099, "9.9e-4"), (0.0, "< 1e-6"), (0.25, "0.25")],
)
def test_a_p_value_has_two_figures(p: float, text: str) -> None:
    assert wording.p_value(p) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (99.999, "100 USD"),
        (99.99, "99.99 USD"),
        (0.005, "0.01 USD"),
        (-0.001, "> −0.01 USD"),
        (0.0, "0 USD"),
        (1.0, "1.00 USD"),
    ],
)
def test_money_is_whole_from_100_and_has_cents_below(value: float, text: str) -> None:
    assert wording.money(value, "USD") == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_missing_is_never_a_number(value: float | None) -> None:
    forms = (wording.metric, wording.p_value, wording.count, wording.share, wording.duration, wording.age)
    assert {form(value) for form in forms} == {"not known"}
    assert wording.money(value, "USD") == wording.interval(value, 1.0) == wording.interval(0.0, value) == "not known"


@given(FINITE)
def test_a_metric_is_within_half_a_percent_of_its_value(value: float) -> None:
    assert number(wording.metric(value)) == pytest.approx(value, rel=0.0051)


@given(st.floats(1e-6, 1.0))
def test_a_p_value_is_within_five_percent_and_never_above_1(p: float) -> None:
    assert number(wording.p_value(p)) == pytest.approx(p, rel=0.051)


@given(FINITE)
def test_money_is_true_to_the_cent_below_100_and_to_the_unit_from_there(value: float) -> None:
    text = wording.money(value, "USD")
    if "0.01" not in text:
        assert abs(number(text.removesuffix(" USD")) - value) <= (0.5000001 if abs(value) > 99 else 0.0050001)


@given(st.floats(0.0, 1.0, exclude_max=True))
def test_only_all_is_100_percent(value: float) -> None:
    assert wording.share(value) != "100 %"
    assert wording.share(1.0) == "100 %"


@given(FINITE)
def test_a_sign_is_said_once(value: float) -> None:
    text = wording.metric(value, signed=True)
    assert len(re.findall(rf"^[+{wording.MINUS}]", text)) == (value != 0)


@pytest.mark.parametrize(
    ("hours", "start", "name"),
    [
        (24, AT, "29 Dec 2013 UTC"),
        (48, AT, "29 to 30 Dec 2013 UTC"),
        (168, AT, "29 Dec 2013 to 4 Jan 2014 UTC"),
        (1, AT + timedelta(hours=13), "29 Dec 2013, 13:00 to 14:00 UTC"),
        (1, AT + timedelta(hours=23), "29 Dec 2013, 23:00 to 00:00 UTC"),
        (6, AT + timedelta(hours=20), "29 Dec 2013, 20:00 to 30 Dec 2013, 02:00 UTC"),
    ],
)
def test_a_window_is_named_by_its_bounds_in_utc(hours: int, start: datetime, name: str) -> None:
    assert wording.window_name(start, start + timedelta(hours=hours)) == name
    zone = timezone(timedelta(hours=-5))
    assert wording.window_name(start.astimezone(zone), (start + timedelta(hours=hours)).astimezone(zone)) == name


def test_a_stretch_of_days_repeats_nothing() -> None:
    said = [wording.days(AT - timedelta(days=back), AT) for back in (0, 5, 40, 400)]
    assert said == ["29 Dec 2013", "24 to 29 Dec 2013", "19 Nov to 29 Dec 2013", "24 Nov 2012 to 29 Dec 2013"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.9, "59 s"), (60, "1 min"), (7_199, "1 h"), (90_000, "1 d"), (0.4, "0 s"), (900_000, "10 d")],
)
def test_a_duration_is_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_a_list_reads_as_a_person_writes_it() -> None:
    assert [wording.joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert wording.sentence("the loop turns", "", "nothing waits") == "The loop turns; nothing waits."


def test_every_kind_of_signal_has_a_word() -> None:
    assert set(wording.SIGNALS) == set(SignalKind.__args__)  # type: ignore[attr-defined]
