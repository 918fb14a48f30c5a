"""The embedded prediction log: files of frames in a folder, and Delta tables of those that have ended.

    predictions-0-000001.frames   one frame an append
    labels-0-000001.frames
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

from trimtab.clock import Clock, SystemClock
from trimtab.errors import StoreError
from trimtab.stores.faults import Fault
from trimtab.stores.predictions.contract import COLUMNS, START, Compaction, Count, Cursor, Predictions, check_writer
from trimtab.stores.predictions.embedded.id_search import find
from trimtab.stores.predictions.embedded.log_check import check
from trimtab.stores.predictions.embedded.log_compaction import compact
from trimtab.stores.predictions.embedded.row_counts import count, tail
from trimtab.stores.predictions.embedded.segment_folder import sync_folder
from trimtab.stores.predictions.embedded.segment_reader import SegmentReader
from trimtab.stores.predictions.embedded.segment_scan import Damages
from trimtab.stores.predictions.embedded.segment_writer import SegmentWriter
from trimtab.stores.predictions.embedded.writer_lock import WriterLock

if TYPE_CHECKING:
    import pyarrow as pa

SEGMENT_ROWS = 100_000
SEGMENT_AGE_S = 3600.0


class SegmentLog:
    """Predictions and labels in files of about `segment_rows` rows or `segment_age_s` seconds each.

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
        self._predictions, self._labels = (
            SegmentWriter(folder, kind, writer, rows=segment_rows, age_s=segment_age_s, clock=clock) for kind in COLUMNS
        )

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        with self._appending:
            self._lock.acquire()
            self._predictions.append(columns)

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        with self._appending:
            self._lock.acquire()
            self._labels.append(columns)

    def sync(self) -> None:
        """Put what was appended on disk, and end segments that have reached their age."""
        with self._syncing:  # a second sync must not return before the first, which flushes its rows
            for writer in (self._predictions, self._labels):
                self._to_disk(writer)

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._readers["predictions"].read(after, limit)

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._readers["labels"].read(after, limit)

    def tail(self, rows: int) -> Cursor:
        return tail(self.folder, "predictions", rows, self._damages)

    def count(self) -> Count:
        return Count(*(count(self.folder, kind, self._damages) for kind in COLUMNS))

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        return find(self.folder, "predictions", prediction_id, self._damages, everywhere=False)

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        return find(self.folder, "labels", prediction_id, self._damages, everywhere=True)

    def compact(self, *, grace_s: float, keep_s: float) -> Compaction:
        return compact(self.folder, clock=self._clock, grace_s=grace_s, keep_s=keep_s)

    def check(self) -> Sequence[Fault]:
        return check(self.folder)

    @property
    def damaged(self) -> int:
        """Damaged byte ranges that this reader has found and left out."""
        return len(self._damages)

    def close(self) -> None:
        """End the segments being written, put them on disk, and let another process write."""
        with self._appending:
            self._predictions.end()
            self._labels.end()
        try:
            self.sync()
        finally:
            with self._appending:
                self._lock.release()

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
