"""Takes new files of a source into its table.

Safe to kill anywhere and to run again, alone or at once with another one: each file is taken in once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from trimtab.clock import Clock
from trimtab.data.batch import Batch, Intake, check_frame, open_intake, read_batch
from trimtab.data.checks import failure_lines
from trimtab.data.notes import note_lines
from trimtab.data.quarantine import quarantined, table_of
from trimtab.data.source_files import file_hash, file_name, find_files
from trimtab.definitions import FileSource
from trimtab.errors import CheckFailed, DataError, StageError, StoreError
from trimtab.policy import Checks
from trimtab.records import CheckReport, TableVersion
from trimtab.stores.metadata import Metadata
from trimtab.stores.tables import Tables


@dataclass(frozen=True)
class Ingested:
    """What became of one file."""

    table: str
    file: str
    rows_added: int
    rows_quarantined: int
    version: TableVersion
    """The table version that holds the file's rows."""
    skipped: str | None = None
    """Why nothing was done, or None."""
    notes: tuple[str, ...] = ()
    """What is odd about the rows although no check refuses them, one line each."""


def ingest(
    source: FileSource,
    *,
    folder: Path,
    checks: Checks,
    tables: Tables,
    metadata: Metadata,
    clock: Clock,
    keys: Collection[str] = (),
) -> list[Ingested]:
    """Take in the files of `source` that its table does not hold yet, in order of name.

    folder: of the project. keys: columns that find entities or predictions. Each file is read, checked and appended
    as one version; its failing rows go to the quarantine table. A file whose rows the table has all, under whatever
    name, is skipped. Files before one that fails stay taken in.
    Raises DataError for a file that cannot be read, has other columns than the table or has changed since it was
    taken in; StoreError when the table has lost rows that cannot be taken in again; CheckFailed, after the report is
    written, when too many of its rows fail; PolicyError.
    """
    files = find_files(source, folder)
    intake = open_intake(source, folder=folder, checks=checks, tables=tables, metadata=metadata, clock=clock, keys=keys)
    restored = {one.file: one for one in _restore(intake, files)}
    return [restored.get(file_name(path, folder)) or _ingest_file(intake, path) for path in files]


def validate(
    source: FileSource, *, folder: Path, checks: Checks, tables: Tables, metadata: Metadata, clock: Clock
) -> CheckReport:
    """Check all rows of the newest version of a source's table, write the report and return it.

    Raises StageError when nothing was taken in yet, PolicyError.
    """
    intake = open_intake(source, folder=folder, checks=checks, tables=tables, metadata=metadata, clock=clock)
    versions = record_versions(source.name, tables=tables, metadata=metadata, clock=clock)
    if not versions:
        raise StageError(f"table '{source.name}' is empty: nothing to validate. Run: trimtab ingest {source.name}")
    newest = versions[-1]
    frame = tables.scan(source.name, version=newest.version).collect()
    report = check_frame(intake, frame, source=newest.id, batch_hash=newest.content_hash)
    metadata.put(report)
    return report


def validate_files(
    source: FileSource,
    *,
    folder: Path,
    checks: Checks,
    tables: Tables,
    metadata: Metadata,
    clock: Clock,
    keys: Collection[str] = (),
) -> list[CheckReport]:
    """Check the files of a source without taking them in; nothing is written.

    keys: columns that find rows or entities. Raises DataError for a file that an ingest would refuse to read,
    PolicyError.
    """
    intake = open_intake(source, folder=folder, checks=checks, tables=tables, metadata=metadata, clock=clock, keys=keys)
    return [read_batch(intake, path).report for path in find_files(source, folder)]


def _ingest_file(intake: Intake, path: Path) -> Ingested:
    versions = _versions_by_hash(intake)
    known = versions.get(file_hash(path))
    if known is not None:
        return _skipped(known, file_name(path, intake.folder))
    if not intake.source.key:
        _expect_new_name(file_name(path, intake.folder), versions)
    batch = read_batch(intake, path)
    if batch.is_all_known:
        newest = max(versions.values(), key=lambda version: version.version)
        reason = f"all of its {len(batch.repetition.known):,} rows are in table '{intake.table}' already"
        return _skipped(newest, batch.file, reason)
    intake.metadata.put(batch.report)
    refuse_failing(intake, batch)
    _append(intake, batch)
    version = _versions_by_hash(intake)[batch.hash]
    return Ingested(
        table=intake.table,
        file=batch.file,
        rows_added=version.added_rows,
        rows_quarantined=batch.report.failing_rows,
        version=version,
        notes=tuple(note_lines(batch.report.notes)),
    )


def refuse_failing(intake: Intake, batch: Batch) -> None:
    """Raise CheckFailed when too many rows of a batch fail."""
    if batch.report.verdict == "fail":
        lines = "".join(f"\n  {line}" for line in failure_lines(batch.report))
        raise CheckFailed(f"{batch.report.reason}{lines}\nNothing of it was taken into table '{intake.table}'")


def put_aside(intake: Intake, batch: Batch) -> pa.Table:
    """Append the failing rows to the quarantine, once, and return the rows that go into the table."""
    if batch.report.failing_rows:
        rejected = quarantined(batch.frame, batch.checked, report=batch.report)
        intake.tables.append(table_of(intake.table), rejected, batch=batch.report.id)
    if not len(batch.left_out):
        return batch.data
    rows = pl.int_range(batch.data.num_rows, eager=True)
    return batch.data.filter((~rows.is_in(batch.left_out.cast(pl.Int64).implode())).to_arrow())


def _append(intake: Intake, batch: Batch) -> None:
    intake.tables.append(intake.table, put_aside(intake, batch), batch=batch.hash, add_columns=intake.add_columns)


def _versions_by_hash(intake: Intake) -> dict[str, TableVersion]:
    """Write the missing records of table versions and return all by the hash of their file."""
    found = record_versions(intake.table, tables=intake.tables, metadata=intake.metadata, clock=intake.clock)
    return {version.source_hash: version for version in found}


def _skipped(version: TableVersion, file: str, reason: str | None = None) -> Ingested:
    reason = reason or f"already in {version.id}" + ("" if version.source == file else f", from {version.source}")
    return Ingested(table=version.table, file=file, rows_added=0, rows_quarantined=0, version=version, skipped=reason)


def _expect_new_name(file: str, versions: Mapping[str, TableVersion]) -> None:
    """Refuse a file that has changed, because the rows that were taken in before would be there twice."""
    before = next((version for version in versions.values() if version.source == file), None)
    if before is not None:
        raise DataError(
            f"{file} has changed since it was taken in as {before.id}. Tables only grow: give the new rows a file of "
            "their own beside it, and restore this one. If its rows correct earlier ones, name the columns that tell "
            "which row is meant: FileSource(..., key=[...])"
        )


def _restore(intake: Intake, files: Sequence[Path]) -> list[Ingested]:
    """Take in again the files whose versions are recorded but gone from the table, as when its log was damaged.

    Raises StoreError when a file is not there any more, or does not give the rows that it gave.
    """
    newest = intake.tables.version(intake.table)
    recorded = _versions_by_hash(intake)
    lost = sorted((v for v in recorded.values() if newest is None or v.version > newest), key=lambda v: v.version)
    if not lost:
        return []
    paths = {file_hash(path): path for path in files}
    done = []
    for version in lost:
        what = f"table '{intake.table}' has lost version {version.version} with the rows of {version.source}"
        path = paths.get(version.source_hash)
        if path is None:
            raise StoreError(f"{what}, which is not there any more: restore that file, or the table, from a backup")
        batch = read_batch(intake, path)
        passing = batch.data.num_rows - len(batch.left_out)
        if passing != version.added_rows:
            raise StoreError(
                f"{what}: the checks now pass {passing:,} of them, then it was {version.added_rows:,}. Restore the "
                "table from a backup, or the checks of then"
            )
        _append(intake, batch)
        if intake.tables.batch_version(intake.table, batch.hash) != version.version:
            raise StoreError(f"{what}, and the table goes on with another version: restore the table from a backup")
        failing = batch.report.failing_rows
        done.append(Ingested(intake.table, batch.file, version.added_rows, failing, version))
    return done


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
