"""Ingests new files of a source into its table, and validates files or a table without changing them.

An ingest may be killed anywhere and run again, also at the same time as another one: each file is ingested once. It
writes in this order: report, failing rows, rows, table version. The first three writes are idempotent, and the last one
follows from them alone. So the next ingest writes the records that a killed or concurrent one has not written yet, and
the records are the same whatever happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from trimtab.clock import Clock
from trimtab.data.batch import Batch, Intake, check_frame, read_batch
from trimtab.data.checks import failure_lines, result_lines
from trimtab.data.local_file import SourceFile
from trimtab.data.notes import note_lines
from trimtab.data.quarantine import quarantine_table, quarantined
from trimtab.data.quarantine_release import append_released, finish_releases, releases
from trimtab.data.source_files import find_files
from trimtab.definitions.kafka_source import KafkaSource
from trimtab.definitions.push_source import PushSource
from trimtab.definitions.sources import FileSource, Source
from trimtab.errors import CheckFailed, DataError, StageError, StoreError, UsageError
from trimtab.records.data import CheckReport, TableVersion
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables

SAMPLE = "sample: "
"""Begins the state of a table that holds a part of the rows of its files."""


@dataclass(frozen=True)
class Ingested:
    """Result of the ingestion of one file or pull."""

    table: str
    file: str
    """Name of the file, or label of the pull."""
    rows_added: int
    rows_quarantined: int
    version: TableVersion
    """The table version that holds the file's rows."""
    skipped: str | None = None
    """Why the file was skipped, or None."""
    notes: tuple[str, ...] = ()
    """Warnings about rows that pass all checks, one line each."""
    unit: str = "file"
    """What came as one: a file or a batch."""


def ingest(intake: Intake, rows: int | None = None) -> list[Ingested]:
    """Ingest the files of a source that its table does not hold yet, in order of name.

    rows: stop after the file with which the table has so many; None for all files.

    Each file is read, checked and appended as one version; its failing rows go to the quarantine table. A file is
    skipped if the table has all of its rows already, under whatever name. If a file fails, the files before it stay
    ingested.

    Returns:
        One result for each file, in order of name.

    Raises:
        DataError: a file cannot be read, has other columns than the table, or has changed since it was ingested.
        StoreError: the table has lost rows that cannot be ingested again.
        CheckFailed: too many rows of a file fail; its report is written.
        PolicyError: the checks cannot be loaded or cannot run.
        UsageError: the table holds a sample.
    """
    refuse_sample(intake)
    files = find_files(intake.files, intake.folder)
    restored = {one.file: one for one in _restore(intake, files)}
    done: list[Ingested] = []
    for file in files:
        if rows is not None and any(each.version.rows >= rows for each in done):
            break
        done.append(restored.get(file.name) or _ingest_file(intake, file))
    return done


def refuse_sample(intake: Intake) -> None:
    """Raise UsageError if the table holds a sample, which would not become whole by further files."""
    state = intake.tables.state(intake.table) or ""
    if state.startswith(SAMPLE):
        raise UsageError(
            f"table '{intake.table}' holds a sample ({state.removeprefix(SAMPLE)}), so it takes no other rows: open "
            "another environment (--env), or a copy of the project without .trimtab/"
        )


def validate(intake: Intake, version: TableVersion | None = None) -> CheckReport:
    """Check all rows of one version of a source's table (None: the newest), write the report and return it.

    Raises StageError when nothing was ingested yet, PolicyError when the checks cannot be loaded or cannot run.
    """
    source, tables = intake.source, intake.tables
    versions = record_versions(source.name, tables=tables, metadata=intake.metadata, clock=intake.clock)
    if not versions:
        raise StageError(f"table '{source.name}' is empty: nothing to validate. {_first_rows(source)}")
    checked = version or versions[-1]
    frame = tables.scan(source.name, version=checked.version).collect()
    report = check_frame(
        intake, frame, source=checked.id, batch_hash=checked.content_hash, newest=checked == versions[-1]
    )
    intake.metadata.put(report)
    return report


def _ingest_file(intake: Intake, file: SourceFile) -> Ingested:
    versions = _versions_by_hash(intake)
    known = versions.get(file.hash())
    if known is not None:
        return _skipped(known, file.name)
    if not intake.source.key:
        _expect_new_name(file.name, versions)
    batch = read_batch(intake, file)
    if batch.is_all_known:
        newest = max(versions.values(), key=lambda version: version.version)
        reason = f"all of its {len(batch.repetition.known):,} rows are in table '{intake.table}' already"
        return _skipped(newest, batch.file, reason)
    intake.metadata.put(batch.report)
    refuse_failing(intake, batch)
    _append(intake, batch)
    return ingested(intake, batch)


def ingested(intake: Intake, batch: Batch) -> Ingested:
    """Write the missing records of a batch that was appended and return its result."""
    version = _versions_by_hash(intake)[batch.hash]
    return Ingested(
        table=intake.table,
        file=batch.file,
        rows_added=version.added_rows,
        rows_quarantined=batch.report.failing_rows,
        version=version,
        notes=(*note_lines(batch.report.notes), *result_lines(batch.report.results)),
        unit="file" if isinstance(intake.source, FileSource) else "batch",
    )


def refuse_failing(intake: Intake, batch: Batch) -> None:
    """Raise CheckFailed when too many rows of a batch fail."""
    if batch.report.verdict == "fail":
        lines = "".join(f"\n  {line}" for line in failure_lines(batch.report))
        raise CheckFailed(f"{batch.report.reason}{lines}\nNothing of it was ingested into table '{intake.table}'")


def quarantine_failing(intake: Intake, batch: Batch) -> pa.Table:
    """Append the failing rows to the quarantine table, idempotently, and return the rows that go into the table."""
    if batch.report.failing_rows:
        rejected = quarantined(batch.frame, batch.checked, report=batch.report)
        intake.tables.append(quarantine_table(intake.table), rejected, batch=batch.report.id)
    if not len(batch.left_out):
        return batch.data
    rows = pl.int_range(batch.data.num_rows, eager=True)
    return batch.data.filter((~rows.is_in(batch.left_out.cast(pl.Int64).implode())).to_arrow())


def _append(intake: Intake, batch: Batch) -> None:
    intake.tables.append(
        intake.table, quarantine_failing(intake, batch), batch=batch.hash, add_columns=intake.add_columns
    )


def _versions_by_hash(intake: Intake) -> dict[str, TableVersion]:
    """Write the missing records of table versions and return all records by the hash of their file."""
    found = record_versions(intake.table, tables=intake.tables, metadata=intake.metadata, clock=intake.clock)
    return {version.source_hash: version for version in found}


def _skipped(version: TableVersion, file: str, reason: str | None = None) -> Ingested:
    reason = reason or f"already in {version.id}" + ("" if version.source == file else f", from {version.source}")
    return Ingested(table=version.table, file=file, rows_added=0, rows_quarantined=0, version=version, skipped=reason)


def _expect_new_name(file: str, versions: Mapping[str, TableVersion]) -> None:
    """Raise DataError for a file that has changed, because the rows ingested before would be in the table twice."""
    before = next((version for version in versions.values() if version.source == file), None)
    if before is not None:
        raise DataError(
            f"{file} has changed since it was ingested as {before.id}. Tables only grow: put the new rows into a file "
            "of their own, and restore this one. If its rows correct earlier ones, name the columns that identify a "
            "row: FileSource(..., key=[...])"
        )


def _restore(intake: Intake, files: Sequence[SourceFile]) -> list[Ingested]:
    """Ingest again the files whose versions are recorded but missing from the table, as after damage to its log.

    Raises StoreError when a file no longer exists, or gives other rows than before.
    """
    newest = intake.tables.version(intake.table)
    recorded = _versions_by_hash(intake)
    lost = sorted((v for v in recorded.values() if newest is None or v.version > newest), key=lambda v: v.version)
    if not lost:
        return []
    here = {file.hash(): file for file in files}
    released = releases(intake.table, intake.metadata)
    done = []
    for version in lost:
        _fill_gap(intake, version.version)
        if version.source_hash in released:
            append_released(released[version.source_hash], tables=intake.tables)
            continue
        what = f"table '{intake.table}' has lost version {version.version} with the rows of {version.source}"
        file = here.get(version.source_hash)
        if file is None:
            raise StoreError(f"{what}, which no longer exists: restore that file, or the table, from a backup")
        batch = read_batch(intake, file)
        passing = batch.data.num_rows - len(batch.left_out)
        if passing != version.added_rows:
            raise StoreError(
                f"{what}: {passing:,} of these rows pass the checks now, and {version.added_rows:,} did then. Restore "
                "the table from a backup, or the checks as they were then"
            )
        _append(intake, batch)
        if intake.tables.batch_version(intake.table, batch.hash) != version.version:
            raise StoreError(f"{what}, and has another version in its place: restore the table from a backup")
        failing = batch.report.failing_rows
        done.append(Ingested(intake.table, batch.file, version.added_rows, failing, version))
    return done


def _fill_gap(intake: Intake, version: int) -> None:
    """Append versions without rows before a version that is restored, in place of the compactions before it."""
    newest = intake.tables.version(intake.table)
    for gap in range(version if newest is None else newest + 1, version):
        nothing = intake.tables.scan(intake.table).head(0).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
        intake.tables.append(intake.table, nothing, batch=f"in place of compaction {gap}")


def _first_rows(source: Source) -> str:
    """Return how a table gets its first rows."""
    if isinstance(source, PushSource):
        return f"Run: trimtab up, and send rows to POST /v1/sources/{source.name}/push"
    return f"Run: trimtab {'stream' if isinstance(source, KafkaSource) else 'ingest'} {source.name}"


def record_versions(table: str, *, tables: Tables, metadata: Metadata, clock: Clock) -> Sequence[TableVersion]:
    """Write the missing records of a table's versions and return all of them, oldest first.

    Rows whose release was recorded and did not get further are appended first.
    """
    known = sorted(metadata.find(TableVersion, table=table), key=lambda record: record.version)
    finish_releases(table, {record.source_hash for record in known}, tables=tables, metadata=metadata)
    for version, report in _unrecorded(table, known, tables=tables, metadata=metadata):
        before = next((record for record in reversed(known) if record.version < version), None)
        record = _record(version, report, before, tables=tables, clock=clock)
        metadata.put(record)
        known.append(record)
    return known


def _unrecorded(
    table: str, known: Sequence[TableVersion], *, tables: Tables, metadata: Metadata
) -> list[tuple[int, CheckReport]]:
    """Return the reports of batches whose table version has no record yet, with that version, in order of version."""
    seen = {record.source_hash for record in known} | {record.content_hash for record in known}
    found: list[tuple[int, CheckReport]] = []
    for report in metadata.find(CheckReport, table=table, verdict=("pass", "warn")):
        if report.batch_hash in seen:  # of several reports on a batch the newest was ingested
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
    # Something other than an ingest wrote to the table, so its rows have to be counted.
    return int(tables.scan(table, version=version).select(pl.len()).collect().item())
