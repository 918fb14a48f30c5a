"""Records of ingested tables: versions, and results of the checks."""

from __future__ import annotations

from typing import Literal

import msgspec

from trimtab.records.record import Record, Verdict


class TableVersion(Record, frozen=True, kw_only=True):
    """One immutable snapshot of an ingested table; id is `table@version`."""

    KIND = "table_version"
    KEYS = ("table",)

    table: str
    version: int
    rows: int
    added_rows: int
    content_hash: str
    """Over the content hashes of all batches up to this version, in order."""
    schema: dict[str, str]
    source: str
    """Name of the file or system the batch came from."""
    source_hash: str
    """SHA-256 of the batch as it arrived; a batch that has been ingested is never ingested twice."""
    replaces_all: bool = False
    """True after all files were read again: the version holds the rows of all earlier versions, and adds none."""


class CheckFailure(msgspec.Struct, frozen=True, kw_only=True):
    """One check that some rows failed."""

    column: str
    check: str
    rows: int
    example: str


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check of a batch or a table as a whole."""

    check: str
    """Such as volume, freshness, duplicates, references.carrier, distribution, evolution."""
    verdict: Verdict
    reason: str
    value: float | None = None
    """What was measured: rows, seconds, a share or a p-value."""
    limit: float | None = None
    """What it was compared with, in the same unit."""


class CheckReport(Record, frozen=True, kw_only=True):
    """The results of the checks of one batch, and the table of its quarantined rows."""

    KIND = "check_report"
    KEYS = ("table", "batch_hash", "verdict")

    table: str
    batch_hash: str
    source: str
    """Name of the file that was checked, or id of the TableVersion."""
    content_hash: str
    """Over the batch hash and the numbers of the failing rows; it identifies the rows that go into the table."""
    verdict: Verdict
    rows: int
    failing_rows: int
    max_failing_share: float
    failures: tuple[CheckFailure, ...]
    quarantine: str | None
    """Table that holds the failing rows with their reasons, or None."""
    reason: str
    notes: tuple[CheckFailure, ...] = ()
    """Findings that do not refuse rows, such as null keys and times in the future."""
    known_rows: int = 0
    """Rows that were left out because the table has them already; only for sources with a key."""
    replaces_all: bool = False
    """True when the batch holds the rows of all files, read again."""
    results: tuple[CheckResult, ...] = ()
    """Of the checks of the batch as a whole that the policy asks for."""


class QuarantineEnd(Record, frozen=True, kw_only=True):
    """A person's answer to quarantined rows: they were released into the table, or dropped. It is in the ledger."""

    KIND = "quarantine_end"
    KEYS = ("table", "batch")

    table: str
    batch: str
    """`batch_hash` of the report that put the rows into the quarantine."""
    report: str
    source: str
    """Name of the file or system the batch came from."""
    rows: tuple[int, ...]
    """Numbers of the rows in the batch, the first being 1."""
    outcome: Literal["released", "dropped"]
    forced: bool = False
    """True if rows were released that fail the checks."""
    reason: str
    by: str
