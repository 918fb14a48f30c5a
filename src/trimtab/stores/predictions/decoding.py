"""Turns a record batch message back into rows, without pyarrow. Called by finding, in a gateway's worker too.

The values are those of pyarrow's to_pylist: times as aware datetimes, entities as pairs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from trimtab.clock import from_micros
from trimtab.stores.predictions.framing import BUFFERS, HEADER, NODES, PREFIX_BYTES, field, follow
from trimtab.stores.predictions.template import Template


class Columns:
    """Gives lengths and buffers of one message, in the order of its schema."""

    def __init__(self, data: memoryview) -> None:
        root = PREFIX_BYTES + struct.unpack_from("<I", data, PREFIX_BYTES)[0]
        header = follow(data, field(data, root, HEADER))
        nodes, buffers = (follow(data, field(data, header, n)) for n in (NODES, BUFFERS))
        self._body = PREFIX_BYTES + struct.unpack_from("<i", data, 4)[0]
        self._nodes = struct.iter_unpack("<2q", _vector(data, nodes))
        self._buffers = struct.iter_unpack("<2q", _vector(data, buffers))
        self._data = data

    def length(self) -> int:
        """Return the rows of the next column or child."""
        rows: int = next(self._nodes)[0]
        return rows

    def buffer(self) -> memoryview:
        """Return the next buffer."""
        start, size = next(self._buffers)
        return self._data[self._body + start : self._body + start + size]

    def numbers(self, code: str, count: int) -> list[Any]:
        """Return the next buffer as so many numbers."""
        return list(struct.unpack_from(f"<{count}{code}", self.buffer()))


def rows_of(data: memoryview, template: Template) -> list[dict[str, Any]]:
    """Return the rows of one whole message."""
    columns = Columns(data)
    values = {name: _reader(kind)(columns) for name, kind, _ in template.fields}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _vector(data: memoryview, at: int) -> memoryview:
    count = struct.unpack_from("<I", data, at)[0]
    return data[at + 4 : at + 4 + 16 * count]


def _reader(kind: str) -> Callable[[Columns], list[Any]]:
    return next(reader for beginning, reader in _READERS if kind.startswith(beginning))


def _given(columns: Columns) -> tuple[int, Iterator[bool]]:
    """Begin a column: its rows, and for each whether it has a value."""
    rows = columns.length()
    validity = columns.buffer()
    return rows, (_bits(validity, rows) if len(validity) else iter([True] * rows))


def _bits(data: memoryview, rows: int) -> Iterator[bool]:
    return (bool(data[row >> 3] >> (row & 7) & 1) for row in range(rows))


def _numbers(code: str) -> Callable[[Columns], list[Any]]:
    def read(columns: Columns) -> list[Any]:
        rows, given = _given(columns)
        return [value if there else None for value, there in zip(columns.numbers(code, rows), given, strict=True)]

    return read


def _times(columns: Columns) -> list[Any]:
    return [None if micros is None else from_micros(micros) for micros in _numbers("q")(columns)]


def _flags(columns: Columns) -> list[Any]:
    rows, given = _given(columns)
    return [value if there else None for value, there in zip(_bits(columns.buffer(), rows), given, strict=True)]


def _texts(columns: Columns) -> list[Any]:
    rows, given = _given(columns)
    ends = columns.numbers("i", rows + 1)
    text = bytes(columns.buffer())
    pieces = (text[ends[row] : ends[row + 1]].decode() for row in range(rows))
    return [piece if there else None for piece, there in zip(pieces, given, strict=True)]


def _lists(values: Callable[[Columns], list[Any]]) -> Callable[[Columns], list[Any]]:
    def read(columns: Columns) -> list[Any]:
        rows, given = _given(columns)
        ends = columns.numbers("i", rows + 1)
        found = values(columns)
        return [found[ends[row] : ends[row + 1]] if there else None for row, there in enumerate(given)]

    return read


def _pairs(columns: Columns) -> list[Any]:
    _given(columns)
    keys = _texts(columns)
    return list(zip(keys, _texts(columns), strict=True))


_READERS: tuple[tuple[str, Callable[[Columns], list[Any]]], ...] = (
    ("string", _texts),
    ("bool", _flags),
    ("int32", _numbers("i")),
    ("double", _numbers("d")),
    ("timestamp[us", _times),
    ("map<string, string", _lists(_pairs)),
    ("list<", _lists(_numbers("f"))),
)
