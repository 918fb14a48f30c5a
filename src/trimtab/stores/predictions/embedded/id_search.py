"""Finds the rows of one id, the newest segments first. Loads pyarrow only where rows are in the Delta table.

A segment holds an id as its UTF-8 bytes. Files without these bytes are skipped, and only the appends that have them are
decoded. In the table, row groups whose statistics exclude the id are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.embedded.delta_archive import Archive, File
from trimtab.stores.predictions.embedded.segment_folder import Segment, removed, segments, until_files_stay
from trimtab.stores.predictions.embedded.segment_scan import READ_BYTES, Damages, format_of, scan

if TYPE_CHECKING:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pc = LazyLibrary("pyarrow.compute")
    pq = LazyLibrary("pyarrow.parquet")

Rows = list[dict[str, Any]]


def find(folder: Path, kind: str, prediction_id: str, damages: Damages, *, everywhere: bool) -> Rows:
    """Return the rows of an id, ordered by writer and then as written.

    everywhere: search all segments, not only up to the first one without the id behind one with it. Raises StoreError.
    """
    return until_files_stay(folder, lambda: _find(folder, kind, prediction_id, damages, everywhere=everywhere))


def _find(folder: Path, kind: str, prediction_id: str, damages: Damages, *, everywhere: bool) -> Rows:
    hits: dict[tuple[str, int], Rows] = {}
    for writer, number, rows in _rows_by_segment(folder, kind, prediction_id, damages):
        if rows:
            hits[writer, number] = rows
        elif hits and not everywhere and (writer, number + 1) in hits:
            break
    return [row for _, rows in sorted(hits.items()) for row in rows]


def _rows_by_segment(folder: Path, kind: str, prediction_id: str, damages: Damages) -> Iterator[tuple[str, int, Rows]]:
    """Yield the rows of an id by segment: of files from the newest to the oldest, then of the Delta table likewise."""
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
    bodies = (append.body for append in scan(segment.path, kind, damages) if name in bytes(append.body))
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
    """Yield the rows of an id by segment, of segments that are read from the table, the newest first."""
    if find_spec("pyarrow") is None or find_spec("deltalake") is None:
        raise StoreError(
            f"the rows of '{prediction_id}' may be in the Delta table of {folder}, which needs the packages pyarrow "
            "and deltalake; they are not installed here"
        )
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
