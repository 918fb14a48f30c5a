"""Takes the rows of a connector into a table: pull, check, quarantine, append with the state, record.

A process may be killed anywhere. Rows and state are one commit of the table, so the next process goes on where the
rows end. The id of a batch follows from the state before it, so the same rows are never appended twice. One process at
a time ingests a source: the caller holds a lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pyarrow as pa

from trimtab.data.batch import Batch, Intake, check_content, expect_columns, table_so_far, types_wanted
from trimtab.data.connectors.contract import Connector, Pull
from trimtab.data.file_reading import Content, content_of, with_columns
from trimtab.data.ingest import Ingested, ingested, quarantine_failing, record_versions, refuse_failing
from trimtab.data.quarantine import quarantine_table, row_texts
from trimtab.errors import StoreError


def ingest_pulls(intake: Intake, connector: Connector) -> Iterator[Ingested]:
    """Take the new rows of a source into its table, and yield one result for each pull after its commit.

    A pull without new rows gives no result. Its state is written only if it has no rows at all, or moves.

    Args:
        intake: the source, its table and its checks.
        connector: gives the rows.

    Raises:
        DataError: the rows cannot be read, or have other columns than the table.
        StoreError: the origin cannot be reached, or the table has lost rows.
        CheckFailed: too many rows of a pull fail; its report is written, and the next process begins with it again.
        PolicyError: the checks cannot be loaded or cannot run.
    """
    _expect_whole(intake)
    state = intake.tables.state(intake.table)
    for pull in connector.pulls(state):
        done = take(intake, pull, since=state)
        if done is not None:
            yield done
        state = pull.state


def take(intake: Intake, pull: Pull, *, since: str | None) -> Ingested | None:
    """Check the rows of one pull and append them with its state; None when none of them is new.

    since: the state before the pull. Raises as `ingest_pulls`.
    """
    if pull.frame.is_empty():
        _move(intake, pull.state, since)
        return None
    batch = _checked(intake, pull, pull_id(intake.table, since))
    if len(batch.left_out) == batch.frame.height and not batch.report.failing_rows:
        if pull.moves:
            _move(intake, pull.state, since)
        return None
    if intake.tables.batch_version(intake.table, batch.hash) is not None:
        raise StoreError(
            f"{intake.source.where}: {pull.label} begins where rows in table '{intake.table}' began, although others "
            "came after them; its connector gave one state twice"
        )
    intake.metadata.put(batch.report)
    refuse_failing(intake, batch)
    rows = quarantine_failing(intake, batch)
    intake.tables.append(intake.table, rows, batch=batch.hash, add_columns=intake.add_columns, state=pull.state)
    return ingested(intake, batch)


def _move(intake: Intake, state: str, since: str | None) -> None:
    """Append no rows with the state after them, so that the next pull begins there."""
    if state != since and intake.tables.version(intake.table) is not None:
        nothing = intake.tables.scan(intake.table).head(0).collect().to_arrow()
        intake.tables.append(intake.table, nothing, batch=pull_id(intake.table, since), state=state)


def pull_id(table: str, since: str | None) -> str:
    """Return the id of the batch that comes after a state of a source."""
    return hashlib.sha256(f"{table}\0{since or ''}".encode()).hexdigest()


def _checked(intake: Intake, pull: Pull, hash_: str) -> Batch:
    place = f"{intake.source.where}: {pull.label}"
    rows, like, empty = table_so_far(intake)
    content = content_of(
        pull.frame.to_arrow(), intake.source, place=place, like=types_wanted(like, empty), keys=intake.keys
    )
    if like is not None and pull.sparse:
        content = replace(content, rows=with_columns(content.rows, like))
    changed = expect_columns(intake, place, like, content.rows.schema, empty)
    batch = check_content(intake, pull.label, hash_, content, rows=rows, changed=changed)
    known = _in_quarantine(intake, batch)
    if known is None:
        return batch
    kept = Content(content.rows.filter(known), content.naive)
    return check_content(intake, pull.label, hash_, kept, rows=rows, changed=changed)


def _in_quarantine(intake: Intake, batch: Batch) -> pa.Array | None:
    """Return which rows to keep, when failing ones are in quarantine already; None to keep all.

    Only of sources whose rows may be given twice.
    """
    failing, name = batch.checked.failing, quarantine_table(intake.table)
    if not intake.source.drops_equal_rows or not len(failing) or intake.tables.version(name) is None:
        return None
    texts = pl.Series(row_texts(batch.frame, failing), dtype=pl.String)
    before = intake.tables.scan(name).select("row").filter(pl.col("row").is_in(texts.implode())).collect()["row"]
    gone = failing.filter(texts.is_in(before.implode())).cast(pl.Int64)
    if gone.is_empty():
        return None
    return (~pl.int_range(batch.frame.height, eager=True).is_in(gone.implode())).to_arrow()


def _expect_whole(intake: Intake) -> None:
    """Raise StoreError when versions of the table are recorded that it does not have."""
    recorded = record_versions(intake.table, tables=intake.tables, metadata=intake.metadata, clock=intake.clock)
    newest = intake.tables.version(intake.table)
    lost = [version for version in recorded if newest is None or version.version > newest]
    if lost:
        raise StoreError(
            f"table '{intake.table}' has lost version {lost[0].version} with the rows of {lost[0].source}, and where "
            "they ended: restore the table from a backup"
        )
