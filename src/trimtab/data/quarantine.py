"""Writes rows that failed a check, with the reason, into a table of their own, and reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import polars as pl
import pyarrow as pa

from trimtab.data.checks import Checked
from trimtab.errors import DataError, NotFound, UsageError, nearest
from trimtab.records.data import CheckReport, QuarantineEnd
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables

COLUMNS = pa.schema(
    [
        pa.field("_batch", pa.string()),
        pa.field("_report", pa.string()),
        pa.field("_file", pa.string()),
        pa.field("_row", pa.int64()),
        pa.field("_reason", pa.string()),
        pa.field("row", pa.string()),
    ]
)
"""_batch: SHA-256 of the file, or id of the pull. _report: id of the CheckReport. _row: number of the row in the
file, the first being 1. row: the row as JSON, in which NaN and the infinities are texts."""

State = Literal["held", "released", "dropped"]
ID_CHARACTERS = 12
"""Characters of a batch's hash that stand for it in messages."""
DAY_CHARACTERS = len("2026-01-01")


def quarantine_table(name: str) -> str:
    """Return the name of the table that holds the failing rows of table `name`."""
    return f"{name}_quarantine"


def quarantined(frame: pl.DataFrame, checked: Checked, *, report: CheckReport) -> pa.Table:
    """Return the failing rows of a batch as rows of the quarantine table."""
    rows = row_texts(frame, checked.failing)
    return pa.table(
        {
            "_batch": [report.batch_hash] * len(rows),
            "_report": [report.id] * len(rows),
            "_file": [report.source] * len(rows),
            "_row": (checked.failing.cast(pl.Int64) + 1).to_list(),
            "_reason": checked.reasons.to_list(),
            "row": rows,
        },
        schema=COLUMNS,
    )


def row_texts(frame: pl.DataFrame, rows: pl.Series) -> list[str]:
    """Return rows of a frame as JSON texts. rows: their numbers, from 0."""
    return [msgspec.json.encode(_spelled(row), enc_hook=str).decode() for row in frame[rows].iter_rows(named=True)]


@dataclass(frozen=True)
class RefusedRow:
    """A row that failed a check. row: its number in the file, the first being 1. values: by column."""

    table: str
    file: str
    row: int
    reason: str
    values: dict[str, Any]
    state: State = "held"


@dataclass(frozen=True)
class Refused:
    """The refused files and rows of one source.

    files: the newest report on each file that was refused in part or as a whole; a file whose rows were all released or
    dropped is none of them. rows: the last failing rows that are held, newest first; none for a file that was refused
    as a whole.
    """

    files: tuple[CheckReport, ...]
    rows: tuple[RefusedRow, ...]


@dataclass(frozen=True)
class RefusedBatch:
    """One batch that was refused in part or as a whole: its report, its failing rows, and what became of them."""

    report: CheckReport
    rows: tuple[RefusedRow, ...]
    """In the order of the batch."""
    ends: tuple[QuarantineEnd, ...]
    """Oldest first."""

    def held(self, numbers: Sequence[int] = ()) -> tuple[RefusedRow, ...]:
        """Return the rows that are held, or those of them that `numbers` name. Raises UsageError for other numbers."""
        found = {row.row: row for row in self.rows if row.state == "held"}
        if not found:
            raise UsageError(f"{self.report.source}: no row of it is held in the quarantine. {self._what_became()}")
        for number in numbers:
            if number not in found:
                rows = ", ".join(map(str, list(found)[:10])) + (", ..." if len(found) > 10 else "")
                raise UsageError(f"{self.report.source}: row {number} is not held in the quarantine; held are {rows}")
        return tuple(found[number] for number in sorted(set(numbers))) if numbers else tuple(found.values())

    def _what_became(self) -> str:
        if not self.ends:
            return (
                "It was refused as a whole: correct it and ingest it again, or accept more failing rows by "
                "checks.max_failing_rows"
            )
        return "; ".join(f"{len(end.rows):,} were {end.outcome} by {end.by}: {end.reason}" for end in self.ends)


def read_refused(name: str, *, tables: Tables, metadata: Metadata, limit: int) -> Refused:
    """Return the refused files and rows of a source.

    Args:
        name: the name of the source, which is that of its table.
        tables, metadata: the stores.
        limit: largest number of rows to return.
    """
    rows = _quarantine(name, tables=tables, metadata=metadata).filter(pl.col("_state") == "held")
    held = set(rows["_batch"])
    reports: dict[str, CheckReport] = {}
    for report in metadata.find(CheckReport, table=name):  # newest first
        reports.setdefault(report.source, report)
    of_table = f"{name}@"  # reports on versions of the table repeat the results for the same rows
    files = tuple(
        report
        for report in reports.values()
        if not report.source.startswith(of_table) and (report.verdict == "fail" or report.batch_hash in held)
    )
    return Refused(files, _rows(name, rows.reverse().head(limit)))


def refused_batch(name: str, batch: str, *, tables: Tables, metadata: Metadata) -> RefusedBatch | None:
    """Return the refused batch of a source with this file name, or whose hash begins so, or None.

    Raises UsageError when several hashes begin so.
    """
    reports: dict[str, CheckReport] = {}
    for report in metadata.find(CheckReport, table=name):
        refused = report.verdict == "fail" or report.quarantine is not None
        if refused and not report.source.startswith(f"{name}@"):
            reports.setdefault(report.batch_hash, report)
    found = next((report for report in reports.values() if report.source == batch), None)
    if found is None:
        named = [report for hash_, report in reports.items() if hash_.startswith(batch)]
        if len(named) > 1:
            ids = ", ".join(f"{report.batch_hash[:ID_CHARACTERS]} ({report.source})" for report in named)
            raise UsageError(f"several batches of '{name}' begin with '{batch}': {ids}")
        if not named:
            return None
        found = named[0]
    rows = _quarantine(name, tables=tables, metadata=metadata).filter(pl.col("_batch") == found.batch_hash)
    ends = metadata.find(QuarantineEnd, table=name, batch=found.batch_hash, oldest_first=True)
    return RefusedBatch(found, _rows(name, rows), tuple(ends))


def no_such_batch(batch: str, sources: Sequence[str], *, metadata: Metadata) -> UsageError:
    """Return the error for a batch that no source has, with the nearest name."""
    reports = [report for name in sources for report in metadata.find(CheckReport, table=name)]
    known = {report.source for report in reports if report.failing_rows or report.verdict == "fail"}
    refused = [name for name in known if "@" not in name]
    return UsageError(
        f"no batch '{batch}' was refused; expected the name of a file, or the start of an id that trimtab quarantine "
        f"list shows.{nearest(batch, refused)}"
    )


def rows_for_table(end: QuarantineEnd, *, tables: Tables) -> pa.Table:
    """Return the rows of an answer with the columns and types that the table has now.

    Raises NotFound when the quarantine has lost them, DataError naming the row and the column whose value does not fit.
    """
    found = tables.scan(quarantine_table(end.table)).filter(pl.col("_report") == end.report).collect()
    rows = found.filter(pl.col("_row").is_in(end.rows)).unique("_row", keep="first", maintain_order=True)
    if rows.height != len(end.rows):
        raise NotFound(
            f"the quarantine of table '{end.table}' has {rows.height:,} of the {len(end.rows):,} rows of {end.source} "
            f"that {end.by} {end.outcome}: restore table '{quarantine_table(end.table)}' from a backup"
        )
    values = [msgspec.json.decode(row) for row in rows["row"]]
    return typed_rows(values, _schema(end.table, tables), where=end.source, numbers=rows["_row"].to_list())


def typed_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, *, where: str, numbers: Sequence[int]) -> pa.Table:
    """Return rows that were read from JSON with the columns and types of a table. Raises DataError."""
    columns = []
    for field in schema:
        values = []
        for row, number in zip(rows, numbers, strict=True):
            try:
                values.append(_read(row.get(field.name), field.type))
            except (msgspec.ValidationError, ValueError, TypeError):
                raise DataError(
                    f"{where}: row {number}: '{field.name}' does not fit the table, where it is {field.type}; "
                    "drop the row, and put a corrected one into a file of its own"
                ) from None
        columns.append(pa.array(values, field.type))
    return pa.table(columns, schema=schema)


def _schema(table: str, tables: Tables) -> pa.Schema:
    return tables.scan(table).head(0).collect().to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _read(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_floating(type_):
        return float(value)
    if pa.types.is_timestamp(type_):
        return msgspec.convert(value + "T00:00:00Z" if len(value) == DAY_CHARACTERS else value, datetime)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return [_read(each, type_.value_type) for each in value]
    if pa.types.is_struct(type_):
        return {child.name: _read(value.get(child.name), child.type) for child in type_}
    kinds: list[tuple[bool, type]] = [
        (pa.types.is_date(type_), date),
        (pa.types.is_decimal(type_), Decimal),
        (pa.types.is_binary(type_) or pa.types.is_large_binary(type_), bytes),
        (pa.types.is_boolean(type_), bool),
        (pa.types.is_integer(type_), int),
    ]
    return msgspec.convert(value, next((kind for fits, kind in kinds if fits), str))


def _spelled(value: Any) -> Any:
    """Return a value in which numbers that JSON does not have are texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _spelled(each) for name, each in value.items()}
    return [_spelled(each) for each in value] if isinstance(value, list) else value


def _quarantine(name: str, *, tables: Tables, metadata: Metadata) -> pl.DataFrame:
    """Return the failing rows of a source, each once, as its last report has them, with their state."""
    held = pl.lit("held").alias("_state")
    if tables.version(quarantine_table(name)) is None:
        return pl.DataFrame(schema=pl.DataFrame(COLUMNS.empty_table()).schema).with_columns(held)
    rows = tables.scan(quarantine_table(name)).collect()
    last = rows.group_by("_batch", maintain_order=True).agg(pl.col("_report").last())
    rows = rows.join(last, on=["_batch", "_report"], how="semi", maintain_order="left")
    ends = metadata.find(QuarantineEnd, table=name)
    if not ends:
        return rows.with_columns(held)
    states = pl.DataFrame(
        {
            "_batch": [end.batch for end in ends],
            "_row": [list(end.rows) for end in ends],
            "_state": [end.outcome for end in ends],
        }
    ).explode("_row")
    marked = rows.join(states, on=["_batch", "_row"], how="left", maintain_order="left")
    return marked.with_columns(pl.col("_state").fill_null("held"))


def _rows(name: str, rows: pl.DataFrame) -> tuple[RefusedRow, ...]:
    return tuple(
        RefusedRow(name, row["_file"], row["_row"], row["_reason"], msgspec.json.decode(row["row"]), row["_state"])
        for row in rows.iter_rows(named=True)
    )
