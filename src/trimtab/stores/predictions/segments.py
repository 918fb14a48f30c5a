"""The embedded prediction log: Arrow stream files in a folder. Opened by app; the gateway writes, monitoring reads.

    predictions-000001.arrows   one record batch message an append; any Arrow stream reader reads it
    labels-000001.arrows
    writer.lock                 held (flock) by the one process that writes

An append is one os.write. When it returns the rows are in the kernel's page cache, so they survive the death
of the process, SIGKILL included. They would not survive the death of the machine in the seconds before the
kernel writes them out: that takes an fsync an append (0.1 to 10 ms, so a group of requests would share one),
which this backend does not do.

A write that a crash cut short leaves a torn message at the end of its segment. Readers go by the lengths in
the messages and stop before it; the next writer leaves the segment as it is and begins a new one.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import LABELS, PREDICTIONS, START, Cursor, Predictions
from trimtab.stores.predictions.framing import BATCH_MESSAGE, END_OF_STREAM, frames
from trimtab.stores.predictions.messages import MessageWriter

LOCK = "writer.lock"
SEGMENT_ROWS = 100_000
READ_BYTES = 16 * 2**20
"""What a reader takes at a time; doubled while a single message is longer."""


class SegmentLog:
    """Predictions and labels in Arrow stream files of about `segment_rows` rows each.

    Opening reads and locks nothing. The first append, even one of no rows, makes this process the writer;
    it raises StoreError when another process is. May be shared between threads.
    """

    def __init__(self, folder: Path, *, segment_rows: int = SEGMENT_ROWS) -> None:
        self.folder = folder
        self._mutex = threading.Lock()
        self._claim = _Claim(folder)
        self._predictions = _Segments(folder, "predictions", PREDICTIONS, segment_rows)
        self._labels = _Segments(folder, "labels", LABELS, segment_rows)

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        with self._mutex:
            self._claim.take()
            self._predictions.append(columns)

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        with self._mutex:
            self._claim.take()
            self._labels.append(columns)

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._predictions.read(after, limit)

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._labels.read(after, limit)

    def close(self) -> None:
        """End the segments being written and let another process write."""
        with self._mutex:
            self._predictions.end()
            self._labels.end()
            self._claim.give_up()


class _Claim:
    """The right to write in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def take(self) -> None:
        if self._file is not None:
            return
        path = self._folder / LOCK
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot open the lock of the prediction log: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(file, 32).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise StoreError(
                f"{self._folder}: process {holder} already writes this prediction log; a log has one writer. "
                "Stop that gateway, or give this one a folder of its own"
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def give_up(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Segments:
    """The segments of one kind of rows."""

    def __init__(self, folder: Path, prefix: str, schema: pa.Schema, segment_rows: int) -> None:
        self._folder = folder
        self._prefix = prefix
        self._name = re.compile(rf"{prefix}-(\d+)\.arrows")
        self._schema = schema
        self._segment_rows = segment_rows
        self._writer: MessageWriter | None = None
        self._file: int | None = None
        self._rows = 0
        self._size = 0

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        writer = self._writer = self._writer or MessageWriter(self._schema)
        message, rows = writer.encode(columns)
        if not rows:
            return
        if self._file is None:
            self._begin()
            message = writer.schema_message + message
        self._write(message)
        self._rows += rows
        if self._rows >= self._segment_rows:
            self.end()

    def end(self) -> None:
        """End the segment being written; the next append begins another."""
        if self._file is None:
            return
        try:
            self._write(END_OF_STREAM)
        finally:
            self._abandon()

    def read(self, after: Cursor, limit: int | None) -> tuple[pa.Table, Cursor]:
        batches: list[pa.RecordBatch] = []
        left = limit
        for number, path in self._numbered():  # listed before reading: the next segment begins after this one ended
            if number < self._number(after.segment):
                continue
            offset = after.offset if path.name == after.segment else 0
            found, offset = self._read_segment(path, offset, left)
            batches += found
            after = Cursor(path.name, offset)
            if left is not None:
                left -= sum(batch.num_rows for batch in found)
                if left <= 0:
                    break
        return pa.Table.from_batches(batches, schema=self._schema).combine_chunks(), after

    def _read_segment(self, path: Path, offset: int, limit: int | None) -> tuple[list[pa.RecordBatch], int]:
        batches: list[pa.RecordBatch] = []
        rows, size = 0, READ_BYTES
        with path.open("rb", buffering=0) as file:
            while True:
                data = os.pread(file.fileno(), size, offset)  # not a mapping: a writer may cut off a failed write
                buffer, end = pa.py_buffer(data), 0
                for frame in frames(memoryview(data)):
                    end = frame.end
                    if frame.kind == BATCH_MESSAGE:
                        message = buffer.slice(frame.start, frame.end - frame.start)
                        batches.append(ipc.read_record_batch(message, self._schema))
                        rows += frame.rows
                        if limit is not None and rows >= limit:
                            return batches, offset + end
                if not end and len(data) < size:
                    return batches, offset
                offset += end
                size = READ_BYTES if end else size * 2

    def _numbered(self) -> list[tuple[int, Path]]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return sorted((self._number(name), self._folder / name) for name in names if self._name.fullmatch(name))

    def _number(self, segment: str) -> int:
        match = self._name.fullmatch(segment)
        return int(match.group(1)) if match else 0

    def _begin(self) -> None:
        numbered = self._numbered()
        number = numbered[-1][0] + 1 if numbered else 1
        path = self._folder / f"{self._prefix}-{number:06d}.arrows"
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot begin a segment of the prediction log: {error.strerror}") from None
        self._rows = self._size = 0

    def _write(self, message: bytes) -> None:
        assert self._file is not None
        try:
            written = os.write(self._file, message)
            while written < len(message):  # a full disk takes a part first and says so at the next try
                written += os.write(self._file, memoryview(message)[written:])
        except OSError as error:
            self._take_back()
            raise StoreError(f"{self._folder}: cannot write the prediction log: {error.strerror}") from None
        self._size += written

    def _take_back(self) -> None:
        """Cut off a message that was written in part, or leave it as a torn tail and begin a new segment."""
        try:
            assert self._file is not None
            os.ftruncate(self._file, self._size)
        except OSError:
            self._abandon()
        else:
            if self._size == 0:  # without its schema message the segment cannot go on
                self._abandon()

    def _abandon(self) -> None:
        assert self._file is not None
        os.close(self._file)
        self._file = None


_: type[Predictions] = SegmentLog
