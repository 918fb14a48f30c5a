"""Reads one file of a source with the column types of its table, and checks the rows of files and of other origins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from trimtab.clock import Clock
from trimtab.data.checks import Checked, check, report_of
from trimtab.data.file_reading import Content, read_file
from trimtab.data.notes import Repetition, notes_on, repetition_in
from trimtab.data.quarantine import quarantine_table
from trimtab.data.schemas import load_schema
from trimtab.data.source_files import file_hash, file_name, unchanged
from trimtab.definitions.sources import FileSource, Source
from trimtab.errors import DataError
from trimtab.policy.model import Checks
from trimtab.records.data import CheckFailure, CheckReport
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables
from trimtab.stores.tables.schema_fit import columns_of, difference, empty_columns

if TYPE_CHECKING:
    import pandera.polars as pandera


@dataclass(frozen=True)
class Intake:
    """A source, its table and the checks of the policy for both; the same for all files of one run."""

    source: Source
    folder: Path
    """The project folder."""
    schema_name: str | None
    """`module.Name` in the project folder, or None."""
    max_share: float
    """Largest accepted share of failing rows."""
    add_columns: bool
    keys: frozenset[str]
    """Columns that identify rows, entities or predictions."""
    tables: Tables
    metadata: Metadata
    clock: Clock

    @property
    def table(self) -> str:
        """Name of the table: the source's own."""
        return self.source.name

    @property
    def files(self) -> FileSource:
        """The source, whose rows are in files."""
        assert isinstance(self.source, FileSource)
        return self.source

    @cached_property
    def schema(self) -> pandera.DataFrameSchema | None:
        """The schema of the rows; loaded on first use, because a run that finds no new file needs none."""
        return load_schema(self.schema_name, self.folder, table=self.table) if self.schema_name else None


@dataclass(frozen=True)
class Batch:
    """The rows of one file or pull with the results of the checks."""

    file: str
    """Name of the file, or label of the pull."""
    hash: str
    data: pa.Table
    frame: pl.DataFrame
    """The same rows as `data`."""
    checked: Checked
    report: CheckReport
    left_out: pl.Series
    """Numbers, from 0, of the rows that do not go into the table: failing rows, and rows that it has already."""
    repetition: Repetition

    @property
    def is_all_known(self) -> bool:
        """True if the table has all passing rows of the file already."""
        passing = self.frame.height - len(self.checked.failing)
        return passing > 0 and len(self.repetition.known) == passing


def open_intake(
    source: Source,
    *,
    folder: Path,
    checks: Checks,
    tables: Tables,
    metadata: Metadata,
    clock: Clock,
    keys: Collection[str] = (),
) -> Intake:
    """Return the intake of one source. keys: further columns that are keys of entities or ids of predictions."""
    own = checks.tables.get(source.name)
    return Intake(
        source=source,
        folder=folder,
        schema_name=own.schema_ if own is not None else None,
        max_share=checks.max_failing_rows if own is None or own.max_failing_rows is None else own.max_failing_rows,
        add_columns=checks.evolution.add_columns != "refuse",
        keys=frozenset((*keys, *source.key)),
        tables=tables,
        metadata=metadata,
        clock=clock,
    )


def read_batch(intake: Intake, path: Path) -> Batch:
    """Read and check one file. Raises DataError if it cannot be read or its columns differ from the table's."""
    rows, like, empty = table_so_far(intake)
    hash_, content = read_content(intake, path, like=like, empty=empty)
    if like is not None:
        expect_columns(intake, str(path), like, content.rows.schema, empty)
    return check_content(intake, file_name(path, intake.folder), hash_, content, rows=rows)


def table_so_far(intake: Intake) -> tuple[pl.LazyFrame | None, pa.Schema | None, frozenset[str]]:
    """Return the rows of the table, its columns, and those without any value; None, None and () without a table."""
    if intake.tables.version(intake.table) is None:
        return None, None, frozenset()
    rows = intake.tables.scan(intake.table)
    return rows, columns_of(rows), empty_columns(rows)


def types_wanted(like: pa.Schema | None, empty: Collection[str]) -> pa.Schema | None:
    """Return the types that new rows get: those of the table, null for its columns without any value."""
    if like is None:
        return None
    return pa.schema([(field.name, pa.null() if field.name in empty else field.type) for field in like])


def read_content(
    intake: Intake, path: Path, *, like: pa.Schema | None, empty: Collection[str] = ()
) -> tuple[str, Content]:
    """Return the hash of one file, and its content.

    like: columns of the table, which give the types; None without a table. empty: columns of the table that have no
    value yet, whose type the file decides.
    """
    with unchanged(path):
        return file_hash(path), read_file(path, intake.files, like=types_wanted(like, empty), keys=intake.keys)


def check_content(intake: Intake, name: str, hash_: str, content: Content, *, rows: pl.LazyFrame | None) -> Batch:
    """Check new rows. name: of the file or pull. rows: the rows of the table so far, None without a table."""
    frame = pl.DataFrame(content.rows)
    checked = _check(intake, frame)
    repetition = repetition_in(frame, checked.failing, rows, intake.source)
    known = repetition.known if intake.source.drops_equal_rows else repetition.known.clear()
    notes = notes_on(
        frame,
        intake.source,
        keys=intake.keys,
        naive=content.naive,
        repetition=repetition,
        now=intake.clock.now(),
    )
    report = _report(intake, checked, source=name, batch_hash=hash_, notes=notes, known=known)
    left_out = pl.concat([checked.failing.cast(pl.UInt32), known]).sort()
    return Batch(
        file=name,
        hash=hash_,
        data=content.rows,
        frame=frame,
        checked=checked,
        report=report,
        left_out=left_out,
        repetition=repetition,
    )


def check_frame(intake: Intake, frame: pl.DataFrame, *, source: str, batch_hash: str) -> CheckReport:
    """Check rows of a table and return the report. Raises PolicyError when a check cannot run."""
    checked = _check(intake, frame)
    return _report(intake, checked, source=source, batch_hash=batch_hash, notes=(), known=None)


def _check(intake: Intake, frame: pl.DataFrame) -> Checked:
    return check(frame, intake.schema, timestamp=intake.source.timestamp, known_at=intake.source.known_at)


def _report(
    intake: Intake,
    checked: Checked,
    *,
    source: str,
    batch_hash: str,
    notes: tuple[CheckFailure, ...],
    known: pl.Series | None,
) -> CheckReport:
    return report_of(
        checked,
        table=intake.table,
        source=source,
        batch_hash=batch_hash,
        max_share=intake.max_share,
        quarantine=quarantine_table(intake.table),
        now=intake.clock.now(),
        notes=notes,
        known=known,
    )


def expect_columns(intake: Intake, place: str, table: pa.Schema, batch: pa.Schema, empty: Collection[str]) -> None:
    """Raise DataError when the columns of new rows differ from those of the table. place: where the rows came from."""
    problems = difference(table, batch, empty=empty)
    if intake.add_columns:
        problems = [problem for problem in problems if not problem.startswith("+")]
    if not problems:
        return
    hint = ""
    if all(problem.startswith("+") for problem in problems):
        hint = "\nTo let tables grow, set checks.evolution.add_columns: allow in trimtab.yaml"
    elif isinstance(intake.source, FileSource) and all(problem.startswith("~") for problem in problems):
        hint = (
            "\nIf the file is right, read all files of the source again, so that the column gets a type that fits them "
            f"all (earlier versions of the table stay): trimtab ingest {intake.source.name} --rebuild"
        )
    lines = "\n  ".join(problems)
    raise DataError(f"{place}: its columns differ from those of table '{intake.table}':\n  {lines}{hint}")
