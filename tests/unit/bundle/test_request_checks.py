"""What values of a request column are expected to be: numbers, texts, missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.request_checks import RequestChecks
from trimtab.bundle.spec import ColumnCheck

NUMBER = ColumnCheck(lowest=0.0, highest=10.0)
TEXT = ColumnCheck(values=("EWR", "JFK"))


@pytest.mark.parametrize(
    ("check", "values", "failing"),
    [
        (NUMBER, [0, 10.0, None, -0.5, 1e9, float("inf")], [0, 0, 0, 1, 1, 1]),
        (ColumnCheck(lowest=0.0, null=False), [0, None, float("nan"), 5], [0, 1, 1, 0]),
        (ColumnCheck(highest=3), [True, False, 4], [0, 0, 1]),
        (TEXT, ["EWR", None, "LGA", ""], [0, 0, 1, 1]),
        (ColumnCheck(values=("a",), null=False), ["a", None], [0, 1]),
        (ColumnCheck(shortest=2, longest=3), ["a", "ab", "abc", "abcd", None], [1, 0, 0, 1, 0]),
    ],
)
def test_values_that_are_not_expected_fail(check: ColumnCheck, values: Sequence[Any], failing: Sequence[int]) -> None:
    found = RequestChecks({"x": check}).failing({"x": values})
    assert found["x"].tolist() == [bool(each) for each in failing]


@pytest.mark.parametrize("values", [["text", 3], [[1], 2], [[1, 2], [3, 4]], [{}, 1], [10**400]])
def test_values_of_a_wrong_type_are_left_to_the_features(values: Sequence[Any]) -> None:
    assert RequestChecks({"x": NUMBER}).failing({"x": values}) == {}


def test_columns_that_were_not_sent_and_those_that_are_fine_are_left_out() -> None:
    checks = RequestChecks({"x": NUMBER, "origin": TEXT})
    assert checks.failing({"x": [1.0], "other": [1e9]}) == {}
    assert checks.failing({"x": [], "origin": []}) == {}
    assert not RequestChecks({})


@pytest.mark.parametrize(
    ("lowest", "highest", "words"),
    [
        (0.0, 12345678.5, "from 0 to 12345678.5"),
        (0.0, None, "at least 0"),
        (None, 5.0, "at most 5"),
        (float(np.nextafter(0, 1)), 6000.0, "more than 0, at most 6000"),
        (float(np.nextafter(0, 1)), None, "more than 0"),
    ],
)
def test_a_range_is_said_in_words(lowest: float | None, highest: float | None, words: str) -> None:
    check = ColumnCheck(lowest=lowest, highest=highest, source="schema")
    assert check.words() == f"{words}, as the schema of the source says"


def test_what_is_expected_is_said_in_words() -> None:
    checks = RequestChecks({"x": NUMBER, "origin": ColumnCheck(values=("EWR",), null=False, source="schema")})
    assert checks.expected("x") == "from 0 to 10, as in the training rows"
    assert checks.expected("origin") == "one of EWR, not missing, as the schema of the source says"
