"""The embedded prediction log: files of frames in a folder, and Delta tables of those that have ended.

    predictions-0-000001.frames   one frame an append
    labels-0-000001.frames        and so turns and contents
    writer-0.lock                 held (flock) by the one process that writes as 0

An append is one os.write. When it returns, the rows are in the kernel's page cache, so they survive the death of the
process, by SIGKILL too. `sync` flushes them to the disk, which takes 0.1 to 10 ms, so a group of requests shares one.

A write that a crash cut short leaves a torn frame at the end of its segment. Readers go by the lengths in the frames
and stop before it; the next writer leaves the segment as it is and begins a new one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.faults import Fault
from trimtab.stores.predictions.contract import (
    COLUMNS,
    START,
    Compaction,
    Count,
    Cursor,
    ErasedBy,
    Predictions,
    check_writer,
)
from trimtab.stores.predictions.embedded.erasures import Erasure, erasures, left, note_erasure
from trimtab.stores.predictions.embedded.id_search import find
from trimtab.stores.predictions.embedded.log_check import check
from trimtab.stores.predictions.embedded.log_compaction import compact
from trimtab.stores.predictions.embedded.row_counts import count, tail
from trimtab.stores.predictions.embedded.segment_folder import sync_folder
from trimtab.stores.predictions.embedded.segment_reader import BLOCK_ROWS, SegmentReader
from trimtab.stores.predictions.embedded.segment_scan import Damages
from trimtab.stores.predictions.embedded.segment_writer import SegmentWriter
from trimtab.stores.predictions.embedded.writer_lock import WriterLock

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

SEGMENT_ROWS = 100_000
SEGMENT_AGE_S = 3600.0


class SegmentLog:
    """Each kind of rows in files of about `segment_rows` rows or `segment_age_s` seconds each.

    writer: the name under which this process writes. The constructor neither reads nor locks. The first append, even of
    no rows, takes the lock of that name, and raises StoreError when another process holds it. Threads may share a log.
    """

    def __init__(
        self,
        folder: Path,
        writer: str = "0",
        *,
        segment_rows: int = SEGMENT_ROWS,
        segment_age_s: float = SEGMENT_AGE_S,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder
        self._clock = clock = clock or SystemClock()
        self._damages = Damages()
        self._readers = {kind: SegmentReader(folder, kind, self._damages) for kind in COLUMNS}
        self._appending = threading.Lock()
        self._syncing = threading.Lock()
        self._lock = WriterLock(folder, check_writer(writer), clock)
        self._writers = {
            kind: SegmentWriter(folder, kind, writer, rows=segment_rows, age_s=segment_age_s, clock=clock)
            for kind in COLUMNS
        }

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._append("predictions", columns)

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._append("labels", columns)

    def append_turns(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._append("turns", columns)

    def append_contents(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._append("contents", columns)

    def sync(self) -> None:
        """Put what was appended on disk, and end segments that have reached their age."""
        with self._syncing:  # a second sync must not return before the first, which flushes its rows
            for writer in self._writers.values():
                self._to_disk(writer)

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._readers["predictions"].read(after, limit)

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._readers["labels"].read(after, limit)

    def read_turns(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._readers["turns"].read(after, limit)

    def read_contents(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        while True:
            rows, cursor = self._readers["contents"].read(after, limit)
            found = rows.filter(pa.array(left(rows, erased))) if (erased := erasures(self.folder)) else rows
            if found.num_rows or not rows.num_rows:
                return found, cursor
            after = cursor

    def tail(self, rows: int) -> Cursor:
        return tail(self.folder, "predictions", rows, self._damages)

    def count(self) -> Count:
        return Count(*(count(self.folder, kind, self._damages) for kind in COLUMNS))

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        return find(self.folder, "predictions", prediction_id, self._damages, everywhere=False)

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        return find(self.folder, "labels", prediction_id, self._damages, everywhere=True)

    def find_turns(self, prediction_id: str) -> list[dict[str, Any]]:
        return find(self.folder, "turns", prediction_id, self._damages, everywhere=False)

    def find_contents(self, prediction_id: str) -> list[dict[str, Any]]:
        rows = find(self.folder, "contents", prediction_id, self._damages, everywhere=False)
        erased = erasures(self.folder)
        return [row for row in rows if not any(each.covers(row) for each in erased)]

    def erase_contents(self, by: ErasedBy, value: str) -> int:
        erasure, count, cursor = Erasure(by, value, to_micros(self._clock.now())), 0, START
        while (block := self.read_contents(cursor, limit=BLOCK_ROWS))[0].num_rows:
            count, cursor = count + block[0].num_rows - int(left(block[0], [erasure]).sum()), block[1]
        if count:
            note_erasure(self.folder, erasure)
        return count

    def compact(self, *, grace_s: float, keep_s: float, contents_s: float | None = None) -> Compaction:
        return compact(self.folder, clock=self._clock, grace_s=grace_s, keep_s=keep_s, contents_s=contents_s)

    def check(self) -> Sequence[Fault]:
        return check(self.folder)

    @property
    def damaged(self) -> int:
        """Damaged byte ranges that this reader has found and left out."""
        return len(self._damages)

    def close(self) -> None:
        """End the segments being written, put them on disk, and let another process write."""
        with self._appending:
            for writer in self._writers.values():
                writer.end()
        try:
            self.sync()
        finally:
            with self._appending:
                self._lock.release()

    def _append(self, kind: str, columns: Mapping[str, Sequence[Any]]) -> None:
        with self._appending:
            self._lock.acquire()
            self._writers[kind].append(columns)

    def _to_disk(self, writer: SegmentWriter) -> None:
        handles: list[int] = []
        try:
            with self._appending:
                writer.end_if_old()
                handles, names = writer.unsynced()
            for handle in handles:
                os.fdatasync(handle)
            if names:
                sync_folder(self.folder)
        except OSError as error:
            with self._appending:  # begin a new one: after a failed flush, the system may count lost pages as written
                writer.end()
            raise StoreError(f"{self.folder}: cannot put the prediction log on disk: {error.strerror}") from None
        finally:
            for handle in handles:
                os.close(handle)


_: type[Predictions] = SegmentLog
