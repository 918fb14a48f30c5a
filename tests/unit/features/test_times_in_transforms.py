"""Times that transforms take: one rule for what clients send, and a missing time is a missing number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from trimtab.definitions.on_demand import OnDemand
from trimtab.errors import DataError
from trimtab.features.request_columns import for_transform
from trimtab.features.transforms import run

DAY = 86_400_000_000
AT = np.array(["2024-01-05", "2024-01-06"], dtype="datetime64[us]")
SIGNUP = np.array(["2023-01-05", "NaT"], dtype="datetime64[us]")


def result(function: Any) -> list[Any]:
    transform = OnDemand("age", ("at", "signup"), ("age",), function, "")
    return [None if value != value else value for value in run(transform, [AT.copy(), SIGNUP.copy()], 2)[0].tolist()]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda at, signup: (at - signup).astype("float64") / DAY, 365.0),
        (lambda at, signup: (at - signup).astype(float) / DAY, 365.0),
        (lambda at, signup: (at - signup).astype("float32") / DAY, 365.0),
        (lambda at, signup: (at - signup).astype("int64") // DAY, 365),
        (lambda at, signup: (at - signup).astype("timedelta64[D]").astype(int), 365),
        (lambda at, signup: signup.astype("datetime64[D]").astype(int) % 7, 0),
        (lambda at, signup: (at - signup) / np.timedelta64(1, "D"), 365.0),
        (lambda at, signup: np.maximum(at - signup, np.timedelta64(0, "us")).astype("float64") / DAY, 365.0),
        (lambda at, signup: (at[:] - signup[:]).copy().astype("float64") / DAY, 365.0),
    ],
)
def test_a_missing_time_becomes_a_missing_number(function: Any, expected: float) -> None:
    assert result(function) == [pytest.approx(expected), None]


def pandas_days(at: Any, signup: Any) -> Any:
    frame: Any = pd.DataFrame({"at": at, "signup": signup})
    return (frame["at"] - frame["signup"]).dt.days.to_numpy()


@pytest.mark.parametrize(
    "function",
    [
        pandas_days,
        lambda at, signup: (pl.Series(at) - pl.Series(signup)).dt.total_days().to_numpy(),
    ],
    ids=["pandas", "polars"],
)
def test_data_frame_libraries_take_times_with_a_missing_one(function: Any) -> None:
    assert result(function) == [365, None]


def test_a_transform_may_ask_what_is_missing() -> None:
    assert result(lambda at, signup: np.isnat(signup)) == [False, True]
    assert result(lambda at, signup: np.where(np.isnat(signup), -1, (at - signup).astype("int64"))) == [365 * DAY, -1]


def test_whole_numbers_stay_whole_where_nothing_is_missing() -> None:
    seen = []

    def age(at: Any, signup: Any) -> Any:
        seen.append(at.astype("int64").dtype)
        return at.astype("int64") % DAY

    assert result(age) == [0, 0]
    assert seen == [np.dtype("int64")]


@pytest.mark.parametrize("kind", ["time", None])
def test_numbers_stay_numbers_where_nobody_says_they_are_times(kind: Any) -> None:
    convert = for_transform("signup", kind)
    if kind is None:
        assert convert([1_672_876_800]).tolist() == [1_672_876_800.0]
    else:
        with pytest.raises(DataError, match="as seconds it would be 2023-01-05T00:00:00Z"):
            convert([1_672_876_800])


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1_672_876_800, "seconds"),
        (1_672_876_800_000, "milliseconds"),
        (1_672_876_800_000_000_000, "nanoseconds"),
        ("1672876800000", "milliseconds"),
        (np.int64(1_672_876_800_000), "milliseconds"),
    ],
)
def test_other_units_are_refused_with_the_row_and_the_guess(value: Any, unit: str) -> None:
    with pytest.raises(DataError, match=rf"column 'signup', row 1: .*as {unit} it would be 2023-01-05T00:00:00Z"):
        for_transform("signup", "time")(["2023-01-05", value])


def test_text_microseconds_and_null_are_taken() -> None:
    found = for_transform("signup", "time")(["2023-01-05T00:00:00Z", 1_672_876_800_000_000, None, 0])
    assert found.astype("int64").tolist()[:2] == [1_672_876_800_000_000] * 2
    assert np.isnat(found).tolist() == [False, False, True, False]
