"""Finds the rows of an id in the Delta tables, newest files first. Called by finding, which then loads deltalake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
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
        tables = [pq.ParquetFile(file.path).read(["prediction_id", "writer", "segment"]) for file in files]
        ids = pa.concat_tables(tables)
        ids = ids.filter(pc.equal(ids["prediction_id"], prediction_id))
        found = {(row["writer"], row["segment"]) for row in ids.to_pylist()}
        if not found:
            yield writers[0], numbers[1], []
        for writer, number in sorted(found, reverse=True):
            if number <= gone.get(writer, 0):
                rows, _ = archive.segment(writer, number)
                yield writer, number, rows.filter(pc.equal(rows["prediction_id"], prediction_id)).to_pylist()
