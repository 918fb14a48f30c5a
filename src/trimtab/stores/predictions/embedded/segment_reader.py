"""Reads the rows of all writers as Arrow tables, merged by the time of logging.

A writer's rows are read from the Delta table up to the segment that `removed.json` names, and from segment files after
it. A row has the same place (segment, offset) in both, so a cursor stays valid when its rows move into the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.arrow_rows import TIME_OF_LOGGING, empty_table
from trimtab.stores.predictions.contract import Cursor
from trimtab.stores.predictions.embedded.delta_archive import Archive, chunks
from trimtab.stores.predictions.embedded.row_merge import Block, Integers, merge
from trimtab.stores.predictions.embedded.segment_folder import Segment, removed, segments, until_files_stay
from trimtab.stores.predictions.embedded.segment_scan import Damages, format_of, scan

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

BLOCK_ROWS = 8192
"""Appends of a file, or rows of the Delta table, that are read at a time."""


class SegmentReader:
    """Reads one kind of rows."""

    def __init__(self, folder: Path, kind: str, damages: Damages) -> None:
        self._folder = folder
        self._kind = kind
        self._damages = damages
        self._archive = Archive(folder, kind)
        self._archived: dict[str, int] = {}

    def read(self, after: Cursor, limit: int | None) -> tuple[pa.Table, Cursor]:
        """Return rows after a cursor and the cursor behind them."""

        def look() -> tuple[pa.Table, Cursor]:
            try:
                return self._read(after, limit)
            except FileNotFoundError:  # rows have moved into the table, or were deleted: open its newest version
                self._archived.clear()
                raise

        return until_files_stay(self._folder, look)

    def _read(self, after: Cursor, limit: int | None) -> tuple[pa.Table, Cursor]:
        places = {writer: (number, offset) for writer, number, offset in after.places}
        found = segments(self._folder, self._kind)  # listed first: a segment begins after the one before it ended
        gone = removed(self._folder).get(self._kind, {})
        most = BLOCK_ROWS if limit is None else max(1, min(limit, BLOCK_ROWS))
        streams = []
        for writer in sorted({segment.writer for segment in found} | set(gone)):
            own = [segment for segment in found if segment.writer == writer]
            blocks = self._blocks(writer, places.get(writer, (0, 0)), gone.get(writer, 0), own, most)
            streams.append(self._timed(blocks))
        tables = merge(streams, limit, places)
        cursor = Cursor(tuple((writer, *place) for writer, place in sorted(places.items())))
        if not tables:
            return empty_table(self._kind), cursor
        return pa.concat_tables([empty_table(self._kind), *tables]).combine_chunks(), cursor

    def _timed(self, blocks: Iterator[tuple[str, int, pa.Table, Integers]]) -> Iterator[Block]:
        """Add to each row the time of its append: that of its first row, never before that of an earlier append."""
        latest = np.iinfo(np.int64).min
        for writer, number, rows, ends in blocks:
            first = np.concatenate([[True], ends[1:] != ends[:-1]])
            logged = rows[TIME_OF_LOGGING[self._kind]].cast(pa.int64()).to_numpy()
            times = np.maximum.accumulate(np.maximum(logged[first], latest))
            latest = times[-1]
            yield Block(writer, number, rows, times[np.cumsum(first) - 1], ends)

    def _blocks(
        self, writer: str, after: tuple[int, int], gone: int, own: list[Segment], most: int
    ) -> Iterator[tuple[str, int, pa.Table, Integers]]:
        """Yield the rows of one writer from a place on, with the offset behind each row's append."""
        if after[0] <= gone:
            yield from self._from_table(writer, after, gone, most)
        for segment in own:
            if segment.number < after[0] or segment.number <= gone:
                continue
            offset = after[1] if segment.number == after[0] else 0
            appends = scan(segment.path, self._kind, self._damages, offset)
            table_of = format_of(segment.path).table_of
            while some := list(islice(appends, most)):
                ends = np.repeat([append.end for append in some], [append.rows for append in some])
                yield writer, segment.number, table_of([append.body for append in some], self._kind), ends

    def _from_table(
        self, writer: str, after: tuple[int, int], gone: int, most: int
    ) -> Iterator[tuple[str, int, pa.Table, Integers]]:
        archive = self._archive
        if self._archived.get(writer, 0) < gone:
            archive.refresh()
            self._archived[writer] = gone
        for number in archive.numbers(writer, after[0], gone):
            rows, ends = archive.segment(writer, number)
            for some, some_ends in chunks(rows, ends, after[1] if number == after[0] else 0, most):
                yield writer, number, some, some_ends
