"""Reads the segments of all writers, merged by the time of logging. Opened by segments; loads pyarrow."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import ipc

from trimtab.stores.predictions.contract import Cursor
from trimtab.stores.predictions.folder import Segment, segments
from trimtab.stores.predictions.scanning import Damages, scan
from trimtab.stores.predictions.schemas import SCHEMAS

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

    def __init__(self, folder: Path, kind: str, damages: Damages) -> None:
        self._folder = folder
        self._kind = kind
        self._damages = damages
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
            for message in scan(segment.path, self._kind, self._damages, offset):
                batch = ipc.read_record_batch(pa.py_buffer(message.data), self._schema)
                moment = max(moment, batch.column(self._time)[0].value)
                yield Block(moment, segment.writer, segment.number, message.end, batch)


def _moment(block: Block) -> tuple[int, str]:
    return block.logged_at, block.writer
