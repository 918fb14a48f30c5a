"""Encodes the values of a view in the online store: its features as little-endian float64, NaN for null.

The columns are those of `continuous.Layout`. Texts, dates and timestamps of rows come behind them as MessagePack: a map
from the column to text, days since 1970 or microseconds since 1970, without those that are null.

A timeline also has entries for the times at which rows leave their windows, so stored values need no expiry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from trimtab.definitions.views import FeatureView
from trimtab.features.continuous import Layout
from trimtab.features.value_types import Array

PACKED = np.dtype("<f8")
"""Type of a stored feature."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[int, Any]).decode


def table_of(columns: Sequence[Array]) -> Array:
    """Return columns as a float64 table, shape (rows, features), with one bit pattern for all NaN; NaN for objects."""
    numbers = [np.full(len(column), np.nan) if column.dtype == object else column for column in columns]
    table = np.ascontiguousarray(np.column_stack(numbers), dtype=PACKED)
    table[np.isnan(table)] = np.nan
    return table


def pack(table: Array, exact: Mapping[int, Array] | None = None) -> list[bytes]:
    """Return the packed value of each row of a table. exact: columns of objects by their place; None is null."""
    content, size = table.tobytes(), table.itemsize * table.shape[1]
    packed = [content[at : at + size] for at in range(0, len(content), size)]
    if not exact:
        return packed
    rows = zip(*(column.tolist() for column in exact.values()), strict=True)
    known = ({place: value for place, value in zip(exact, row, strict=True) if value is not None} for row in rows)
    return [value + (_encode(own) if own else b"") for value, own in zip(packed, known, strict=True)]


def unpack_exact(value: bytes, width: int) -> dict[int, Any]:
    """Return the values behind the numbers of a packed value, by their column. width: number of columns."""
    tail = value[PACKED.itemsize * width :]
    return _decode(tail) if tail else {}


def nothing(view: FeatureView) -> bytes:
    """Return the packed value of an entity without rows: counts are 0, other features null."""
    return pack(table_of(Layout(view).empty()))[0]
