"""JSON objects become flat rows of one type a column."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.json_rows import DEEPEST, BadValue, flatten, table_of


def frame(rows: list[dict[str, Any]], texts: tuple[str, ...] | list[str] = ()) -> pl.DataFrame:
    return pl.DataFrame(table_of(rows, texts=texts))


SCALARS = st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False) | st.text(max_size=5)
KEYS = st.text("abc", min_size=1, max_size=3)
TREES = st.dictionaries(KEYS, st.recursive(SCALARS, lambda inner: st.dictionaries(KEYS, inner), max_leaves=8))


def leaves(tree: dict[str, Any]) -> int:
    return sum(leaves(value) if isinstance(value, dict) else 1 for value in tree.values())


@given(TREES)
def test_every_value_of_a_nested_object_gets_a_column(tree: dict[str, Any]) -> None:
    flat = flatten(tree)
    assert len(flat) == leaves(tree)
    for name, value in flat.items():
        inner: Any = tree
        for part in name.split("__"):
            inner = inner[part]
        assert inner is value


def test_lists_and_deep_objects_become_json_text() -> None:
    deep: Any = "end"
    for _ in range(DEEPEST + 1):
        deep = {"a": deep}
    assert flatten({"x": [1, {"é": 2}], "d": deep}) == {"x": '[1,{"é":2}]', "d" + "__a" * DEEPEST: '{"a":"end"}'}


def test_two_keys_of_one_column_are_refused() -> None:
    with pytest.raises(ValueError, match="two keys give the column 'a__b'"):
        flatten({"a": {"b": 1}, "a__b": 2})


def test_an_object_by_id_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one row has 5,000 columns; .* Is it an object by id"):
        flatten({str(number): {"x": 1} for number in range(5000)})


def test_columns_are_those_of_all_rows() -> None:
    found = frame([{"a": 1}, {"b": "x", "a": 2.5}, {"c": None, "d": True}])
    assert found.schema == {"a": pl.Float64, "b": pl.String, "c": pl.Null, "d": pl.Boolean}
    assert found.rows() == [(1.0, None, None, None), (2.5, "x", None, None), (None, None, None, True)]


@pytest.mark.parametrize("values", [[1, "a"], ["a", 1], [True, 1], [1.5, False], [2**60, 0.5]])
def test_mixed_types_are_refused_unless_they_are_kept_as_text(values: list[Any]) -> None:
    rows = [{"a": value} for value in values]
    with pytest.raises(BadValue, match=r"dtypes=\{'a': 'text'\}") as error:
        frame(rows)
    assert 0 <= error.value.row < len(rows)
    assert frame(rows, texts=["a"])["a"].dtype == pl.String
