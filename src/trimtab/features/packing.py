"""The value of a view in the online store: its features as little-endian float64, NaN for null.

Written by materialization, read by online_plan. A timeline also holds the moments at which rows leave their windows,
so what a read finds is never out of date by itself, and needs no expiry of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from trimtab.definitions import FeatureView
from trimtab.features.kinds import Array

PACKED = np.dtype("<f8")

KNOWN_ROWS = b"\x00"
"""Before an entity key: the timeline of how many of its rows were known. No entity key begins with it."""

_COUNT = struct.Struct("<q")
_ROW_BITS = 36
"""Of a stored count, for rows; the bits above are for the replaced ones among them."""


def table_of(columns: Sequence[Array]) -> Array:
    """Return columns as a table, shape (rows, features), in which equal values have equal bits."""
    table = np.ascontiguousarray(np.column_stack(columns), dtype=PACKED)
    table[np.isnan(table)] = np.nan
    return table


def pack(table: Array) -> list[bytes]:
    """Return the packed value of each row of a table."""
    content, size = table.tobytes(), table.itemsize * table.shape[1]
    return [content[at : at + size] for at in range(0, len(content), size)]


def nothing(view: FeatureView) -> bytes:
    """Return the packed value of an entity without rows: counts are 0, all else is null."""
    return pack(table_of([np.array([0.0 if a.kind == "count" else np.nan]) for a in view.aggregations]))[0]


def pack_counts(rows: int, replaced: int) -> bytes:
    """Return a number of rows, and how many of them another row of their key replaces, as they are stored."""
    return _COUNT.pack(replaced << _ROW_BITS | rows)


def unpack_counts(value: bytes | None) -> tuple[int, int]:
    """Return a number of rows, and how many of them are replaced; 0 and 0 when none was stored."""
    stored = 0 if value is None else int(_COUNT.unpack(value)[0])
    return stored & ((1 << _ROW_BITS) - 1), stored >> _ROW_BITS
