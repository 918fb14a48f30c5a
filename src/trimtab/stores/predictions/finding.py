"""Finds the rows of one id, the newest segments first. Called by segments; loads pyarrow only for the Delta table.

An id stands in a segment as its bytes, so a segment without it is passed over at the speed of reading, and of one with
it only the messages that hold those bytes are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from trimtab.errors import StoreError
from trimtab.stores.predictions.folder import Segment, removed, segments
from trimtab.stores.predictions.scanning import READ_BYTES, Damages, format_of, scan

Rows = list[dict[str, Any]]
ATTEMPTS = 20
"""Of a search whose files compaction removes at the same time."""


def find(folder: Path, kind: str, prediction_id: str, damages: Damages, *, everywhere: bool) -> Rows:
    """Return the rows of an id, ordered by writer and then as written.

    everywhere: search on where the segment before the last one with a hit has none. Raises StoreError.
    """
    for _ in range(ATTEMPTS):
        try:
            return _find(folder, kind, prediction_id, damages, everywhere=everywhere)
        except FileNotFoundError:  # the rows have gone to the Delta table meanwhile
            continue
    raise StoreError(f"{folder}: files of the prediction log vanish as they are read; try again")


def _find(folder: Path, kind: str, prediction_id: str, damages: Damages, *, everywhere: bool) -> Rows:
    hits: dict[tuple[str, int], Rows] = {}
    for writer, number, rows in _units(folder, kind, prediction_id, damages):
        if rows:
            hits[writer, number] = rows
        elif hits and not everywhere and (writer, number + 1) in hits:
            break
    return [row for _, rows in sorted(hits.items()) for row in rows]


def _units(folder: Path, kind: str, prediction_id: str, damages: Damages) -> Iterator[tuple[str, int, Rows]]:
    """Yield what each segment has of an id: files from the newest to the oldest, then the Delta table so."""
    found = segments(folder, kind)
    gone = removed(folder).get(kind, {})
    files = [segment for segment in found if segment.number > gone.get(segment.writer, 0)]
    for segment in sorted(files, key=_newness, reverse=True):
        yield segment.writer, segment.number, _in_file(segment, kind, prediction_id, damages)
    if gone:
        yield from import_module("trimtab.stores.predictions.archived_ids").find(folder, kind, prediction_id, gone)


def _newness(segment: Segment) -> tuple[float, int]:
    return segment.path.stat().st_mtime, segment.number


def _in_file(segment: Segment, kind: str, prediction_id: str, damages: Damages) -> Rows:
    name = prediction_id.encode()
    if not _holds(segment.path, name):
        return []
    bodies = (message.body for message in scan(segment.path, kind, damages) if name in bytes(message.body))
    rows = (row for body in bodies for row in format_of(segment.path).rows_of(body, kind))
    return [row for row in rows if row["prediction_id"] == prediction_id]


def _holds(path: Path, text: bytes) -> bool:
    with path.open("rb", buffering=0) as file:
        offset = 0
        while data := os.pread(file.fileno(), READ_BYTES, offset):
            if text in data:
                return True
            if len(data) < READ_BYTES:
                return False
            offset += READ_BYTES - len(text)
    return False
