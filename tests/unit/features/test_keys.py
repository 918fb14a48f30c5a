"""Entity keys: columns and single values have one encoding, and different keys never share one."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError, DefinitionError
from trimtab.features.table_columns import encode_keys, plain_keys
from trimtab.features.value_types import KeyValue, encode

texts = st.one_of(st.text(max_size=4), st.sampled_from(["", "1", "i1", "n", "1:s", "t", "\x00"]), st.none())
integers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, 11, -1]), st.none())
booleans = st.one_of(st.booleans(), st.none())
anything: st.SearchStrategy[KeyValue] = st.one_of(texts, integers, booleans)


@given(st.lists(anything, min_size=2, max_size=2), st.lists(anything, min_size=2, max_size=2))
def test_different_keys_have_different_encodings(one: list[KeyValue], other: list[KeyValue]) -> None:
    typed = [[(type(value), value) for value in key] for key in (one, other)]
    assert (encode(one) == encode(other)) == (typed[0] == typed[1])
    assert not encode(one).startswith(b"\x00")


@given(st.lists(st.tuples(texts, integers, booleans), min_size=1, max_size=5))
def test_columns_and_values_agree(rows: list[tuple[str | None, int | None, bool | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.Int64, "c": pl.Boolean}, orient="row")
    assert encode_keys(frame) == [encode(row) for row in rows]
    for column in frame.columns:
        assert encode_keys(frame.select(column)) == [encode([value]) for value in frame[column].to_list()]


def test_text_and_number_of_one_look_are_two_keys() -> None:
    assert len({encode([value]) for value in ("1", 1, True, None, "n", "t", "None")}) == 7


def test_all_widths_of_integers_and_all_makes_of_text_are_one_key() -> None:
    frame = pl.DataFrame({"n": [1], "s": ["x"]})
    for dtype in (pl.Int8, pl.UInt32, pl.Int64, pl.UInt64):
        assert encode_keys(plain_keys(frame.select(pl.col("n").cast(dtype)), where="")) == [encode([1])]
    for text in (pl.Categorical, pl.Enum(["x"])):
        assert encode_keys(plain_keys(frame.select(pl.col("s").cast(text)), where="")) == [encode(["x"])]


@pytest.mark.parametrize("value", [1.5, b"x", ("a",)])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="cannot be an entity key; expected text, an integer or a boolean"):
        encode([value])


def test_other_columns_are_refused() -> None:
    with pytest.raises(DefinitionError, match="here: key 'x' is Float64; expected text, integers or booleans"):
        plain_keys(pl.DataFrame({"x": [1.5]}), where="here")
