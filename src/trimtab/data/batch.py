"""Reads one file of a source with the column types of its table, and checks the rows of files and of other origins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from trimtab.clock import Clock
from trimtab.data.batch_checks import (
    MOST_BATCHES,
    good_batches,
    judge_duplicates,
    judge_freshness,
    judge_reference,
    judge_volume,
)
from trimtab.data.checks import Checked, check, report_of
from trimtab.data.file_reading import Content, read_file
from trimtab.data.local_file import SourceFile, file_hash
from trimtab.data.notes import Repetition, notes_on, repetition_in
from trimtab.data.quarantine import quarantine_table
from trimtab.data.schemas import load_schema
from trimtab.definitions.sources import FileSource, Source
from trimtab.errors import DataError
from trimtab.policy.data_checks import Answer, Distribution, Evolution
from trimtab.policy.model import Checks, TableCheck
from trimtab.records.data import CheckFailure, CheckReport, CheckResult
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables
from trimtab.stores.tables.schema_fit import columns_of, difference, empty_columns, widenings

if TYPE_CHECKING:
    import pandera.polars as pandera


Compare = Callable[[Distribution, pl.LazyFrame, Sequence[int], pl.DataFrame, Source], CheckResult]
"""Takes the policy, the rows of good batches, how many each of them has, the rows of a batch, and their source."""


@dataclass(frozen=True)
class Intake:
    """A source, its table and the checks of the policy for both; the same for all files of one run."""

    source: Source
    folder: Path
    """The project folder."""
    own: TableCheck
    """The checks of the table."""
    max_share: float
    """Largest accepted share of failing rows."""
    evolution: Evolution
    keys: frozenset[str]
    """Columns that identify rows, entities or predictions."""
    tables: Tables
    metadata: Metadata
    clock: Clock
    compare: Compare | None = None

    @property
    def add_columns(self) -> bool:
        """Whether rows may have other columns than the table."""
        return {self.evolution.add_columns, self.evolution.drop} != {"refuse"}

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
        name = self.own.schema_
        return load_schema(name, self.folder, table=self.table) if name else None


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
    compare: Compare | None = None,
) -> Intake:
    """Return the intake of one source.

    keys: further columns that are keys of entities or ids of predictions. compare: judges the distribution of a batch;
    without it, it is not judged.
    """
    own = checks.tables.get(source.name, TableCheck())
    return Intake(
        source=source,
        folder=folder,
        own=own,
        max_share=checks.max_failing_rows if own.max_failing_rows is None else own.max_failing_rows,
        evolution=checks.evolution,
        keys=frozenset((*keys, *source.key)),
        tables=tables,
        metadata=metadata,
        clock=clock,
        compare=compare,
    )


def read_batch(intake: Intake, file: SourceFile) -> Batch:
    """Read and check one file. Raises DataError if it cannot be read or its columns differ from the table's."""
    rows, like, empty = table_so_far(intake)
    hash_, content = read_content(intake, file, like=like, empty=empty)
    changed = expect_columns(intake, file.where, like, content.rows.schema, empty)
    return check_content(intake, file.name, hash_, content, rows=rows, changed=changed)


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
    intake: Intake, file: SourceFile, *, like: pa.Schema | None, empty: Collection[str] = ()
) -> tuple[str, Content]:
    """Return the hash of one file, and its content.

    like: columns of the table, which give the types; None without a table. empty: columns of the table that have no
    value yet, whose type the file decides.
    """
    with file.local() as path:
        return file_hash(path), read_file(path, intake.files, like=types_wanted(like, empty), keys=intake.keys)


def check_content(
    intake: Intake,
    name: str,
    hash_: str,
    content: Content,
    *,
    rows: pl.LazyFrame | None,
    changed: tuple[CheckResult, ...] = (),
    again: bool = False,
) -> Batch:
    """Check new rows.

    name: of the file or pull. rows: the rows of the table so far, None without a table. changed: what is to be told of
    their columns. again: they were ingested before, so that they are not judged as a batch among others.
    """
    frame = pl.DataFrame(content.rows)
    checked = _check(intake, frame)
    results = changed if again else (*changed, *_as_a_whole(intake, frame, checked))
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
    report = _report(intake, checked, source=name, batch_hash=hash_, notes=notes, known=known, results=results)
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


def check_frame(
    intake: Intake, frame: pl.DataFrame, *, source: str, batch_hash: str, newest: bool = True
) -> CheckReport:
    """Check rows of a table and return the report. Raises PolicyError when a check cannot run.

    newest: they are the rows of the newest version, whose age is judged.
    """
    checked = _check(intake, frame)
    results = [*_duplicates_and_references(intake, frame)]
    if intake.own.freshness is not None and newest:
        results.append(judge_freshness(intake.own.freshness, frame[intake.source.timestamp], intake.clock.now()))
    return _report(intake, checked, source=source, batch_hash=batch_hash, notes=(), known=None, results=tuple(results))


def _check(intake: Intake, frame: pl.DataFrame) -> Checked:
    source = intake.source
    return check(frame, intake.schema, timestamp=source.timestamp, known_at=source.known_at, pii=source.pii)


def _as_a_whole(intake: Intake, frame: pl.DataFrame, checked: Checked) -> Iterator[CheckResult]:
    """Judge a batch as the policy asks. Failing rows count for its size alone."""
    own = intake.own
    passing = frame
    if len(checked.failing):
        passing = frame.filter(~pl.int_range(frame.height, eager=True).is_in(checked.failing.cast(pl.Int64).implode()))
    yield from _duplicates_and_references(intake, passing)
    if own.volume is not None:
        good = good_batches(intake.table, metadata=intake.metadata, limit=MOST_BATCHES)
        yield judge_volume(own.volume, frame.height, [batch.rows for batch in good])
    if own.distribution is not None and intake.compare is not None and passing.height:
        good = good_batches(intake.table, metadata=intake.metadata, limit=own.distribution.batches)
        table = intake.tables.scan(intake.table) if good else pl.LazyFrame(schema=frame.schema)
        before = pl.concat([table.slice(batch.first, batch.added) for batch in good]) if good else table
        yield intake.compare(own.distribution, before, [batch.added for batch in good], passing, intake.source)


def _duplicates_and_references(intake: Intake, frame: pl.DataFrame) -> Iterator[CheckResult]:
    own, source = intake.own, intake.source
    if own.duplicates is not None:
        yield judge_duplicates(own.duplicates, frame, source)
    for column, reference in own.references.items():
        yield judge_reference(column, reference, frame, intake.tables, pii=source.pii)


def _report(
    intake: Intake,
    checked: Checked,
    *,
    source: str,
    batch_hash: str,
    notes: tuple[CheckFailure, ...],
    known: pl.Series | None,
    results: tuple[CheckResult, ...],
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
        results=results,
    )


def expect_columns(
    intake: Intake, place: str, table: pa.Schema | None, batch: pa.Schema, empty: Collection[str]
) -> tuple[CheckResult, ...]:
    """Return what is to be told of columns of new rows that differ from those of the table, as the policy asks.

    place: where the rows came from. table: its columns, None without a table. Raises DataError when the policy refuses
    a difference, and for a type that does not fit.
    """
    if table is None:
        return ()
    evolution = intake.evolution
    answers: dict[str, tuple[str, Answer]] = {
        "+": ("add_columns", evolution.add_columns),
        "-": ("drop", evolution.drop),
        "^": ("widen", evolution.widen),
        "~": ("", "refuse"),
    }
    lines = [*difference(table, batch, empty=empty), *widenings(table, batch, empty=empty)]
    told = tuple(
        CheckResult(check="evolution", verdict="warn", reason=line[2:])
        for line in lines
        if answers[line[0]][1] == "warn"
    )
    refused = [line for line in lines if answers[line[0]][1] == "refuse"]
    if not refused:
        return told
    hint, kinds = "", {line[0] for line in refused}
    if "~" not in kinds:
        keys = ", ".join(f"{answers[kind][0]}: allow" for kind in "+-^" if kind in kinds)
        hint = f"\nTo let tables change so, write into trimtab.yaml: checks: {{ evolution: {{ {keys} }} }}"
    elif kinds == {"~"} and isinstance(intake.source, FileSource):
        hint = (
            "\nIf the file is right, read all files of the source again, so that the column gets a type that fits them "
            f"all (earlier versions of the table stay): trimtab ingest {intake.source.name} --rebuild"
        )
    listed = "\n  ".join(refused)
    raise DataError(f"{place}: its columns differ from those of table '{intake.table}':\n  {listed}{hint}")
