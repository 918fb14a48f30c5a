"""Where one Arrow IPC message ends and what it holds, read from its bytes. Called by messages and segments.

A message is: the marker ffffffff, the length of its metadata (int32), the metadata (a flatbuffer), the body.
A metadata length of zero ends the stream. Layout: the Arrow columnar format, "Encapsulated message format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MARKER = b"\xff\xff\xff\xff"
END_OF_STREAM = MARKER + b"\x00\x00\x00\x00"
PREFIX_BYTES = 8
SCHEMA_MESSAGE = 1
BATCH_MESSAGE = 3
# Fields of the flatbuffer tables Message and RecordBatch, by their number in Message.fbs.
HEADER_TYPE, HEADER, BODY_LENGTH = 1, 2, 3
LENGTH, NODES, BUFFERS = 0, 1, 2

_U16, _I32, _U32, _I64 = (struct.Struct(code) for code in ("<H", "<i", "<I", "<q"))


class Frame(NamedTuple):
    """One whole message: its kind, its rows (a record batch), and the offsets at which it starts and ends."""

    kind: int
    rows: int
    start: int
    end: int


def frames(data: memoryview, start: int = 0) -> Iterator[Frame]:
    """Yield the whole messages of a stream from offset `start`, and stop at its end or at a torn tail."""
    size = len(data)
    while start + PREFIX_BYTES <= size and data[start : start + 4] == MARKER:
        (length,) = _I32.unpack_from(data, start + 4)
        if length <= 0:
            return
        body = start + PREFIX_BYTES + length
        if body > size:
            return
        try:
            kind, rows, body_length = _summary(data, start + PREFIX_BYTES)
        except (struct.error, IndexError):  # offsets that lead outside: not written by us, or damaged
            return
        end = body + body_length
        if body_length < 0 or end > size:
            return
        yield Frame(kind, rows, start, end)
        start = end


def _summary(data: memoryview, metadata: int) -> tuple[int, int, int]:
    message = metadata + _U32.unpack_from(data, metadata)[0]
    kind_at, header_at, body_at = (field(data, message, n) for n in (HEADER_TYPE, HEADER, BODY_LENGTH))
    kind = data[kind_at] if kind_at else 0
    body_length = _I64.unpack_from(data, body_at)[0] if body_at else 0
    rows = 0
    if kind == BATCH_MESSAGE and header_at:
        rows_at = field(data, follow(data, header_at), LENGTH)
        rows = _I64.unpack_from(data, rows_at)[0] if rows_at else 0
    return kind, rows, body_length


def field(data: memoryview, table: int, number: int) -> int:
    """Return where field `number` of the flatbuffer table at `table` stands, or 0 when it is left out."""
    vtable = table - _I32.unpack_from(data, table)[0]
    if 4 + 2 * number >= _U16.unpack_from(data, vtable)[0]:
        return 0
    offset: int = _U16.unpack_from(data, vtable + 4 + 2 * number)[0]
    return table + offset if offset else 0


def follow(data: memoryview, at: int) -> int:
    """Return where the offset stored at `at` leads."""
    target: int = at + _U32.unpack_from(data, at)[0]
    return target
