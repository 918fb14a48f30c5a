"""How many rows a log has, and where its newest rows begin, without decoding rows.

Rows in files are counted from the heads of their frames; the checksums are verified, because a damaged frame has no
rows. Rows in the Delta table are counted by its statistics; pyarrow is loaded only where there is a table. The counts
are noted in a file of the log, so that the next count reads only what was appended since. A file that has damage, or
was changed in another way than by an append, is counted from its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from os import stat_result
from pathlib import Path

import msgspec

from trimtab.stores.predictions.contract import Cursor
from trimtab.stores.predictions.embedded.delta_archive import Archive
from trimtab.stores.predictions.embedded.segment_folder import (
    Segment,
    counted_path,
    note,
    removed,
    segments,
    until_files_stay,
)
from trimtab.stores.predictions.embedded.segment_scan import Damages, scan

NOTED_AFTER = 1_000
"""A count that has read so many appends notes what it found."""


class Counted(msgspec.Struct, frozen=True):
    """The rows of a segment before an offset. size, changed: of the file when they were counted (nanoseconds)."""

    size: int = 0
    changed: int = 0
    end: int = 0
    rows: int = 0

    def holds(self, now: stat_result) -> bool:
        """Return True if the file was changed by nothing but appends since."""
        return now.st_size > self.size or (now.st_size, now.st_mtime_ns) == (self.size, self.changed)


def count(folder: Path, kind: str, damages: Damages) -> int:
    """Return how many rows a reader finds. Raises StoreError."""
    return until_files_stay(folder, lambda: _count(folder, kind, damages))


def tail(folder: Path, kind: str, rows: int, damages: Damages) -> Cursor:
    """Return a cursor behind which each writer's newest `rows` rows come, or all where it has less.

    Raises StoreError.
    """
    return until_files_stay(folder, lambda: _tail(folder, kind, rows, damages))


def _count(folder: Path, kind: str, damages: Damages) -> int:
    files, gone = _files(folder, kind)
    known, appends = _noted(folder, kind), 0
    found: dict[str, Counted] = {}
    for file in files:
        found[file.path.name], read = _count_on(file, kind, damages, known.get(file.path.name, Counted()))
        appends += read
    if appends >= NOTED_AFTER:
        _note_counted(folder, kind, (file for file in files if not damages.has(file.path)), found)
    rows = sum(one.rows for one in found.values())
    return rows + (_archive(folder, kind).count(gone) if gone else 0)


def _count_on(file: Segment, kind: str, damages: Damages, known: Counted) -> tuple[Counted, int]:
    """Return the rows of a file, and how many appends were read for it."""
    now = file.path.stat()  # before the look: what is appended meanwhile makes the file longer than is noted
    start = known if known.holds(now) else Counted()
    end, rows, appends = start.end, start.rows, 0
    for append in scan(file.path, kind, damages, end):
        end, rows, appends = append.end, rows + append.rows, appends + 1
    return Counted(now.st_size, now.st_mtime_ns, end, rows), appends


def _noted(folder: Path, kind: str) -> dict[str, Counted]:
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):  # a hint: without it every file is counted
        return msgspec.json.decode(counted_path(folder, kind).read_bytes(), type=dict[str, Counted])
    return {}


def _note_counted(folder: Path, kind: str, files: Iterable[Segment], found: dict[str, Counted]) -> None:
    with suppress(OSError):  # a full disk, or no permission to write
        note(counted_path(folder, kind), {file.path.name: found[file.path.name] for file in files})


def _tail(folder: Path, kind: str, rows: int, damages: Damages) -> Cursor:
    files, gone = _files(folder, kind)
    archive = _archive(folder, kind) if gone else None
    places = []
    for writer in sorted({file.writer for file in files} | set(gone)):
        left, place = rows, None
        for file in (file for file in reversed(files) if file.writer == writer):
            left, offset = _in_file(file, kind, left, damages)
            place = (writer, file.number, offset)
            if left <= 0:
                break
        if left > 0 and archive is not None:
            for number in reversed(archive.numbers(writer, 0, gone.get(writer, 0))):
                left, offset = archive.behind(writer, number, left)
                place = (writer, number, offset)
                if left <= 0:
                    break
        if place is not None:
            places.append(place)
    return Cursor(tuple(places))


def _in_file(file: Segment, kind: str, rows: int, damages: Damages) -> tuple[int, int]:
    """Return how many of the newest rows are not in a file, and the offset before those that are."""
    newest: deque[tuple[int, int]] = deque()
    before = held = 0
    for append in scan(file.path, kind, damages):
        newest.append((before, append.rows))
        held += append.rows
        before = append.end
        while held - newest[0][1] >= rows:
            held -= newest.popleft()[1]
    return rows - held, newest[0][0] if newest else 0


def _files(folder: Path, kind: str) -> tuple[list[Segment], dict[str, int]]:
    """Return the files that are read, by writer and number, and up to which number each writer's rows are not."""
    found = segments(folder, kind)  # listed first: a file is removed only after removed.json says so
    gone = removed(folder).get(kind, {})
    return [file for file in found if file.number > gone.get(file.writer, 0)], gone


def _archive(folder: Path, kind: str) -> Archive:
    archive = Archive(folder, kind)
    archive.refresh()
    return archive
