"""The files of the embedded log: their names, and the small JSON files next to the segments.

predictions-0-000001.frames   segment 1 of writer 0; numbers rise and are never used twice
labels-0-000001.frames        turns and contents likewise
labels-0-000001.arrows        a segment that an earlier version wrote
writer-0.lock                 held (flock) by the process that writes as 0
last-predictions-0.json       number of the last segment that writer 0 began, by which its loss is found
removed.json                  up to which segment each writer's rows are in the Delta tables alone, and the versions
                              that those tables had then
counted-predictions.json      how many rows the files had when they were counted last; a hint
erased-HASH-TIME.json         contents that no reader finds any more (erasures)
delta/predictions             likewise labels, turns and contents
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import COLUMNS

REMOVED = "removed.json"
FRAMES, ARROW = ".frames", ".arrows"
KINDS = "|".join(COLUMNS)
NAME = re.compile(rf"({KINDS})-([A-Za-z0-9_]+)-(\d{{6,}})(?:{FRAMES}|{ARROW})")
LAST = re.compile(rf"last-({KINDS})-([A-Za-z0-9_]+)\.json")

Removed = dict[str, dict[str, int]]
"""Kind -> writer -> number of the last segment that is no longer read from its file; and TABLES -> kind -> version."""
TABLES = "tables"
NO_TABLE = -1
"""Version where no segment had a row yet."""


ATTEMPTS = 20
"""Of a look at files that compaction removes at the same time."""

T = TypeVar("T")


class Segment(NamedTuple):
    """One file of one writer."""

    writer: str
    number: int
    path: Path


def lock_path(folder: Path, writer: str) -> Path:
    """Return the lock of a writer."""
    return folder / f"writer-{writer}.lock"


def segment_path(folder: Path, kind: str, writer: str, number: int) -> Path:
    """Return where a segment is."""
    return folder / f"{kind}-{writer}-{number:06d}{FRAMES}"


def counted_path(folder: Path, kind: str) -> Path:
    """Return where it is noted how many rows the segments of a kind have."""
    return folder / f"counted-{kind}.json"


def note(path: Path, content: object) -> None:
    """Write a small JSON file, whole or not at all; it is not put on disk. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(content))
    draft.replace(path)


def segments(folder: Path, kind: str) -> list[Segment]:
    """Return the segments of a kind that are there, ordered by writer and number."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = (NAME.fullmatch(name) for name in names)
    return sorted(Segment(m[2], int(m[3]), folder / m[0]) for m in found if m and m[1] == kind)


def removed(folder: Path) -> Removed:
    """Return what has been removed. Read it after `segments`: a file is removed only after it stands here."""
    try:
        data = (folder / REMOVED).read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return msgspec.json.decode(data, type=Removed)
    except msgspec.DecodeError as error:
        raise StoreError(f"{folder / REMOVED}: damaged ({error}); restore the file from a backup") from None


def last_path(folder: Path, kind: str, writer: str) -> Path:
    """Return where a writer notes the last segment that it began."""
    return folder / f"last-{kind}-{writer}.json"


def last_begun(folder: Path, kind: str) -> dict[str, int]:
    """Return by writer the number of the last segment that it began, as far as that was noted."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    found = {}
    for match in (LAST.fullmatch(name) for name in names):
        if match and match[1] == kind:
            with suppress(OSError, msgspec.DecodeError):
                found[match[2]] = msgspec.json.decode((folder / match[0]).read_bytes(), type=int)
    return found


def next_number(folder: Path, kind: str, writer: str) -> int:
    """Return the number of the writer's next segment."""
    numbers = [segment.number for segment in segments(folder, kind) if segment.writer == writer]
    gone = removed(folder).get(kind, {}).get(writer, 0)
    return max([*numbers, gone, last_begun(folder, kind).get(writer, 0)]) + 1


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def until_files_stay(folder: Path, look: Callable[[], T]) -> T:
    """Return what `look` returns; repeat it when compaction removes a file that it reads. Raises StoreError."""
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            return look()
    raise StoreError(f"{folder}: files of the prediction log vanish as they are read; try again")
