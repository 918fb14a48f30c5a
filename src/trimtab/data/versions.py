"""Writes the record of each table version from the report on its batch; called by ingest.

An ingest writes in this order: report, failing rows, rows, table version. The first three are idempotent, and
the last one follows from them alone. So whoever comes next can write what a killed or concurrent ingest has not
written yet, and the books say the same whatever happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from trimtab.clock import Clock
from trimtab.records import CheckReport, TableVersion
from trimtab.stores.metadata import Metadata
from trimtab.stores.tables import Tables


def record_versions(table: str, *, tables: Tables, metadata: Metadata, clock: Clock) -> Sequence[TableVersion]:
    """Write the missing records of a table's versions and return all of them, oldest first."""
    known = sorted(metadata.find(TableVersion, table=table), key=lambda record: record.version)
    for version, report in _unrecorded(table, known, tables=tables, metadata=metadata):
        before = next((record for record in reversed(known) if record.version < version), None)
        record = _record(version, report, before, tables=tables, clock=clock)
        metadata.put(record)
        known.append(record)
    return known


def _unrecorded(
    table: str, known: Sequence[TableVersion], *, tables: Tables, metadata: Metadata
) -> list[tuple[int, CheckReport]]:
    """Return the batches that are in the table but not in the book, in order of version, with their reports."""
    seen = {record.source_hash for record in known} | {record.content_hash for record in known}
    found: list[tuple[int, CheckReport]] = []
    for report in metadata.find(CheckReport, table=table, verdict=("pass", "warn")):
        if report.batch_hash in seen:  # of several reports on a batch the newest is the one that was followed
            continue
        seen.add(report.batch_hash)
        version = tables.batch_version(table, report.batch_hash)
        if version is not None:
            found.append((version, report))
    return sorted(found, key=lambda pair: pair[0])


def _record(
    version: int, report: CheckReport, before: TableVersion | None, *, tables: Tables, clock: Clock
) -> TableVersion:
    added = report.rows - report.failing_rows - report.known_rows
    chained = (before.content_hash if before else "") + report.content_hash
    return TableVersion(
        id=f"{report.table}@{version}",
        created_at=clock.now(),
        table=report.table,
        version=version,
        rows=added if report.replaces_all else _rows(version, added, before, report.table, tables),
        added_rows=0 if report.replaces_all else added,
        content_hash=hashlib.sha256(chained.encode()).hexdigest(),
        schema=tables.schema(report.table, version=version) or {},
        source=report.source,
        source_hash=report.batch_hash,
        replaces_all=report.replaces_all,
    )


def _rows(version: int, added: int, before: TableVersion | None, table: str, tables: Tables) -> int:
    if version == 0 or (before is not None and before.version == version - 1):
        return added + (before.rows if before else 0)
    # Something else than an ingest wrote to the table; then only counting tells.
    return int(tables.scan(table, version=version).select(pl.len()).collect().item())
