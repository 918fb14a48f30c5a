"""Writes the segments of one kind of rows under one writer's name, without pyarrow.

An append is one os.write of one frame. A frame that was written only in part is cut off again. `unsynced` hands out
handles of the files with bytes that are not on disk yet, so that they can be flushed while appends continue.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trimtab.clock import Clock
from trimtab.errors import StoreError
from trimtab.stores.predictions.embedded.frames import END, FrameWriter
from trimtab.stores.predictions.embedded.segment_folder import last_path, next_number, note, segment_path

MOST_ENDED = 64
"""Ended segments whose handles wait for a sync: the limit for a writer that never calls it."""


class SegmentWriter:
    """The segment being written, if there is one. Not shared between threads: its owner holds a lock."""

    def __init__(self, folder: Path, kind: str, writer: str, *, rows: int, age_s: float, clock: Clock) -> None:
        self._folder = folder
        self._kind = kind
        self._writer = writer
        self._frames = FrameWriter(kind)
        self._most_rows = rows
        self._most_seconds = age_s
        self._clock = clock
        self._file: int | None = None
        self._rows = 0
        self._size = 0
        self._synced = 0
        self._began = 0.0
        self._ended: list[int] = []
        self._new_names = False

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows as one frame. Raises DataError or StoreError, and then none is appended."""
        frame, rows = self._frames.frame(columns)
        if not rows:
            return
        self.end_if_old()
        if self._file is None:
            self._begin()
        self._write(frame)
        self._rows += rows
        if self._rows >= self._most_rows:
            self.end()

    def end_if_old(self) -> None:
        """End the segment being written when it has reached its age, or the clock went back behind its beginning."""
        if self._rows and not 0 <= self._clock.now().timestamp() - self._began < self._most_seconds:
            self.end()

    def end(self) -> None:
        """End the segment being written; the next append begins another."""
        if self._file is None:
            return
        if self._size:
            with suppress(StoreError):  # no room for the mark; readers do without it
                self._write(END)
        self._abandon()

    def unsynced(self) -> tuple[list[int], bool]:
        """Return handles of the files with bytes that may not be on disk, to be closed, and whether names are new.

        Raises OSError when there are no handles left.
        """
        current = [os.dup(self._file)] if self._file is not None and self._size > self._synced else []
        handles, self._ended, self._synced = self._ended + current, [], self._size
        names, self._new_names = self._new_names, False
        return handles, names

    def _begin(self) -> None:
        number = next_number(self._folder, self._kind, self._writer)
        path = segment_path(self._folder, self._kind, self._writer, number)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot begin a segment of the prediction log: {error.strerror}") from None
        with suppress(OSError):  # a full disk: then a loss of this segment would not be found
            note(last_path(self._folder, self._kind, self._writer), number)
        self._rows = self._size = self._synced = 0
        self._began = self._clock.now().timestamp()
        self._new_names = True

    def _write(self, frame: bytes | bytearray) -> None:
        assert self._file is not None
        try:
            written = os.write(self._file, frame)
            while written < len(frame):  # a full disk takes a part, and fails at the next write
                written += os.write(self._file, memoryview(frame)[written:])
        except OSError as error:
            self._take_back()
            raise StoreError(f"{self._folder}: cannot write the prediction log: {error.strerror}") from None
        self._size += written

    def _take_back(self) -> None:
        """Cut off a frame that was written in part, or leave it as a torn tail and begin a new segment."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._abandon()

    def _abandon(self) -> None:
        """Stop writing the segment; its last bytes wait for the next sync."""
        if len(self._ended) >= MOST_ENDED:
            oldest = self._ended.pop(0)
            with suppress(OSError):  # only `sync` reports a disk that fails
                os.fdatasync(oldest)
            os.close(oldest)
        file, self._file, self._rows = self._file, None, 0
        if file is not None and self._size > self._synced:
            self._ended.append(file)
        elif file is not None:
            os.close(file)
