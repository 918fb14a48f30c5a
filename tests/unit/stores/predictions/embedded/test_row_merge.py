"""The order of the rows of several writers, whatever blocks they come in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trimtab.stores.predictions.embedded.row_merge import Block, Places, merge


def block(writer: str, number: int, *times: int) -> Block:
    """Return a block of appends of one row each, whose rows name the writer and the time."""
    rows = pa.table({"row": [f"{writer}{time}.{number}" for time in times]})
    return Block(writer, number, rows, np.array(times), np.arange(1, len(times) + 1))


def test_rows_of_one_time_are_in_order_of_writers_though_a_block_ends_among_them() -> None:
    first, second = [block("a", 1, 1, 5), block("a", 2, 5, 9)], [block("b", 1, 4, 5, 5, 8)]
    places: Places = {}
    found = pa.concat_tables(merge([iter(first), iter(second)], None, places))
    assert found["row"].to_pylist() == ["a1.1", "b4.1", "a5.1", "a5.2", "b5.1", "b5.1", "b8.1", "a9.2"]
    assert places == {"a": (2, 2), "b": (1, 4)}
