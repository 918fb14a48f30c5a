"""Finds the rows of an id in the Delta tables, newest files first. Called by finding, which then loads deltalake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.stores.predictions.archive import Archive, File


def find(
    folder: Path, kind: str, prediction_id: str, gone: dict[str, int]
) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
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
