"""Finds the rows of one id, the newest segments first. Called by segments; loads pyarrow only for the Delta table.

An id stands in a segment as its bytes, so a segment without it is passed over at the speed of reading, and of one with
it only the messages that hold those bytes are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import StoreError
from trimtab.stores.lazy_library import LazyLibrary
from trimtab.stores.predictions.embedded.delta_archive import Archive, File
from trimtab.stores.predictions.embedded.segment_folder import Segment, removed, segments
from trimtab.stores.predictions.embedded.segment_scan import READ_BYTES, Damages, format_of, scan

if TYPE_CHECKING:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pc = LazyLibrary("pyarrow.compute")
    pq = LazyLibrary("pyarrow.parquet")

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
        yield from _in_table(folder, kind, prediction_id, gone)


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


def _in_table(folder: Path, kind: str, prediction_id: str, gone: dict[str, int]) -> Iterator[tuple[str, int, Rows]]:
    """Yield what each segment that is read from the table alone has of an id, from the newest to the oldest."""
    archive = Archive(folder, kind)
    archive.refresh()
    groups: dict[tuple[tuple[str, str], tuple[int, int]], list[File]] = {}
    for file in sorted(archive.files, key=lambda file: file.written, reverse=True):
        groups.setdefault((file.writers, file.segments), []).append(file)
    for (writers, numbers), files in groups.items():
        found = {place for file in files for place in _places(file.path, prediction_id)}
        if not found:
            yield writers[0], numbers[1], []
        for writer, number in sorted(found, reverse=True):
            if number <= gone.get(writer, 0):
                rows, _ = archive.segment(writer, number)
                yield writer, number, rows.filter(pc.equal(rows["prediction_id"], prediction_id)).to_pylist()


def _places(path: Path, prediction_id: str) -> Iterator[tuple[str, int]]:
    """Yield the writers and segments of the rows of an id. Row groups whose statistics exclude it are not read."""
    file = pq.ParquetFile(path)
    for index in range(file.num_row_groups):
        if not _may_hold(file.metadata.row_group(index), prediction_id):
            continue
        here = pc.equal(file.read_row_group(index, ["prediction_id"])["prediction_id"], prediction_id)
        if pc.any(here).as_py():
            for row in file.read_row_group(index, ["writer", "segment"]).filter(here).to_pylist():
                yield row["writer"], row["segment"]


def _may_hold(group: pq.RowGroupMetaData, prediction_id: str) -> bool:
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    known = columns["prediction_id"].statistics
    if known is None or not known.has_min_max:
        return True
    return bool(known.min <= prediction_id <= known.max)
