"""Releases quarantined rows into their table, or drops them, with a reason and the name of who decided.

A release may be killed anywhere, and several processes may try one at the same time: the rows are in the table once.
It writes in this order: the answer together with the report on the rows, the rows, the table version. The answer
determines all that follows, so the next command that reads the table's versions writes what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import polars as pl

from trimtab.clock import Clock
from trimtab.data.batch import Intake
from trimtab.data.checks import check, failure_lines
from trimtab.data.quarantine import ID_CHARACTERS, RefusedBatch, rows_for_table
from trimtab.errors import CheckFailed, Conflict, StageError, UsageError
from trimtab.records.data import CheckReport, QuarantineEnd
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.tables.contract import Tables
from trimtab.units import plural


def release(
    intake: Intake, batch: RefusedBatch, *, rows: Sequence[int] = (), reason: str, by: str, force: bool = False
) -> QuarantineEnd:
    """Record that held rows of a batch are released; `finish_releases` appends them to the table.

    The rows are checked by the schema as it is now.

    Args:
        intake: the source with its stores and checks.
        batch: the refused batch.
        rows: numbers of the rows, the first of the batch being 1; none for all that are held.
        reason, by: why, and who decided.
        force: release rows that fail the schema. Rows without a timestamp, and rows known before their timestamp, are
            never released.

    Raises:
        UsageError: there is no reason, no such row, or the rows were released or dropped before.
        StageError: the rest of the batch is not in the table yet.
        CheckFailed: rows still fail.
        DataError: a value does not fit the type that its column has now.
    """
    report = batch.report
    end = _end(batch, rows, "released", reason=reason, by=by, clock=intake.clock)
    if intake.tables.batch_version(intake.table, report.batch_hash) is None:
        raise StageError(
            f"the other rows of {report.source} are not in table '{intake.table}' yet; first run: "
            f"trimtab ingest {intake.table}"
        )
    frame = pl.DataFrame(rows_for_table(end, tables=intake.tables))
    timestamp, known_at = intake.source.timestamp, intake.source.known_at
    always = check(frame, None, timestamp=timestamp, known_at=known_at)
    found = check(frame, intake.schema, timestamp=timestamp, known_at=known_at)
    if len(always.failing) or ((found.failures or found.broken) and not force):
        failing = always if len(always.failing) else found
        numbers = [end.rows[place] for place in failing.failing] or list(end.rows)
        which = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
        again = msgspec.structs.replace(report, failures=failing.failures)
        lines = "".join(f"\n  {line}" for line in failure_lines(again))
        hint = "such rows are never let in; drop them" if failing is always else "to let them in: --force"
        raise CheckFailed(
            f"{report.source}: {len(numbers):,} of {plural(frame.height, 'row')} still fail ({which}); {hint}{lines}"
        )
    end = msgspec.structs.replace(end, forced=bool(found.failures))
    batch_hash, verb = released_as(end), "released with --force" if end.forced else "released"
    passed = CheckReport(
        id=f"{end.table}/{batch_hash[:ID_CHARACTERS]}/release",
        created_at=end.created_at,
        table=end.table,
        source=f"{end.source} (released)",
        batch_hash=batch_hash,
        content_hash=batch_hash,
        verdict="warn" if end.forced else "pass",
        rows=len(end.rows),
        failing_rows=0,
        max_failing_share=intake.max_share,
        failures=(),
        quarantine=None,
        reason=f"{plural(len(end.rows), 'row')} of {end.source} {verb} by {by}: {end.reason}",
        notes=found.failures,
    )
    _put(intake.metadata, batch, end, passed)
    return end


def drop(
    metadata: Metadata, batch: RefusedBatch, *, rows: Sequence[int] = (), reason: str, by: str, clock: Clock
) -> QuarantineEnd:
    """Record that held rows of a batch are dropped: they stay in the quarantine table and are handled.

    Args:
        metadata, clock: the store and the clock.
        batch, rows, reason, by: as in `release`.

    Raises:
        UsageError: there is no reason, no such row, or the rows were released or dropped before.
    """
    end = _end(batch, rows, "dropped", reason=reason, by=by, clock=clock)
    _put(metadata, batch, end)
    return end


def released_as(end: QuarantineEnd) -> str:
    """Return the batch id under which the rows of an answer are appended."""
    return hashlib.sha256(end.id.encode()).hexdigest()


def releases(table: str, metadata: Metadata) -> dict[str, QuarantineEnd]:
    """Return the releases into a table by the batch id of their rows, oldest first."""
    found = metadata.find(QuarantineEnd, table=table, oldest_first=True)
    return {released_as(end): end for end in found if end.outcome == "released"}


def append_released(end: QuarantineEnd, *, tables: Tables) -> int:
    """Append the rows of a release to the table, once, and return the version that has them."""
    return tables.append(end.table, rows_for_table(end, tables=tables), batch=released_as(end))


def finish_releases(table: str, recorded: set[str], *, tables: Tables, metadata: Metadata) -> None:
    """Append the rows of releases that ended before they had. recorded: batch ids of the recorded table versions."""
    for batch, end in releases(table, metadata).items():
        if batch not in recorded:
            append_released(end, tables=tables)


def _end(
    batch: RefusedBatch, rows: Sequence[int], outcome: str, *, reason: str, by: str, clock: Clock
) -> QuarantineEnd:
    if not reason.strip():
        raise UsageError(f"rows are {outcome} for a reason, which stands in the records: --reason '...'")
    report, held = batch.report, batch.held(rows)
    return QuarantineEnd(
        id=f"{report.table}/{report.batch_hash}/end/{len(batch.ends) + 1}",
        created_at=clock.now(),
        table=report.table,
        batch=report.batch_hash,
        report=report.id,
        source=report.source,
        rows=tuple(row.row for row in held),
        outcome="released" if outcome == "released" else "dropped",
        reason=reason.strip(),
        by=by,
    )


def _put(metadata: Metadata, batch: RefusedBatch, end: QuarantineEnd, *reports: CheckReport) -> None:
    try:
        metadata.put(end, *reports)
    except Conflict:
        raise UsageError(
            f"{batch.report.source}: another process released or dropped rows of it at the same time; look again with: "
            f"trimtab quarantine show {batch.report.source}"
        ) from None
