"""Segments of earlier versions, Arrow stream files: read and searched until compaction has moved them, never written.

Each append is one record batch message. Its custom metadata has the CRC-32 of the message under "crc32", as eight
hexadecimal digits at a fixed place; it was computed with those digits as zeros. The schema message before the first
batch has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any
from zlib import crc32

from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.arrow_rows import empty_table, schema_of, with_columns
from trimtab.stores.predictions.contract import ADDED
from trimtab.stores.predictions.embedded.frames import Frame

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

MARKER = b"\xff\xff\xff\xff"
END = MARKER + bytes(4)
PREFIX_BYTES = 8
"""The marker and the length of the metadata."""
CHECKSUM_AT, CHECKSUM_ZERO = 92, b"00000000"
LENGTH_WITHOUT_MODEL = 0x168
"""Of the metadata of a batch of labels that were written before labels named their model."""


def frame_at(data: memoryview, start: int) -> Frame | None:
    """Return the message that starts at an offset and is whole by its lengths, or None.

    rows is 0 for a schema, and else 1; rows_in has their number.
    """
    if data[start : start + len(MARKER)] != MARKER or data[start : start + len(END)] == END:
        return None
    try:
        message = pa.ipc.read_message(pa.py_buffer(data[start:]))
    except (pa.ArrowInvalid, OSError, EOFError):  # torn, or not what Arrow writes
        return None
    body = start + PREFIX_BYTES + _metadata_length(data[start:])
    if message.type != "record batch":
        return Frame(0, start, start, body)
    return Frame(1, start, start, body + message.body.size)


def is_right(data: memoryview, frame: Frame) -> bool:
    """Return True if the checksum of a whole message holds; of a schema, which has none, if another message follows."""
    at = frame.start + CHECKSUM_AT
    behind = at + len(CHECKSUM_ZERO)
    if not frame.rows or behind > frame.end:
        return not frame.rows and MARKER.startswith(data[frame.end : frame.end + len(MARKER)])
    value = crc32(data[behind : frame.end], crc32(CHECKSUM_ZERO, crc32(data[frame.start : at])))
    return data[at:behind] == b"%08x" % value


def rows_in(message: memoryview, kind: str) -> int:
    """Return the number of rows of a message."""
    return int(pa.ipc.read_record_batch(pa.py_buffer(message), _written(kind, _metadata_length(message))).num_rows)


def table_of(messages: Iterable[memoryview], kind: str) -> pa.Table:
    """Return the rows of some messages; columns that they lack are null."""
    return pa.concat_tables([empty_table(kind), _read(messages, kind)]).combine_chunks()


def rows_of(message: memoryview, kind: str) -> list[dict[str, Any]]:
    """Return the rows of one message."""
    found: list[dict[str, Any]] = _read([message], kind).to_pylist()
    return found


def _read(messages: Iterable[memoryview], kind: str) -> pa.Table:
    tables = []
    for length, alike in groupby(messages, key=_metadata_length):
        stream = pa.py_buffer(b"".join([_written(kind, length).serialize(), *alike, END]))
        tables.append(with_columns(pa.ipc.open_stream(stream).read_all(), schema_of(kind)))
    return pa.concat_tables(tables)


def _written(kind: str, metadata_length: int) -> pa.Schema:
    """Return the schema of a message, by the length of its metadata."""
    missing = {*ADDED[kind], *(("model",) if kind == "labels" and metadata_length == LENGTH_WITHOUT_MODEL else ())}
    return pa.schema([field for field in schema_of(kind) if field.name not in missing])


def _metadata_length(message: memoryview) -> int:
    return int.from_bytes(message[len(MARKER) : PREFIX_BYTES], "little")
