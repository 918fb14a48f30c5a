"""Keeps the rows that failed a check, with the reason, in a table of their own; called by ingest."""

from __future__ import annotations

import msgspec
import polars as pl
import pyarrow as pa

from trimtab.data.checks import Checked
from trimtab.records import CheckReport

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
