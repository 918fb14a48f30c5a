"""Reads the segments of all writers, merged by the time of logging. Opened by segments; loads pyarrow."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import ipc

from trimtab.stores.predictions.contract import Cursor
from trimtab.stores.predictions.folder import Segment, segments
from trimtab.stores.predictions.framing import BATCH_MESSAGE, frames
from trimtab.stores.predictions.schemas import SCHEMAS

READ_BYTES = 16 * 2**20
"""What a reader takes at a time; doubled while a single message is longer."""
TIME_OF_LOGGING = {"predictions": "logged_at", "labels": "received_at"}


class Block(NamedTuple):
    """Some rows of one writer, and the place behind them."""

    logged_at: int
    writer: str
    number: int
    end: int
    rows: pa.RecordBatch


class SegmentReader:
    """Reads one kind of rows."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._schema = SCHEMAS[kind]
        self._time = self._schema.get_field_index(TIME_OF_LOGGING[kind])

    def read(self, after: Cursor, limit: int | None) -> tuple[pa.Table, Cursor]:
        """Return rows after a cursor and the cursor behind them."""
        places = {writer: (number, offset) for writer, number, offset in after.places}
        found = segments(self._folder, self._kind)  # listed first: a segment begins after the one before it ended
        writers = sorted({segment.writer for segment in found})
        streams = [self._blocks([s for s in found if s.writer == w], places.get(w, (0, 0))) for w in writers]
        batches: list[pa.RecordBatch] = []
        rows = 0
        for block in heapq.merge(*streams, key=_moment) if len(streams) > 1 else (b for s in streams for b in s):
            places[block.writer] = (block.number, block.end)
            batches.append(block.rows)
            rows += block.rows.num_rows
            if limit is not None and rows >= limit:
                break
        cursor = Cursor(tuple((writer, *place) for writer, place in sorted(places.items())))
        return pa.Table.from_batches(batches, schema=self._schema).combine_chunks(), cursor

    def _blocks(self, own: list[Segment], after: tuple[int, int]) -> Iterator[Block]:
        """Yield the rows of one writer from a place on; their moments never go back."""
        moment = 0
        for segment in own:
            if segment.number < after[0]:
                continue
            offset = after[1] if segment.number == after[0] else 0
            for batch, end in self._messages(segment.path, offset):
                moment = max(moment, batch.column(self._time)[0].value)
                yield Block(moment, segment.writer, segment.number, end, batch)

    def _messages(self, path: Path, offset: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        size = READ_BYTES
        with path.open("rb", buffering=0) as file:
            while True:
                data = os.pread(file.fileno(), size, offset)  # not a mapping: a writer may cut off a failed write
                buffer, end = pa.py_buffer(data), 0
                for frame in frames(memoryview(data)):
                    end = frame.end
                    if frame.kind == BATCH_MESSAGE and frame.rows:
                        message = buffer.slice(frame.start, frame.end - frame.start)
                        yield ipc.read_record_batch(message, self._schema), offset + end
                if not end and len(data) < size:
                    return
                offset += end
                size = READ_BYTES if end else size * 2


def _moment(block: Block) -> tuple[int, str]:
    return block.logged_at, block.writer
