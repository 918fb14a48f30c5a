"""Rows of the prediction log as MessagePack, and back, without pyarrow.

Packed rows are an array with one value a column, in the order of the contract. By type, a column is

    text        an array of strings; of strings and nil where it may be null
    bool        one byte a row
    int32, int64, time
                little-endian integers of 4, 8 and 8 bytes, as one binary value; times are microseconds since 1970
    bool?, int32?, texts?
                an array of values and nil
    float64     little-endian numbers of 8 bytes, as one binary value; where one is null, an array of numbers and nil
    pairs       the number of pairs of each row, or nil; and all keys and values in turn
    vector      [width, binary] where the rows are one float32 matrix; else an array of binary and nil
    doubles     as vector, with float64 numbers
    bytes       an array of binary and nil

The last columns, those of ADDED, may be missing or nil; they are null then in every row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from trimtab.clock import from_micros
from trimtab.errors import DataError, nearest
from trimtab.stores.predictions.contract import ADDED, COLUMNS

MISFITS = (TypeError, ValueError, OverflowError, AttributeError, LookupError)
"""What packing raises for values that do not fit their column."""
PLAIN = frozenset({"text", "text?", "bool?", "int32?", "texts?", "bytes?"})
"""Types whose packed column is an array of the values themselves."""
_FLAGS = {False: 0, True: 1}


def _plain(value: object) -> object:
    """Return what msgspec encodes for a subclass of str, such as numpy's, and for a sequence that is no list."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence | np.ndarray):
        return list(value)
    raise TypeError(f"{value!r} is no text")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decode: Callable[[bytes | bytearray | memoryview], list[Any]] = msgspec.msgpack.Decoder(list[Any]).decode


def unpack(packed: bytes | bytearray | memoryview, kind: str) -> list[Any]:
    """Return all columns of packed rows, as the head of this file describes them; missing ones as arrays of None."""
    columns = _decode(packed)
    columns += [None] * (len(COLUMNS[kind]) - len(columns))
    for place in range(-len(ADDED[kind]), 0):
        if columns[place] is None:
            columns[place] = [None] * len(columns[0])
    return columns


class RowPacker:
    """Packs rows of one kind, given as columns, after checking them."""

    def __init__(self, kind: str) -> None:
        self._types = COLUMNS[kind]
        self._all = [(name, _PACK[type_]) for name, type_ in COLUMNS[kind].items()]
        self._needed = self._all[: len(self._all) - len(ADDED[kind])]
        self._names = [name for name, _ in self._needed]

    def pack_into(self, buffer: bytearray, start: int, columns: Mapping[str, Sequence[Any]]) -> int:
        """Write packed rows into a buffer from `start` to its new end; return the number of rows.

        Raises DataError naming the column that does not fit.
        """
        rows = self._check(columns)
        try:
            if len(columns) == len(self._needed):
                packed = [pack(columns[name]) for name, pack in self._needed]
            else:
                packed = [pack(columns[name]) if name in columns else None for name, pack in self._all]
            _encoder.encode_into(packed, buffer, start)
        except MISFITS as error:
            raise self._misfit(columns, error) from None
        return rows

    def _misfit(self, columns: Mapping[str, Sequence[Any]], error: Exception) -> DataError:
        """Return the error that names the first column that cannot be packed by itself."""
        for name, pack in self._all:
            if name not in columns:
                continue
            try:
                _encoder.encode(pack(columns[name]))
            except MISFITS as reason:
                if not self._types[name].endswith("?") and any(value is None for value in columns[name]):
                    return DataError(f"column '{name}' holds None; every row needs a value")
                return DataError(f"column '{name}': {reason}; expected {self._types[name].removesuffix('?')}")
        return DataError(str(error))

    def _check(self, columns: Mapping[str, Sequence[Any]]) -> int:
        """Return the number of rows. Raises DataError where columns are missing, unknown or of different lengths."""
        try:
            sizes = list(map(len, map(columns.__getitem__, self._names)))
        except KeyError as error:
            raise DataError(f"column {error} is missing") from None
        rows = sizes[0]
        if sizes.count(rows) != len(sizes):
            name, size = next((n, size) for n, size in zip(self._names, sizes, strict=True) if size != rows)
            raise DataError(f"column '{name}' has {size} rows; the columns before it have {rows}")
        if len(columns) > len(sizes):
            for name, values in columns.items():
                if name not in self._types:
                    raise DataError(f"column '{name}' is not part of the log.{nearest(name, self._types)}")
                if len(values) != rows:
                    raise DataError(f"column '{name}' has {len(values)} rows; the others have {rows}")
        return rows


def rows_of(packed: bytes | bytearray | memoryview, kind: str) -> list[dict[str, Any]]:
    """Return packed rows as pyarrow's to_pylist does: times as aware datetimes, entities as pairs."""
    types = COLUMNS[kind]
    columns = [_UNPACK[type_](values) for type_, values in zip(types.values(), unpack(packed, kind), strict=True)]
    return [dict(zip(types, row, strict=True)) for row in zip(*columns, strict=True)]


def _pack_text(values: Sequence[Any]) -> Sequence[str]:
    "".join(values)  # raises TypeError for what is no text
    return values


def _pack_text_or_none(values: Sequence[Any]) -> Sequence[str | None]:
    "".join([value for value in values if value is not None])
    return values


def _pack_flags(values: Sequence[Any]) -> bytes:
    return bytes([_FLAGS[value] for value in values])


def _pack_numbers(code: str) -> Callable[[Sequence[Any]], bytes]:
    return lambda values: array(code, values).tobytes()


def _pack_floats_or_none(values: Sequence[Any]) -> bytes | list[float | None]:
    try:
        return array("d", values).tobytes()
    except TypeError:  # None, or what is no number
        given = iter(array("d", [value for value in values if value is not None]))
        return [None if value is None else next(given) for value in values]


def _pack_pairs(values: Sequence[Any]) -> tuple[list[int | None], list[str | None]]:
    """Each value is a sequence of (key, value) pairs, or None."""
    counts: list[int | None] = []
    texts: list[str | None] = []
    for row in values:
        counts.append(None if row is None else len(row))
        for key, value in row or ():
            texts += (key, value)
    try:
        "".join(texts)  # type: ignore[arg-type]  # raises TypeError for what is no text
    except TypeError:  # None as a value, or what is no text
        "".join([text for n, text in enumerate(texts) if n % 2 == 0 or text is not None])  # type: ignore[misc]  # as above
    return counts, texts


def _pack_vectors(values: Any, dtype: type[np.floating[Any]] = np.float32) -> Sequence[Any]:
    """Each value is an array (width,), or None; or all of them are one array (rows, width)."""
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.shape[1]:
        return values.shape[1], values.tobytes()
    return [None if row is None else np.asarray(row, dtype=dtype).tobytes() for row in values]


def _pack_checked(check: Callable[[Any], bool]) -> Callable[[Sequence[Any]], list[Any]]:
    def pack(values: Sequence[Any]) -> list[Any]:
        for value in values:
            if value is not None and not check(value):
                raise TypeError(f"{value!r} does not fit")
        return list(values)

    return pack


def _pack_bytes_or_none(values: Sequence[Any]) -> list[bytes | None]:
    b"".join([value for value in values if value is not None])  # raises TypeError for what is no bytes
    return list(values)


def _unpack_numbers(code: str) -> Callable[[Any], list[Any]]:
    return lambda values: values if isinstance(values, list) else array(code, values).tolist()


def _unpack_pairs(values: tuple[list[int | None], list[str | None]]) -> list[list[tuple[Any, Any]] | None]:
    counts, texts = values
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return [None if count is None else list(islice(pairs, count)) for count in counts]


def is_matrix(values: list[Any]) -> bool:
    """Return True if a packed column of vectors is the width of a matrix and its numbers."""
    return bool(values) and isinstance(values[0], int)


def _unpack_vectors(values: list[Any], code: str = "f") -> list[list[float] | None]:
    if is_matrix(values):
        size = array(code).itemsize * values[0]
        values = [values[1][start : start + size] for start in range(0, len(values[1]), size)]
    return [None if row is None else array(code, row).tolist() for row in values]


_PACK: dict[str, Callable[[Sequence[Any]], Any]] = {
    "text": _pack_text,
    "text?": _pack_text_or_none,
    "bool": _pack_flags,
    "bool?": _pack_checked(lambda value: isinstance(value, bool)),
    "int32": _pack_numbers("i"),
    "int32?": _pack_checked(lambda value: isinstance(value, int) and -(2**31) <= value < 2**31),
    "int64": _pack_numbers("q"),
    "texts?": _pack_checked(lambda value: all(isinstance(text, str) for text in value)),
    "time": _pack_numbers("q"),
    "float64": _pack_numbers("d"),
    "float64?": _pack_floats_or_none,
    "pairs?": _pack_pairs,
    "vector?": _pack_vectors,
    "doubles?": lambda values: _pack_vectors(values, np.float64),
    "bytes?": _pack_bytes_or_none,
}
_UNPACK: dict[str, Callable[[Any], list[Any]]] = {
    "text": list,
    "text?": list,
    "bool": lambda values: [flag != 0 for flag in values],
    "bool?": list,
    "int32": _unpack_numbers("i"),
    "int32?": list,
    "int64": _unpack_numbers("q"),
    "texts?": list,
    "time": lambda values: [from_micros(micros) for micros in array("q", values)],
    "float64": _unpack_numbers("d"),
    "float64?": _unpack_numbers("d"),
    "pairs?": _unpack_pairs,
    "vector?": _unpack_vectors,
    "doubles?": lambda values: _unpack_vectors(values, "d"),
    "bytes?": list,
}
