"""The Delta tables into which ended segments go.

Each segment is one commit. The commit carries a Delta application transaction, "predictions-0" with the segment's
number, so a segment is appended once, and a process that dies before its commit leaves only files that no version
names. In addition to the log's own columns, a row keeps its writer, its segment, its number in it, and the offset
behind its append: so a cursor means the same place in a file and in the table. A table is partitioned by model and by
the day of logging, because rows are read, and deleted, in the order of logging; one segment touches one or two days.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.arrow_rows import TIME_OF_LOGGING, empty_table, schema_of, with_columns
from trimtab.stores.predictions.embedded.row_merge import Integers
from trimtab.stores.predictions.embedded.segment_folder import sync_folder

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pa = LazyLibrary("pyarrow")
    pc = LazyLibrary("pyarrow.compute")
    pq = LazyLibrary("pyarrow.parquet")
    deltalake = LazyLibrary("deltalake")

CONFIGURATION = {"delta.checkpointInterval": "20", "delta.logRetentionDuration": "interval 7 days"}
OF_KIND = {"contents": {"delta.dataSkippingStatsColumns": "prediction_id,at,writer,segment,row,end"}}
"""The log of a table has the least and greatest value of these columns, and is not rewritten: no text may be in it."""
ROW_GROUP = 16_384
"""Rows of a Parquet row group. Few: a reader takes one segment out of a file that holds those of a day."""
MOST_FILES = 8
"""Files of a past day, each of one segment; when there are more, they are merged into one."""
PARTITIONS = {
    "predictions": ["model", "logged_on"],
    "labels": ["logged_on"],
    "turns": ["model", "logged_on"],
    "contents": ["logged_on"],
}


class File(NamedTuple):
    """One Parquet file: first and last writer and segment of its rows, and the values of its partition."""

    writers: tuple[str, str]
    segments: tuple[int, int]
    path: Path
    model: str | None
    written: int
    logged_on: date
    rows: int | None
    """None where the table has no statistics."""


class Archive:
    """The Delta table of one kind of rows. One process at a time writes it; readers see whole commits."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder / "delta" / kind
        self._kind = kind
        self._table: deltalake.DeltaTable | None = None
        self._listing: tuple[int, list[File]] = (-1, [])
        self._read: dict[str, tuple[int, pa.Table, Integers]] = {}
        """The segment of each writer that was read last, because a reader takes it in several blocks."""

    def refresh(self) -> None:
        """Open the newest version. Raises StoreError."""
        try:
            if not (self.folder / "_delta_log").is_dir():
                return
            self._table = deltalake.DeltaTable(self.folder)
        except deltalake.exceptions.TableNotFoundError:
            return
        except deltalake.exceptions.DeltaError as error:
            raise StoreError(f"{self.folder}: cannot read the table: {error}") from error
        self._read.clear()

    @property
    def version(self) -> int | None:
        """The version that is open; None where there is no table."""
        return int(self._table.version()) if self._table is not None else None

    @property
    def files(self) -> list[File]:
        """The files of the version that is open."""
        if self._table is not None and self._table.version() != self._listing[0]:
            self._listing = self._table.version(), self._listed(self._table)
        return self._listing[1]

    def last(self, writer: str) -> int:
        """Return the number of the newest segment of a writer that is in the table, or 0."""
        number = self._table.transaction_version(f"{self._kind}-{writer}") if self._table else None
        return number or 0

    def append(self, writer: str, number: int, rows: pa.Table, ends: Integers) -> None:
        """Append one segment to the table, and put it on disk. Raises StoreError.

        rows: in order. ends: the offset behind each row's append.
        """
        days = rows[TIME_OF_LOGGING[self._kind]].cast(pa.timestamp("us")).cast(pa.date32())
        count = rows.num_rows
        places = [pa.repeat(writer, count), pa.repeat(number, count), np.arange(count), ends, days]
        for field, values in zip(_places(), places, strict=True):
            rows = rows.append_column(field, pa.array(values, field.type) if isinstance(values, np.ndarray) else values)
        try:
            deltalake.write_deltalake(
                self._table or self.folder,
                rows,
                mode="append",
                schema_mode="merge",  # a table of an earlier version lacks columns
                partition_by=None if self._table else PARTITIONS[self._kind],
                configuration=None if self._table else CONFIGURATION | OF_KIND.get(self._kind, {}),
                writer_properties=_properties(),
                commit_properties=deltalake.CommitProperties(
                    app_transactions=[deltalake.Transaction(f"{self._kind}-{writer}", number)], max_commit_retries=0
                ),
            )
        except Exception as error:  # delta-rs raises DeltaError and bare Exception
            raise StoreError(f"{self.folder}: cannot put segment {number} of writer '{writer}' in: {error}") from error
        self.refresh()
        self.sync()

    def numbers(self, writer: str, first: int, last: int) -> list[int]:
        """Return the segments of a writer that may have rows, in order."""
        spans = [f.segments for f in self.files if f.writers[0] <= writer <= f.writers[1]]
        return sorted({n for low, high in spans for n in range(max(low, first), min(high, last) + 1)})

    def segment(self, writer: str, number: int) -> tuple[pa.Table, Integers]:
        """Return a segment's rows in order, and the offset behind each row's append. Raises FileNotFoundError."""
        if writer in self._read and self._read[writer][0] == number:
            return self._read[writer][1:]
        parts = [empty_table(self._kind).append_column("end", pa.array([], pa.int64()))]
        order: list[Integers] = [np.zeros(0, np.int64)]
        for file in self._holding(writer, number):
            found = _of_segment(file.path, writer, number)
            order.append(found["row"].to_numpy())
            parts.append(self.typed(found, file).append_column("end", found["end"].cast(pa.int64())))
        rows = pa.concat_tables(parts).take(np.argsort(np.concatenate(order), kind="stable"))
        self._read[writer] = (number, rows.drop_columns("end"), rows["end"].to_numpy())
        return self._read[writer][1:]

    def count(self, last: Mapping[str, int]) -> int:
        """Return how many rows there are of the segments of each writer up to a number."""
        total = 0
        for file in self.files:
            writer, newest = file.writers[0], file.segments[1]
            if file.rows is not None and writer == file.writers[1] and newest <= last.get(writer, 0):
                total += file.rows
                continue
            places = pq.ParquetFile(file.path).read(["writer", "segment"]).group_by(["writer", "segment"])
            for row in places.aggregate([([], "count_all")]).to_pylist():
                total += row["count_all"] if row["segment"] <= last.get(row["writer"], 0) else 0
        return total

    def behind(self, writer: str, number: int, rows: int) -> tuple[int, int]:
        """Return how many of the newest rows are not in a segment, and the offset before those that are."""
        parts = [_of_segment(file.path, writer, number, _places().names[:4]) for file in self._holding(writer, number)]
        ends = np.sort(np.concatenate([np.zeros(0, np.int64), *(part["end"].to_numpy() for part in parts)]))
        if rows >= len(ends):
            return rows - len(ends), 0
        first = int(np.searchsorted(ends, ends[len(ends) - rows], side="left"))
        return 0, int(ends[first - 1]) if first else 0

    def typed(self, rows: pa.Table, file: File) -> pa.Table:
        """Return rows of a file as the log's schema has them."""
        if file.model is not None:
            rows = rows.append_column("model", pa.repeat(file.model, rows.num_rows))
        return with_columns(rows, schema_of(self._kind))

    def delete_before(self, before: date) -> int:
        """Delete the rows logged on days before a day, with their files; return how many."""
        if self._table is None or all(file.logged_on >= before for file in self.files):
            return 0
        try:
            dropped = self._table.delete(f"logged_on < DATE '{before.isoformat()}'")
            self._table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
        except Exception as error:  # as above
            raise StoreError(f"{self.folder}: cannot drop rows logged before {before}: {error}") from error
        self.refresh()
        return int(dropped.get("num_deleted_rows") or 0)

    def keep_only(self, keep: Callable[[pa.Table], npt.NDArray[np.bool_]], columns: Sequence[str]) -> None:
        """Delete rows, by writing the files of their days again. Raises StoreError.

        keep: returns for rows of these columns which ones stay.
        """
        table, by_day = self._table, dict[date, list[Path]]()
        if table is None:
            return
        for file in self.files:
            by_day.setdefault(file.logged_on, []).append(file.path)
        for day, paths in by_day.items():
            if all(keep(pq.ParquetFile(path).read(list(columns))).all() for path in paths):
                continue
            rows = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
            rows = rows.filter(pa.array(keep(rows)))
            rows = rows.append_column(_places().field("logged_on"), pa.repeat(pa.scalar(day), rows.num_rows))
            try:
                deltalake.write_deltalake(
                    table,
                    rows,
                    mode="overwrite",
                    predicate=f"logged_on = '{day.isoformat()}'",
                    writer_properties=_properties(),
                )
                self.refresh()
                self.sync()
                table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
            except Exception as error:  # as above
                raise StoreError(f"{self.folder}: cannot delete rows of {day}: {error}") from error

    def merge_days(self, before: date) -> int:
        """Merge the files of each earlier day that has many; return how many fewer there are. Raises StoreError."""
        days = Counter((file.model, file.logged_on) for file in self.files if file.logged_on < before)
        many = sorted({day for (_, day), count in days.items() if count > MOST_FILES})
        if self._table is None or not many:
            return 0
        count = len(self.files)
        try:
            for day in many:
                self._table.optimize.compact([("logged_on", "=", day.isoformat())], writer_properties=_properties())
                self.sync()  # before the files that were merged go
            self._table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
        except Exception as error:  # as above
            raise StoreError(f"{self.folder}: cannot merge the files of {many[0]}: {error}") from error
        self.refresh()
        return count - len(self.files)

    def _holding(self, writer: str, number: int) -> list[File]:
        """Return the files that may have rows of a segment."""
        return [
            file
            for file in self.files
            if file.writers[0] <= writer <= file.writers[1] and file.segments[0] <= number <= file.segments[1]
        ]

    def _listed(self, table: deltalake.DeltaTable) -> list[File]:
        return [
            File(
                writers=(action["min.writer"], action["max.writer"]),
                segments=(action["min.segment"], action["max.segment"]),
                path=self.folder / unquote(action["path"]),
                model=action.get("partition.model"),
                written=int(action["modification_time"]),
                logged_on=action["partition.logged_on"],
                rows=action.get("num_records"),
            )
            for action in pa.table(table.get_add_actions(flatten=True)).to_pylist()
        ]

    def sync(self) -> None:
        """Put the newest commit and the files that it names on disk, because delta-rs does not."""
        if self._table is None:
            return
        log = self.folder / "_delta_log" / f"{self._table.version():020}.json"
        actions = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        added = [self.folder / unquote(action["add"]["path"]) for action in actions if "add" in action]
        for path in (*added, log):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        folders = {parent for path in (*added, log) for parent in path.parents if parent.is_relative_to(self.folder)}
        for folder in (*folders, self.folder.parent, self.folder.parent.parent):
            sync_folder(folder)


@cache
def _places() -> pa.Schema:
    """Return the columns that a table has in addition to the log's own."""
    types = {
        "writer": pa.string(),
        "segment": pa.int64(),
        "row": pa.int64(),
        "end": pa.int64(),
        "logged_on": pa.date32(),
    }
    return pa.schema([pa.field(name, type_, nullable=False) for name, type_ in types.items()])


def _properties() -> deltalake.WriterProperties:
    return deltalake.WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP)


def _of_segment(path: Path, writer: str, number: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a segment in a file; reads only row groups whose statistics do not exclude them."""
    file = pq.ParquetFile(path)
    wanted = []
    for index in range(file.num_row_groups):
        group = file.metadata.row_group(index)
        known = {group.column(n).path_in_schema: group.column(n).statistics for n in range(group.num_columns)}
        writers, numbers = known["writer"], known["segment"]
        if writers.min <= writer <= writers.max and numbers.min <= number <= numbers.max:
            wanted.append(index)
    found = file.read_row_groups(wanted, columns=None if columns is None else list(columns))
    return found.filter(pc.and_(pc.equal(found["writer"], writer), pc.equal(found["segment"], number)))


def chunks(rows: pa.Table, ends: Integers, after: int, most: int) -> Iterator[tuple[pa.Table, Integers]]:
    """Yield the rows behind an offset with their ends, whole appends, about `most` rows at a time."""
    start = int(np.searchsorted(ends, after, side="right"))
    while start < len(ends):
        last = ends[min(start + most, len(ends)) - 1]
        stop = int(np.searchsorted(ends, last, side="right"))
        yield rows.slice(start, stop - start), ends[start:stop]
        start = stop
