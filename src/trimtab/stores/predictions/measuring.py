"""How many rows a log has, and where its newest ones begin, without decoding any. Called by segments.

Rows in files are counted from the heads of their messages, whose checksums are looked at, since a damaged one has no
rows; those in the Delta table from its own statistics. pyarrow is loaded only where there is a table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import Cursor
from trimtab.stores.predictions.folder import Segment, removed, segments
from trimtab.stores.predictions.scanning import Damages, scan

ATTEMPTS = 20
"""Of a look at files that compaction removes at the same time."""

T = TypeVar("T")


def count(folder: Path, kind: str, damages: Damages) -> int:
    """Return how many rows a reader finds. Raises StoreError."""
    return _patiently(folder, lambda: _count(folder, kind, damages))


def tail(folder: Path, kind: str, rows: int, damages: Damages) -> Cursor:
    """Return a cursor behind which each writer's newest `rows` rows come, or all where it has less.

    Raises StoreError.
    """
    return _patiently(folder, lambda: _tail(folder, kind, rows, damages))


def _patiently(folder: Path, look: Callable[[], T]) -> T:
    for _ in range(ATTEMPTS):
        try:
            return look()
        except FileNotFoundError:  # the rows have gone to the Delta table meanwhile
            continue
    raise StoreError(f"{folder}: files of the prediction log vanish as they are read; try again")


def _count(folder: Path, kind: str, damages: Damages) -> int:
    files, gone = _files(folder, kind)
    rows = sum(message.rows for file in files for message in scan(file.path, kind, damages))
    if gone:
        rows += _archive(folder, kind).count(gone)
    return rows


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
    for message in scan(file.path, kind, damages):
        newest.append((before, message.rows))
        held += message.rows
        before = message.end
        while held - newest[0][1] >= rows:
            held -= newest.popleft()[1]
    return rows - held, newest[0][0] if newest else 0


def _files(folder: Path, kind: str) -> tuple[list[Segment], dict[str, int]]:
    """Return the files that are read, by writer and number, and up to which number each writer's rows are not."""
    found = segments(folder, kind)  # listed first: a file is removed only after removed.json says so
    gone = removed(folder).get(kind, {})
    return [file for file in found if file.number > gone.get(file.writer, 0)], gone


def _archive(folder: Path, kind: str) -> Any:
    archive = import_module("trimtab.stores.predictions.archive").Archive(folder, kind)  # deltalake, only where needed
    archive.refresh()
    return archive
