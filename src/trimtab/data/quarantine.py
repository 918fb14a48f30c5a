"""Keeps the rows that failed a check, with the reason, in a table of their own, and shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from trimtab.data.checks import Checked
from trimtab.records import CheckReport
from trimtab.stores.metadata import Metadata
from trimtab.stores.tables import Tables

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
"""_batch: SHA-256 of the file. _report: id of the CheckReport. _row: number of the row in the file, the first
being 1. row: the row as JSON."""


def table_of(name: str) -> str:
    """Return the name of the table that holds the failing rows of table `name`."""
    return f"{name}_quarantine"


def quarantined(frame: pl.DataFrame, checked: Checked, *, report: CheckReport) -> pa.Table:
    """Return the failing rows of a batch as rows of the quarantine table."""
    rows = [msgspec.json.encode(row, enc_hook=str).decode() for row in frame[checked.failing].iter_rows(named=True)]
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
    """What was refused of one source.

    files: the newest report on each file of which rows, or all of it, were refused. rows: the failing rows that came
    last, newest first; a file that was refused whole has none.
    """

    files: tuple[CheckReport, ...]
    rows: tuple[RefusedRow, ...]


def read_refused(name: str, *, tables: Tables, metadata: Metadata, limit: int) -> Refused:
    """Read what was refused of table `name`. limit: most rows that are returned."""
    reports: dict[str, CheckReport] = {}
    for report in metadata.find(CheckReport, table=name):  # newest first
        reports.setdefault(report.source, report)
    of_table = f"{name}@"  # reports on versions of the table say the same of the same rows
    files = tuple(r for r in reports.values() if r.verdict != "pass" and not r.source.startswith(of_table))
    if tables.version(table_of(name)) is None:
        return Refused(files, ())
    rows = tables.scan(table_of(name)).collect()
    last = rows.group_by("_batch", maintain_order=True).agg(pl.col("_report").last())
    shown = rows.join(last, on=["_batch", "_report"], how="semi", maintain_order="left").reverse().head(limit)
    return Refused(
        files,
        tuple(
            RefusedRow(name, row["_file"], row["_row"], row["_reason"], msgspec.json.decode(row["row"]))
            for row in shown.iter_rows(named=True)
        ),
    )
