"""The exact values of typed rows as bytes: one MessagePack array a row, in the order of the typed features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from trimtab.bundle.spec import Spec
from trimtab.bundle.typed_matrix import Schema, TypedMatrix, from_plain
from trimtab.errors import DataError

TYPED = "__typed"
"""Column with packed rows in the reference rows of a bundle."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def feature_schema(spec: Spec) -> Schema | None:
    """Return the types of a bundle's features; None when all are plain numbers."""
    return Schema.known(spec.features, spec.feature_types, spec.feature_categories, spec.input, spec.unseen)


def pack_rows(rows: TypedMatrix) -> list[bytes]:
    """Return the packed exact values of each row."""
    return [_encode(row) for row in rows.plain_rows()]


def exact_values(schema: Schema, packed: bytes) -> dict[str, Any]:
    """Return the exact values of one row by feature: text, numbers, and dates and timestamps as ISO 8601 text."""
    found = dict[str, Any]()
    for (place, kind), value in zip(schema.places.items(), _decode(packed), strict=True):
        known = value is not None
        if kind == "date" and known:
            value = str(np.datetime64(value, "D"))
        elif kind == "timestamp" and known:
            value = f"{np.datetime64(value, 'us')}Z"
        found[schema.features[place]] = value
    return found


def logged_rows(spec: Spec, features: Sequence[Any], typed: Sequence[bytes | None]) -> np.ndarray[Any, Any]:
    """Return rows of the prediction log as a bundle takes them, float32 (rows, features).

    Another version may have logged them: categories get the codes of this bundle. Raises DataError for rows without
    the exact values that the bundle takes.
    """
    X, schema = np.array(features, dtype=np.float32), feature_schema(spec)
    if schema is None:
        return X
    if any(row is None for row in typed):
        raise DataError(f"model '{spec.model}' has typed features, and some rows of the log have no exact values")
    return unpack_rows(schema, X, [row for row in typed if row is not None])


def unpack_rows(schema: Schema, matrix: np.ndarray[Any, Any], packed: Sequence[bytes]) -> TypedMatrix:
    """Return rows from their matrix, float32 (rows, features), and their packed values. Raises DataError."""
    try:
        rows = [_decode(row) for row in packed]
        if any(len(row) != len(schema.places) for row in rows):
            raise ValueError(f"a row has other values than the typed features {', '.join(schema.types)}")
        return from_plain(schema, matrix, rows)
    except (ValueError, TypeError, ArithmeticError) as error:  # msgspec's errors are ValueErrors
        raise DataError(f"typed values cannot be read: {error}") from None
