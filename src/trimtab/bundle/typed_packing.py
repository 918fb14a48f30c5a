"""The exact values of typed rows as bytes: one MessagePack array a row, in the order of the typed features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from trimtab.bundle.typed_matrix import Schema, TypedMatrix, from_plain
from trimtab.errors import DataError

TYPED = "__typed"
"""Column with packed rows in the reference rows of a bundle."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def pack_rows(rows: TypedMatrix) -> list[bytes]:
    """Return the packed exact values of each row."""
    return [_encode(row) for row in rows.plain_rows()]


def unpack_rows(schema: Schema, matrix: np.ndarray[Any, Any], packed: Sequence[bytes]) -> TypedMatrix:
    """Return rows from their matrix, float32 (rows, features), and their packed values. Raises DataError."""
    try:
        rows = [_decode(row) for row in packed]
        if any(len(row) != len(schema.places) for row in rows):
            raise ValueError(f"a row has other values than the typed features {', '.join(schema.types)}")
        return from_plain(schema, matrix, rows)
    except (ValueError, TypeError, ArithmeticError) as error:  # msgspec's errors are ValueErrors
        raise DataError(f"typed values cannot be read: {error}") from None
