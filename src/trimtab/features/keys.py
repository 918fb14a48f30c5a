"""Entity keys: one canonical injective encoding as bytes, the same from table columns and request values.

A text is "s" and its UTF-8, an integer "i" and its digits, a boolean "t" or "f", a null "n". Of several key
columns all but the last are preceded by their length and a colon, so no two tuples share an encoding.
Hence "1" and 1 are different keys. Which of them a request means is decided by the type of the table's column:
a text column takes JSON strings, an integer column takes JSON numbers without a fraction (7 and 7.0 are the
same), a boolean column takes true and false; `request_columns` refuses everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.errors import DataError

KeyValue = str | int | bool | None


def encode(values: Sequence[KeyValue]) -> bytes:
    """Return the encoding of one entity's key values, in the order of the entity's key columns."""
    *firsts, last = [encode_part(value) for value in values]
    return b"".join([b"%d:%b" % (len(part), part) for part in firsts]) + last


def encode_part(value: KeyValue) -> bytes:
    """Return the encoding of one key column's value."""
    if value.__class__ is str:
        return b"s" + value.encode("utf-8", "surrogatepass")
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i%d" % value
    raise DataError(f"{value!r} is no entity key; expected text, an integer or a boolean")
