"""Checks what a table holds, or files before they are taken in; the `validate` stage, called by app."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trimtab.clock import Clock
from trimtab.data.batch import check_frame, open_intake, read_batch
from trimtab.data.files import find_files
from trimtab.data.versions import record_versions
from trimtab.definitions import FileSource
from trimtab.errors import StageError
from trimtab.policy import Checks
from trimtab.records import CheckReport
from trimtab.stores.metadata import Metadata
from trimtab.stores.tables import Tables


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
