"""Moments that clients send: text and microseconds are read, other units are refused and named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import timestamps
from trimtab.clock import from_micros, to_micros
from trimtab.serving.core.feedback import Label, Wrong, read_label

JUNE = 1_370_102_400


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2013-06-01T16:00:00Z", JUNE * 1_000_000),
        ("1970-01-16", 1_296_000_000_000),
        (JUNE * 1_000_000, JUNE * 1_000_000),
        (0, 0),
        (-(10**15), -(10**15)),
        (JUNE, None),
        (JUNE * 1_000, None),
        (-JUNE * 1_000, None),
        (JUNE * 10**9, None),
        (5, None),
        (True, None),
        (1.5, None),
        (None, None),
        ("soon", None),
    ],
)
def test_what_is_a_moment(value: Any, expected: int | None) -> None:
    assert timestamps.micros(value) == expected


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (JUNE, " (as microseconds it is 1970-01-01; as seconds it would be 2013-06-01T16:00:00Z)"),
        (JUNE * 1_000, " (as microseconds it is 1970-01-16; as milliseconds it would be 2013-06-01T16:00:00Z)"),
        (JUNE * 10**9, " (as nanoseconds it would be 2013-06-01T16:00:00Z)"),
        (-5, " (as microseconds it is 1969-12-31)"),
        (2**80, ""),
        ("soon", ""),
        (f" {JUNE * 10**9} ", " (as nanoseconds it would be 2013-06-01T16:00:00Z)"),
        ("+-5", ""),
        ("-", ""),
        (True, ""),
    ],
)
def test_what_it_would_be_in_other_units(value: Any, hint: str) -> None:
    assert timestamps.hint(value) == hint


@given(st.integers(to_micros(from_micros(timestamps.LEAST)), timestamps.LATEST))
def test_microseconds_since_1973_are_moments(value: int) -> None:
    assert timestamps.micros(value) == value


@given(st.integers())
def test_every_integer_has_a_hint_or_none(value: int) -> None:
    assert isinstance(timestamps.hint(value), str)


def test_labels_take_the_same_moments() -> None:
    good = read_label(0, {"id": "a", "label": 1, "known_at": JUNE * 1_000_000})
    bad = read_label(0, {"id": "a", "label": 1, "known_at": JUNE * 1_000})
    assert isinstance(good, Label)
    assert good.known_at == JUNE * 1_000_000
    assert isinstance(bad, Wrong)
    assert "as milliseconds it would be 2013-06-01T16:00:00Z" in bad.reason


@pytest.mark.parametrize("text", ["1712011200000", str(JUNE), str(JUNE * 10**6), str(JUNE * 10**9)])
def test_texts_of_digits_are_no_iso_timestamps(text: str) -> None:
    """1712011200000 are the milliseconds of 2024-04-01; fromisoformat reads the year 1712."""
    assert timestamps.micros(text) is None
    assert timestamps.hint(text) or text == str(JUNE * 10**6)


def test_eight_digits_are_a_date() -> None:
    assert timestamps.micros("20130601") == timestamps.micros("2013-06-01")
