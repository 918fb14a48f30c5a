"""Lands micro-batches of a stream in its table: read, check, quarantine, append with the state.

A stream commits every second or so, for months. So a micro-batch costs what its own rows cost: it is not compared with
the rows of the table, and it leaves no record of its own unless rows were refused. `record_version` writes the record
of the newest version for who needs one. A stream goes on whatever its messages are: a message that cannot be read, or
whose row fails a check, goes to the quarantine table alone, under its topic, partition and offset.

Rows and state are one commit, which names the state before: of two processes that land the same messages, one is
refused (`Conflict`), and goes on from the state of the other.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from trimtab.data.batch import Intake, table_so_far, types_wanted
from trimtab.data.checks import Checked, check, report_of
from trimtab.data.connectors.message_rows import Message, Refusal, RowReader
from trimtab.data.connectors.micro_batches import StreamConnector
from trimtab.data.connectors.pulling import pull_id
from trimtab.data.ingest import Ingested
from trimtab.data.notes import Repetition, note_lines, notes_on
from trimtab.data.quarantine import COLUMNS, quarantine_table, row_texts
from trimtab.errors import DataError
from trimtab.records.data import CheckFailure, CheckReport, TableVersion
from trimtab.stores.metadata.contract import latest

log = logging.getLogger(__name__)

VALIDATED = "is judged by trimtab validate, not while a stream lands"
BATCH_CHECKS = {
    "volume": "is for files and pulls, not for streams",
    "distribution": "is for files and pulls, not for streams",
    "duplicates": VALIDATED,
    "references": VALIDATED,
}
UNREADABLE = "readable"
"""Name of the check that a message gives a row."""
MOST_UNREADABLE = 1_000
"""A stream whose first messages are all unreadable is read in another format than it is written in."""


@dataclass(frozen=True)
class Landed:
    """What became of one micro-batch. frame: the rows that are new in the table; version: the table's.

    first: number of the first of them in the table.
    """

    label: str
    rows: int
    refused: int
    version: int
    frame: pl.DataFrame
    first: int


class Landing:
    """The table of one stream, and how messages become its rows. One process at a time lands a stream."""

    def __init__(
        self,
        intake: Intake,
        *,
        decode: Callable[[bytes], dict[str, Any]] | None = None,
        metadata: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        """Open it. decode, metadata: as in `RowReader`."""
        self._intake = intake
        self._decode, self._metadata = decode, metadata or {}
        self._like: pa.Schema | None = None
        self._version = -1
        self._rows = 0
        self._held: tuple[Message, ...] = ()
        self._told: set[tuple[str, str]] = set()
        for name, what in BATCH_CHECKS.items():
            if getattr(intake.own, name):
                log.warning("%s: checks.%s.%s %s", intake.source.where, intake.table, name, what)
        self._reader: RowReader
        self._open()

    def state(self) -> str | None:
        """Return the state of the table: where its rows end."""
        return self._intake.tables.state(self._intake.table)

    def land(self, messages: Sequence[Message], *, since: str | None, state: str, label: str) -> Landed | None:
        """Append the rows of messages with the state after them; None where there is no table yet, and no row.

        The messages of a batch that gave None are held, and land with the next one. since: the state of the table.
        Raises DataError when no message of a new stream gives a row.
        """
        messages = (*self._held, *messages) if self._held else messages
        rows = self._reader.rows(messages)
        frame = pl.DataFrame(rows.data)
        checked = _row_by_row(self._check(frame))
        kept = _without(rows.data, checked.failing)
        if self._like is None and not kept.num_rows:
            failed = self._failed(frame, checked, rows.origins)
            _expect_rows(self._intake.source.where, [*rows.refused, *failed], label)
            self._held = tuple(messages)
            return None
        batch, failed = pull_id(self._intake.table, since), self._failed(frame, checked, rows.origins)
        if rows.refused or failed:
            self._quarantine(checked, [*rows.refused, *failed], batch=batch, label=label, messages=len(messages))
        self._tell_notes(kept)
        first, version = self._append(kept, batch=batch, since=since, state=state)
        self._held = ()
        return Landed(label, kept.num_rows, len(rows.refused) + len(failed), version, pl.DataFrame(kept), first)

    def record(self, label: str) -> TableVersion | None:
        """Write the record of the table's newest version, if it has none, and return it; None without a table.

        Its hash follows from the state, which says which messages the rows came from.
        """
        intake, name = self._intake, self._intake.table
        version, state = intake.tables.version(name), self.state()
        if version is None or state is None:
            return None
        before = latest(intake.metadata, TableVersion, table=name)
        if before is not None and before.version >= version:
            return before
        rows = self._rows if version == self._version else self._count(version)
        made = TableVersion(
            id=f"{name}@{version}",
            created_at=intake.clock.now(),
            table=name,
            version=version,
            rows=rows,
            added_rows=rows - (before.rows if before is not None else 0),
            content_hash=hashlib.sha256(f"{name}\0{version}\0{state}".encode()).hexdigest(),
            schema=intake.tables.schema(name, version=version) or {},
            source=label,
            source_hash=hashlib.sha256(state.encode()).hexdigest(),
        )
        intake.metadata.put(made)
        return made

    def _tell_notes(self, rows: pa.Table) -> None:
        """Log what is odd of rows that pass all checks: once for each column and kind."""
        nothing = Repetition(pl.Series("row", [], dtype=pl.UInt32), 0)
        found = notes_on(
            pl.DataFrame(rows),
            self._intake.source,
            keys=self._intake.keys,
            naive=self._reader.naive,
            repetition=nothing,
            now=self._intake.clock.now(),
        )
        new = [note for note in found if (note.column, note.check) not in self._told]
        self._told |= {(note.column, note.check) for note in new}
        for line in note_lines(new):
            log.warning("%s: %s", self._intake.source.where, line)

    def _append(self, rows: pa.Table, *, batch: str, since: str | None, state: str) -> tuple[int, int]:
        """Append rows, and return the number of the first of them in the table, and its version."""
        name = self._intake.table
        tables = self._intake.tables
        version = tables.append(name, rows, batch=batch, add_columns=True, state=state, after=since)
        if self._like is None or version != self._version + 1 or _differs(self._like, rows.schema):
            self._open()  # it is new, has other columns, or another process has written to it
        else:
            self._version, self._rows = version, self._rows + rows.num_rows
        return self._rows - rows.num_rows, version

    def _count(self, version: int) -> int:
        return int(self._intake.tables.scan(self._intake.table, version=version).select(pl.len()).collect().item())

    def _open(self) -> None:
        """Read the columns of the table as they are now."""
        intake = self._intake
        _, columns, empty = table_so_far(intake)
        self._like = types_wanted(columns, empty)
        found = intake.tables.version(intake.table)
        self._version = -1 if found is None else found
        self._rows = 0 if found is None else self._count(found)
        self._reader = RowReader(
            intake.source,
            decode=self._decode,
            like=self._like,
            keys=intake.keys,
            add_columns=intake.add_columns,
            metadata=self._metadata,
        )

    def _check(self, frame: pl.DataFrame) -> Checked:
        source = self._intake.source
        return check(frame, self._intake.schema, timestamp=source.timestamp, known_at=source.known_at, pii=source.pii)

    def _failed(self, frame: pl.DataFrame, checked: Checked, origins: Sequence[Message]) -> list[Refusal]:
        texts = row_texts(frame, checked.failing)
        found = zip(checked.failing.to_list(), checked.reasons.to_list(), texts, strict=True)
        return [Refusal(origins[n].place, origins[n].number, reason, text) for n, reason, text in found]

    def _quarantine(
        self, checked: Checked, refused: Sequence[Refusal], *, batch: str, label: str, messages: int
    ) -> None:
        """Write the report on refused messages, and the messages. Idempotent."""
        intake, name = self._intake, quarantine_table(self._intake.table)
        report = _report(intake, checked, refused, batch=batch, label=label, messages=messages)
        intake.metadata.put(report)
        columns = {
            "_batch": [report.batch_hash] * len(refused),
            "_report": [report.id] * len(refused),
            "_file": [each.place for each in refused],
            "_row": [each.number for each in refused],
            "_reason": [each.reason for each in refused],
            "row": [each.text for each in refused],
        }
        intake.tables.append(name, pa.table(columns, schema=COLUMNS), batch=report.id)


def _report(
    intake: Intake, checked: Checked, refused: Sequence[Refusal], *, batch: str, label: str, messages: int
) -> CheckReport:
    """Return the report on a micro-batch, whose refused messages are in quarantine however many they are."""
    failures = list(checked.failures)
    unreadable = refused[: len(refused) - len(checked.failing)]
    if unreadable:
        example = f"{unreadable[0].place} offset {unreadable[0].number}: {unreadable[0].reason}"
        failures.append(CheckFailure(column="*", check=UNREADABLE, rows=len(unreadable), example=example))
    numbers = pl.Series("row", [each.number for each in refused], dtype=pl.Int64)
    reasons = pl.Series("reason", [each.reason for each in refused], dtype=pl.String)
    all_ = Checked(rows=messages, failing=numbers, reasons=reasons, failures=tuple(failures), broken=())
    return report_of(
        all_,
        table=intake.table,
        source=label,
        batch_hash=hashlib.sha256(f"{batch}/refused".encode()).hexdigest(),  # it makes no version of the table
        max_share=1.0,
        quarantine=quarantine_table(intake.table),
        now=intake.clock.now(),
    )


def _row_by_row(checked: Checked) -> Checked:
    """Return the result of checks in which a failed check of the whole batch refuses each of its rows."""
    if not checked.broken or not checked.rows:
        return checked
    reason = "; ".join(checked.broken)
    every = pl.int_range(checked.rows, eager=True, dtype=pl.UInt32).alias("row")
    reasons = pl.Series("reason", [reason] * checked.rows, dtype=pl.String)
    return Checked(checked.rows, every, reasons, checked.failures, ())


def _without(rows: pa.Table, failing: pl.Series) -> pa.Table:
    if not len(failing):
        return rows
    return rows.filter((~pl.int_range(rows.num_rows, eager=True).is_in(failing.cast(pl.Int64).implode())).to_arrow())


def _differs(like: pa.Schema, rows: pa.Schema) -> bool:
    """Return True if rows have a column, or a type, that the table did not have."""
    known = {column.name: column.type for column in like}
    return any(known.get(column.name) != column.type for column in rows)


def _expect_rows(where: str, refused: Collection[Refusal], label: str) -> None:
    """Raise DataError if so many first messages gave no row."""
    if len(refused) >= MOST_UNREADABLE:
        first = next(iter(refused))
        raise DataError(
            f"{where}: {label}: none of the first {len(refused):,} messages gives a row; the first, {first.place} "
            f"offset {first.number}: {first.reason}"
        )


def land_batches(intake: Intake, connector: StreamConnector) -> Iterator[Ingested]:
    """Land the messages that there are now, and yield one result for each micro-batch after its commit."""
    landing = Landing(intake, decode=connector.decode, metadata=connector.metadata)
    state = landing.state()
    for batch in connector.pulls(state):
        landed = landing.land(batch.messages, since=state, state=batch.state, label=batch.label)
        if landed is None:
            continue
        state, version = batch.state, landing.record(batch.label)
        assert version is not None
        yield Ingested(intake.table, batch.label, landed.rows, landed.refused, version)
