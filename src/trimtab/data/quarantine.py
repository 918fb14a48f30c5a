"""Writes rows that failed a check, with the reason, into a table of their own, and reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from trimtab.data.checks import Checked
from trimtab.records.data import CheckReport
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
file, the first being 1. row: the row as JSON."""


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
    return [msgspec.json.encode(row, enc_hook=str).decode() for row in frame[rows].iter_rows(named=True)]


@dataclass(frozen=True)
class RefusedRow:
    """A row that failed a check. row: its number in the file, the first being 1. values: by column."""

    table: str
    file: str
    row: int
    reason: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """The refused files and rows of one source.

    files: the newest report on each file that was refused in part or as a whole. rows: the last failing rows, newest
    first; none for a file that was refused as a whole.
    """

    files: tuple[CheckReport, ...]
    rows: tuple[RefusedRow, ...]


def read_refused(name: str, *, tables: Tables, metadata: Metadata, limit: int) -> Refused:
    """Return the refused files and rows of a source.

    Args:
        name: the name of the source, which is that of its table.
        tables, metadata: the stores.
        limit: largest number of rows to return.
    """
    reports: dict[str, CheckReport] = {}
    for report in metadata.find(CheckReport, table=name):  # newest first
        reports.setdefault(report.source, report)
    of_table = f"{name}@"  # reports on versions of the table repeat the results for the same rows
    files = tuple(r for r in reports.values() if r.verdict != "pass" and not r.source.startswith(of_table))
    if tables.version(quarantine_table(name)) is None:
        return Refused(files, ())
    rows = tables.scan(quarantine_table(name)).collect()
    last = rows.group_by("_batch", maintain_order=True).agg(pl.col("_report").last())
    shown = rows.join(last, on=["_batch", "_report"], how="semi", maintain_order="left").reverse().head(limit)
    return Refused(
        files,
        tuple(
            RefusedRow(name, row["_file"], row["_row"], row["_reason"], msgspec.json.decode(row["row"]))
            for row in shown.iter_rows(named=True)
        ),
    )
