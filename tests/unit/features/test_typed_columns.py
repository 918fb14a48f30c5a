"""Values of requests that are categories: numbers are names only where the training rows had some."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.bundle.typed_matrix import Schema
from trimtab.errors import DataError
from trimtab.features.typed_columns import typed_column


def convert(known: tuple[str, ...], value: Any) -> list[Any]:
    schema = Schema(("carrier",), {"carrier": "category"}, {"carrier": known})
    found: list[Any] = typed_column("carrier", schema)([value, None]).tolist()
    return found


@pytest.mark.parametrize("value", [7, 7.0, 7.5, True])
def test_a_number_is_no_name_where_all_known_ones_are_texts(value: Any) -> None:
    with pytest.raises(DataError, match=r"column 'carrier', row 0: .*; expected the text of a category"):
        convert(("AA", "UA"), value)


def test_a_whole_number_is_a_name_where_some_are_known() -> None:
    assert convert(("-3", "10"), 10) == ["10", None]
    assert convert(("-3", "10"), 11.0) == ["11", None]
    assert convert(("AA", "UA"), "DL") == ["DL", None]
    assert convert((), 7) == ["7", None]
    with pytest.raises(DataError, match="expected the text of a category"):
        convert(("-3", "10"), 0.5)
