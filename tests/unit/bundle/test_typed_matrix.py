"""Rows with typed features: exact values, codes, frames, and what keeps the values."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.bundle.typed_matrix import (
    OTHER,
    Schema,
    TypedMatrix,
    decimal_of,
    from_plain,
    joined,
    objects,
    whole,
    zero_rows,
)

TYPES = {
    "carrier": "category",
    "note": "text",
    "seats": "integer",
    "price": "decimal",
    "day": "date",
    "at": "timestamp",
    "paid": "boolean",
}
SCHEMA = Schema(("wind", *TYPES), TYPES, {"carrier": ("AA", "UA")}, "frame")
INT64 = st.integers(-(2**63), 2**63 - 1)
ROW = st.tuples(
    st.none() | st.floats(width=32),
    st.none() | st.sampled_from(["AA", "UA", "ZZ", ""]),
    st.none() | st.text(),
    st.none() | INT64,
    st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20),
    st.none() | st.dates(),
    st.none() | st.datetimes(),
    st.none() | st.booleans(),
)


def rows_of(values: list[tuple[Any, ...]], schema: Schema = SCHEMA) -> TypedMatrix:
    """Rows of plain Python values."""
    wind, carrier, note, seats, price, day, at, paid = (list(column) for column in zip(*values, strict=True))
    number = [np.nan if value is None else float(value) for value in wind]
    return TypedMatrix.of(
        schema,
        {
            "wind": np.array(number, dtype=np.float32),
            "carrier": objects(carrier),
            "note": objects(note),
            "seats": whole(seats),
            "price": objects([None if value is None else decimal_of(str(value)) for value in price]),
            "day": whole([None if value is None else (value - date(1970, 1, 1)).days for value in day]),
            "at": whole([None if value is None else (value - datetime(1970, 1, 1)) // MICRO for value in at]),
            "paid": np.array([np.nan if value is None else value for value in paid], dtype=np.float32),
        },
    )


MICRO = timedelta(microseconds=1)
AT = datetime(2013, 1, 1, 9, 0, 0, 1)


def same(one: TypedMatrix, other: TypedMatrix) -> bool:
    equal = all(np.array_equal(one.exact[place], other.exact[place]) for place in one.exact)
    return equal and np.asarray(one).tobytes() == np.asarray(other).tobytes() and one.schema == other.schema


@given(st.lists(ROW, min_size=1, max_size=6))
def test_plain_values_bring_back_every_bit(values: list[tuple[Any, ...]]) -> None:
    rows = rows_of(values)
    assert same(from_plain(SCHEMA, np.asarray(rows), rows.plain_rows()), rows)


@given(st.lists(ROW, min_size=1, max_size=6))
def test_a_frame_holds_the_exact_values(values: list[tuple[Any, ...]]) -> None:
    frame = rows_of(values).frame()
    for row, (_, carrier, note, seats, price, day, at, paid) in enumerate(values):
        found = frame.iloc[row]
        known = carrier if carrier in (None, "AA", "UA") else OTHER
        assert (None if found["carrier"] is np.nan else found["carrier"]) == known
        assert found["note"] == (note or "")
        assert (None if found["seats"] is pd.NA else int(found["seats"])) == seats
        assert (None if found["price"] != found["price"] else found["price"]) == price
        assert (None if found["day"] is pd.NaT else found["day"].date()) == day
        assert (None if found["at"] is pd.NaT else found["at"].to_pydatetime()) == at
        assert (None if found["paid"] is pd.NA else bool(found["paid"])) == paid


def test_numbers_stand_in_the_matrix_for_every_type() -> None:
    rows = rows_of([(1.5, "ZZ", "né", 2**60 + 1, Decimal("1.50"), date(1970, 1, 3), AT, True), (None,) * 8])
    assert np.asarray(rows)[0].tolist() == [1.5, 2.0, 2.0, float(np.float32(2.0**60)), 1.5, 2.0, 1357030784.0, 1.0]
    assert np.isnan(np.asarray(rows)[1]).all()
    assert rows.numbers()[0, 3] == float(2**60 + 1)
    assert rows.exact[3][0] == 2**60 + 1
    missing = rows_of([(1, "ZZ", "", 1, Decimal(1), date(2013, 1, 1), AT, False)], replace(SCHEMA, unseen="missing"))
    assert np.isnan(np.asarray(missing)[0, 1])
    assert missing.frame()["carrier"].isna().all()


def test_choosing_copying_and_joining_rows_keeps_the_exact_values() -> None:
    rows = rows_of([(float(n), "AA", f"text {n}", n, Decimal(n), date(2013, 1, 1), AT, None) for n in range(5)])
    for chosen in (
        rows[1:3],
        rows[np.array([1, 2])],
        rows[np.arange(5) % 4 != 0][:2],
        pickle.loads(pickle.dumps(rows))[1:3],
    ):
        assert isinstance(chosen, TypedMatrix)
        assert chosen.frame()["note"].tolist() == ["text 1", "text 2"]
    both = np.concatenate([rows[:2], rows.copy()[2:]])
    assert isinstance(both, TypedMatrix)
    assert same(both, rows)
    for plain in (rows[:, 0], rows[0], np.isnan(rows), rows + 1, np.where(True, rows, rows), rows[::-1, 1]):
        assert not isinstance(plain, TypedMatrix)
    with pytest.raises(ValueError, match="rows of different features cannot be joined"):
        joined([rows, TypedMatrix.made(Schema(("a",), {}), np.zeros((1, 1)), {})])


def test_a_value_that_is_set_to_nan_is_missing() -> None:
    rows = rows_of([(1.0, "AA", "a", 3, Decimal(1), date(2013, 1, 1), AT, True)])
    for place in range(len(SCHEMA.features)):
        blank = rows.copy()
        blank[0, place] = np.nan
        empty = blank.frame().replace("", None)
        assert empty.isna().iloc[0].tolist() == [n == place for n in range(len(SCHEMA.features))]
    assert not rows.frame().isna().any(axis=None)


def test_zero_rows_have_a_value_of_each_type() -> None:
    frame = zero_rows(SCHEMA, 2, 8).frame()  # type: ignore[attr-defined]  # typed, since there is a schema
    assert frame.iloc[1].tolist() == [0.0, "AA", "", 0, Decimal(0), pd.Timestamp(0), pd.Timestamp(0), False]
    assert type(zero_rows(None, 2, 3)) is np.ndarray
    assert datetime.fromtimestamp(0, UTC).year == 1970


def test_equal_decimals_have_equal_texts() -> None:
    assert [str(decimal_of(text)) for text in ("1.50", "1.5", "100", "1E+2", "-0.0", "0", "1e-7")] == [
        "1.5",
        "1.5",
        "100",
        "100",
        "0",
        "0",
        "1E-7",
    ]
