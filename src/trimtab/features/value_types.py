"""Types of the values in this package: arrays, kinds of request columns, and entity keys with their encoding as bytes.

Imports NumPy and nothing heavier, because the gateway's worker loads it.

Entity keys have one injective encoding, the same for rows of a table and for values of a request. A text is "s" and its
UTF-8, an integer "i" and its digits, a boolean "t" or "f", a null "n". Of several key columns all but the last are
preceded by their length and a colon, so no two tuples share an encoding. Hence "1" and 1 are different keys. The type
of the table's column decides which of them a request means: a text column takes JSON strings, an integer column takes
JSON numbers without a fraction (7 and 7.0 are the same), a boolean column takes true and false; `request_columns`
refuses everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from trimtab.errors import DataError

Array = np.ndarray[Any, Any]

Kind = Literal["number", "text", "integer", "boolean", "time", "decimal", "date"]
"""What a request brings for a column. A number may also be an integer or a boolean; a time is ISO 8601 text,
microseconds since the epoch, or a datetime; a date is one at midnight; a decimal may also be its text. An entity's key
column is text, integer or boolean."""

KINDS: tuple[Kind, ...] = get_args(Kind)

EXACT = 2**53
"""Whole numbers up to this one are exact in float64."""

KeyValue = str | int | bool | None


def encode(values: Sequence[KeyValue]) -> bytes:
    """Return the encoding of one entity's key values, in the order of the entity's key columns."""
    return join_parts([encode_part(value) for value in values])


def join_parts(parts: Sequence[bytes]) -> bytes:
    """Return the encoding of an entity from the encodings of its key columns' values."""
    *firsts, last = parts
    return b"".join([b"%d:%b" % (len(part), part) for part in firsts]) + last


def encode_part(value: KeyValue) -> bytes:
    """Return the encoding of one key column's value. Raises DataError for a value of another type."""
    if value.__class__ is str:
        return b"s" + value.encode("utf-8", "surrogatepass")
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i%d" % value
    raise DataError(f"{value!r} cannot be an entity key; expected text, an integer or a boolean")
