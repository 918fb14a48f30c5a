"""Builds Arrow record batch messages fast, by filling in a template. Called by segments.

A record batch of one row costs pyarrow some 150 us (each of fifteen arrays is an object of its own). The
metadata of a batch of a known schema differs only in its numbers: rows, the length and null count of each
column, the place of each buffer. So pyarrow wrote the metadata once (templates) and we overwrite the numbers.

The metadata carries a CRC-32 of the message, with the checksum's own digits taken as zeros (key "crc32", eight hex
digits): whatever bit of a message is turned over, in its numbers too, a reader sees it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any
from zlib import crc32

import numpy as np

from trimtab.errors import DataError, nearest
from trimtab.stores.predictions.framing import (
    BODY_LENGTH,
    BUFFERS,
    HEADER,
    LENGTH,
    NODES,
    PREFIX_BYTES,
    field,
    follow,
)
from trimtab.stores.predictions.template import Template

Nodes = list[int]
"""Length and null count of each column and child column, in order of the schema."""
Parts = list[bytes]
"""Buffers, in order of the schema; an absent validity bitmap is empty."""
Column = Callable[[Sequence[Any], Nodes, Parts], None]

_PADS = tuple(bytes(n) for n in range(8))
_I64 = struct.Struct("<q")


class MessageWriter:
    """Turns columns into one record batch message of a fixed schema.

    Knows the types string, bool, int32, float64, timestamp, map<string, string> and list<float32>.
    """

    def __init__(self, template: Template) -> None:
        self.schema_message = template.schema_message
        self._types = {name: (kind, nullable) for name, kind, nullable in template.fields}
        self._columns = [(name, _column(kind, nullable=nullable)) for name, kind, nullable in template.fields]
        view = memoryview(template.head)
        root = PREFIX_BYTES + struct.unpack_from("<I", view, PREFIX_BYTES)[0]
        header = follow(view, field(view, root, HEADER))
        self._body_at = field(view, root, BODY_LENGTH)
        self._rows_at = field(view, header, LENGTH)
        nodes, buffers = (follow(view, field(view, header, n)) for n in (NODES, BUFFERS))
        self._nodes_at, self._buffers_at = nodes + 4, buffers + 4
        self._nodes = struct.Struct(f"<{2 * struct.unpack_from('<I', view, nodes)[0]}q")
        self._buffers = struct.Struct(f"<{2 * struct.unpack_from('<I', view, buffers)[0]}q")
        self._head = template.head
        self._checksum_at = slice(template.checksum_at, template.checksum_at + 8)

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> tuple[bytearray, int]:
        """Return the message and its number of rows. Raises DataError naming the column that does not fit."""
        nodes: Nodes = []
        parts: Parts = []
        rows = self._check(columns)
        for name, write in self._columns:
            try:
                write(columns[name], nodes, parts)
            except (TypeError, ValueError, OverflowError, AttributeError) as error:
                raise self._misfit(name, columns[name], error) from None
        sizes = list(map(len, parts))
        ends = list(accumulate([(size + 7) & -8 for size in sizes]))
        places = [0] * (2 * len(parts))
        places[2::2] = ends[:-1]
        places[1::2] = sizes
        head = bytearray(self._head)
        _I64.pack_into(head, self._body_at, ends[-1])
        _I64.pack_into(head, self._rows_at, rows)
        self._nodes.pack_into(head, self._nodes_at, *nodes)
        self._buffers.pack_into(head, self._buffers_at, *places)
        message = bytearray().join([head, *[part + _PADS[-len(part) & 7] for part in parts if part]])
        message[self._checksum_at] = b"%08x" % crc32(message)
        return message, rows

    def _misfit(self, name: str, values: Sequence[Any], error: Exception) -> DataError:
        kind, nullable = self._types[name]
        if not nullable and any(value is None for value in values):
            return DataError(f"column '{name}' holds None; every row needs a value")
        return DataError(f"column '{name}': {error}; expected {kind}")

    def _check(self, columns: Mapping[str, Sequence[Any]]) -> int:
        try:
            sizes = [len(columns[name]) for name, _ in self._columns]
        except KeyError as error:
            raise DataError(f"column {error} is missing") from None
        rows = sizes[0]
        if sizes.count(rows) != len(sizes):
            name, size = next((n, size) for (n, _), size in zip(self._columns, sizes, strict=True) if size != rows)
            raise DataError(f"column '{name}' has {size} rows; the columns before it have {rows}")
        if len(columns) > len(sizes):
            known = [name for name, _ in self._columns]
            strange = next(name for name in columns if name not in known)
            raise DataError(f"column '{strange}' is not part of the log.{nearest(strange, known)}")
        return rows


def _column(kind: str, *, nullable: bool) -> Column:
    for beginning, column in (
        ("string", _text if nullable else _given_text),
        ("bool", _given_flags),
        ("int32", _numbers("i") if nullable else _given_numbers("i")),
        ("double", _numbers("d") if nullable else _given_numbers("d")),
        ("timestamp[us", _numbers("q") if nullable else _given_numbers("q")),
        ("map<string, string", _pairs),
        ("list<", _vectors),
    ):
        if kind.startswith(beginning):
            return column
    raise DataError(f"no writer for {kind}")


def _given_numbers(code: str) -> Column:
    """Fixed-width numbers without None."""

    def write(values: Sequence[Any], nodes: Nodes, parts: Parts) -> None:
        nodes += (len(values), 0)
        parts += (b"", array(code, values).tobytes())

    return write


def _numbers(code: str) -> Column:
    """Fixed-width numbers; None becomes null."""

    def write(values: Sequence[Any], nodes: Nodes, parts: Parts) -> None:
        validity, nulls = _validity(values)
        nodes += (len(values), nulls)
        if nulls:
            values = [0 if value is None else value for value in values]
        parts += (validity, array(code, values).tobytes())

    return write


def _given_flags(values: Sequence[Any], nodes: Nodes, parts: Parts) -> None:
    if None in values:
        raise TypeError("None is neither True nor False")
    nodes += (len(values), 0)
    parts += (b"", _bitmap(values))


def _given_text(values: Sequence[Any], nodes: Nodes, parts: Parts) -> None:
    nodes += (len(values), 0)
    encoded = [value.encode() for value in values]
    parts += (b"", _offsets(map(len, encoded)), b"".join(encoded))


def _text(values: Sequence[Any], nodes: Nodes, parts: Parts) -> None:
    validity, nulls = _validity(values)
    nodes += (len(values), nulls)
    encoded = [b"" if value is None else value.encode() for value in values]
    parts += (validity, _offsets(map(len, encoded)), b"".join(encoded))


def _pairs(values: Sequence[Any], nodes: Nodes, parts: Parts) -> None:
    """Each value is a sequence of (key, value) pairs, or None."""
    validity, nulls = _validity(values)
    pairs = [pair for row in values if row for pair in row]
    nodes += (len(values), nulls, len(pairs), 0)
    parts += (validity, _offsets(len(row) if row else 0 for row in values), b"")
    _given_text([key for key, _ in pairs], nodes, parts)
    _text([value for _, value in pairs], nodes, parts)


def _vectors(values: Any, nodes: Nodes, parts: Parts) -> None:
    """Each value is a float32 array (width,), or None; or all of them are one array (rows, width)."""
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        rows, width = values.shape
        nodes += (rows, 0, rows * width, 0)
        parts += (b"", array("i", [row * width for row in range(rows + 1)]).tobytes(), b"", values.tobytes())
        return
    validity, nulls = _validity(values)
    arrays = [b"" if row is None else np.asarray(row, dtype=np.float32).tobytes() for row in values]
    data = b"".join(arrays)
    nodes += (len(values), nulls, len(data) // 4, 0)
    parts += (validity, _offsets(len(row) // 4 for row in arrays), b"", data)


def _validity(values: Sequence[Any]) -> tuple[bytes, int]:
    nulls = sum([value is None for value in values])
    return (_bitmap([value is not None for value in values]), nulls) if nulls else (b"", 0)


def _bitmap(values: Sequence[Any]) -> bytes:
    """Eight rows a byte, the first row in the lowest bit."""
    if len(values) == 1:
        return b"\1" if values[0] else b"\0"
    return np.packbits(np.array(values, dtype=np.bool_), bitorder="little").tobytes()


def _offsets(lengths: Any) -> bytes:
    return array("i", [0, *accumulate(lengths)]).tobytes()
