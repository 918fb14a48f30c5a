"""The content hash sees values and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.dataset import content_hash

HEADER = {"model": "delay"}


def of(name: str, values: Any, dtype: pl.DataType | type[pl.DataType] | None = None) -> str:
    return content_hash(pl.DataFrame({name: pl.Series(values, dtype=dtype)}), [name], HEADER)


def test_negative_zero_and_any_nan_are_one_value() -> None:
    # given two NaNs with different bits
    payload = np.array([0x7FC00000, 0x7FC00123], dtype=np.uint32).view(np.float32)

    # then neither bits nor the sign of zero matter
    assert of("x", payload[:1]) == of("x", payload[1:])
    assert of("x", np.array([-0.0])) == of("x", np.array([0.0]))


def test_null_is_neither_zero_nor_empty_text() -> None:
    assert of("x", [None, 1.0], pl.Float64) != of("x", [0.0, 1.0], pl.Float64)
    assert of("x", [None, "a"], pl.String) != of("x", ["", "a"], pl.String)


def test_text_does_not_run_together() -> None:
    assert of("x", ["ab", "c"]) != of("x", ["a", "bc"])


def test_name_order_and_header_count() -> None:
    frame = pl.DataFrame({"a": [1], "b": [2]})
    hashes = {
        content_hash(frame, ["a", "b"], HEADER),
        content_hash(frame, ["b", "a"], HEADER),
        content_hash(frame, ["a", "b"], {"model": "other"}),
        content_hash(frame.rename({"a": "c"}), ["c", "b"], HEADER),
    }
    assert len(hashes) == 4


@given(st.lists(st.floats(width=32) | st.none(), min_size=1), st.data())
def test_chunks_do_not_matter_and_every_value_does(values: list[float | None], data: st.DataObject) -> None:
    # given one column in one chunk and in two
    whole = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float32)})
    cut = data.draw(st.integers(0, len(values)))
    pieces = pl.concat([whole[:cut], whole[cut:]], rechunk=False)

    # then the hash is the same, and a changed value changes it
    assert content_hash(pieces, ["x"], HEADER) == content_hash(whole, ["x"], HEADER)
    at = data.draw(st.integers(0, len(values) - 1))
    other = [*values]
    other[at] = 7.0 if values[at] != 7.0 else 8.0
    changed = pl.DataFrame({"x": pl.Series(other, dtype=pl.Float32)})
    assert content_hash(changed, ["x"], HEADER) != content_hash(whole, ["x"], HEADER)
