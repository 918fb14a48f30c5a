"""The spool of a source: requests with pushed rows, on disk until they are in the source's table.

Each process that takes requests appends to a segment of its own; one process at a time reads all of them, in the order
in which the segments began. A segment is a file of frames (stores/predictions/embedded/frames.py) in the folder of the
source. Its name is a number that no other segment has, its writer holds the system's lock on it, and it is removed when
the lock is free and all of its requests are in the table.

Guarantees
- A request whose `append` has returned is on disk, whatever ends the process or the machine.
- A reader gets each request whole, also while it is written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from trimtab.errors import StoreError, Temporary
from trimtab.stores.predictions.embedded.frames import framed

SUFFIX = ".rows"
NUMBERS = "last_number"
"""File with the number of the newest segment."""
SEGMENT_BYTES = 8 * 2**20
"""A segment of this size is ended."""
MOST_BYTES = 2**30
"""Most bytes of a spool; then requests are refused until rows are in the table."""


class SpoolFull(StoreError, Temporary):
    """The spool has too many bytes that are not in the table yet."""

    after_s = 5.0


class Pushed(msgspec.Struct, frozen=True, array_like=True):
    """One request. at: when it came, in microseconds since 1970. rows: each one as JSON."""

    at: int
    key: str | None
    rows: list[bytes]


_encode = msgspec.msgpack.Encoder().encode


class SpoolWriter:
    """The segment of one process. Not shared between threads."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._most_bytes, self._segment_bytes = most_bytes, segment_bytes
        self._file: int | None = None
        self._size = 0

    def append(self, requests: Sequence[Pushed]) -> None:
        """Write requests and wait until they are on disk.

        Raises SpoolFull, and then none is written. Raises OSError: then some may have been written.
        """
        frames = b"".join(framed(_encode(each), len(each.rows)) for each in requests)
        full = sum(size for _, size in segments(self._folder)) + len(frames) > self._most_bytes
        if full:
            raise SpoolFull(
                f"more than {self._most_bytes:,} bytes of pushed rows wait for their table; is trimtab up, or trimtab "
                "stream, running?"
            )
        try:
            if self._file is None:
                self._begin(requests[0].at)
            assert self._file is not None
            left = memoryview(frames)
            while left:
                left = left[os.write(self._file, left) :]
            os.fdatasync(self._file)
        except OSError:
            self.close()  # what was written in part is a torn tail
            raise
        self._size += len(frames)
        if self._size >= self._segment_bytes:
            self.close()

    def close(self) -> None:
        """End the segment, which a reader may remove from now on."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = None, 0

    def _begin(self, at: int) -> None:
        """Begin a segment. It has its name only when it is locked: a reader removes what is not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f".{os.getpid()}-{at}"
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.link(draft, segment_path(self._folder, _next_number(self._folder, at)))
            _sync(self._folder)
        except OSError:
            os.close(file)
            raise
        finally:
            draft.unlink()
        self._file, self._size = file, 0


def _next_number(folder: Path, at: int) -> int:
    """Return the number of a new segment: the time, or more if an earlier segment had it, also one that is gone."""
    with (folder / NUMBERS).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = max(at, int(file.read() or 0) + 1)
        file.truncate(0)
        file.write(b"%d" % number)
        file.flush()
        os.fsync(file.fileno())
        return number


def segment_path(folder: Path, number: int) -> Path:
    """Return the file of a segment."""
    return folder / f"{number:020d}{SUFFIX}"


def segments(folder: Path) -> list[tuple[int, int]]:
    """Return number and size of each segment, in their order."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found.append((int(entry.name.removesuffix(SUFFIX)), entry.stat().st_size))
    return sorted(found)


def _sync(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
