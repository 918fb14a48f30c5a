"""One file of a source, read and checked as its table wants it; used by ingest and validate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from trimtab.clock import Clock
from trimtab.data.checks import Checked, check
from trimtab.data.files import file_hash, file_name, unchanged
from trimtab.data.quarantine import table_of
from trimtab.data.reading import read_file
from trimtab.data.reports import report_of
from trimtab.data.schemas import load_schema
from trimtab.definitions import FileSource
from trimtab.errors import DataError
from trimtab.policy import Checks
from trimtab.records import CheckReport
from trimtab.stores.metadata import Metadata
from trimtab.stores.tables import Tables
from trimtab.stores.tables.fit import columns_of, difference

if TYPE_CHECKING:
    import pandera.polars as pandera


@dataclass(frozen=True)
class Intake:
    """A source with its table and what the policy says about both: the same for all files of one run."""

    source: FileSource
    folder: Path
    """Of the project."""
    schema_name: str | None
    """`module.Name` in the project folder, or None."""
    max_share: float
    """Largest share of failing rows that is let through."""
    add_columns: bool
    tables: Tables
    metadata: Metadata
    clock: Clock

    @property
    def table(self) -> str:
        """Name of the table: the source's own."""
        return self.source.name

    @cached_property
    def schema(self) -> pandera.DataFrameSchema | None:
        """The schema of the rows; loaded on first use, because a run that finds no new file needs none."""
        return load_schema(self.schema_name, self.folder, table=self.table) if self.schema_name else None


@dataclass(frozen=True)
class Batch:
    """The content of one file, and what the checks say about it."""

    file: str
    hash: str
    data: pa.Table
    frame: pl.DataFrame
    """The same rows as `data`."""
    checked: Checked
    report: CheckReport


def open_intake(
    source: FileSource, *, folder: Path, checks: Checks, tables: Tables, metadata: Metadata, clock: Clock
) -> Intake:
    """Gather what the policy says about one source."""
    own = checks.tables.get(source.name)
    return Intake(
        source=source,
        folder=folder,
        schema_name=own.schema_ if own is not None else None,
        max_share=checks.max_failing_rows if own is None or own.max_failing_rows is None else own.max_failing_rows,
        add_columns=checks.schema_changes == "add_columns",
        tables=tables,
        metadata=metadata,
        clock=clock,
    )


def read_batch(intake: Intake, path: Path) -> Batch:
    """Read and check one file. Raises DataError, also when its columns differ from the table's."""
    has_table = intake.tables.version(intake.table) is not None
    like = columns_of(intake.tables.scan(intake.table)) if has_table else None
    with unchanged(path):
        hash_ = file_hash(path)
        data = read_file(path, intake.source, like=like)
    if like is not None:
        _expect_columns(intake, path, like, data.schema)
    file, frame = file_name(path, intake.folder), pl.DataFrame(data)
    checked, report = check_frame(intake, frame, source=file, batch_hash=hash_)
    return Batch(file=file, hash=hash_, data=data, frame=frame, checked=checked, report=report)


def check_frame(intake: Intake, frame: pl.DataFrame, *, source: str, batch_hash: str) -> tuple[Checked, CheckReport]:
    """Check rows and return what was found, and the report of it. Raises PolicyError when a check cannot run."""
    source_ = intake.source
    checked = check(frame, intake.schema, timestamp=source_.timestamp, known_at=source_.known_at)
    report = report_of(
        checked,
        table=intake.table,
        source=source,
        batch_hash=batch_hash,
        max_share=intake.max_share,
        quarantine=table_of(intake.table),
        now=intake.clock.now(),
    )
    return checked, report


def _expect_columns(intake: Intake, path: Path, table: pa.Schema, batch: pa.Schema) -> None:
    problems = difference(table, batch)
    if intake.add_columns:
        problems = [problem for problem in problems if not problem.startswith("+")]
    if not problems:
        return
    only_new = all(problem.startswith("+") for problem in problems)
    hint = "\nTo let tables grow, set checks.schema_changes: add_columns in trimtab.yaml" if only_new else ""
    lines = "\n  ".join(problems)
    raise DataError(f"{path}: its columns differ from those of table '{intake.table}':\n  {lines}{hint}")
