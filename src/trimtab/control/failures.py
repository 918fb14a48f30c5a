"""What failed before a decision: retrainings that ended by an error, and batches that the checks refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trimtab.control.decision import Draft
from trimtab.control.history import ControlHistory
from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.record import Verdict
from trimtab.stores.metadata.contract import Metadata, newest_until
from trimtab.units import plural

REFUSED: Verdict = "fail"
SECONDS_OF_A_DAY = 86_400


def ask_about_failure(draft: Draft, history: ControlHistory) -> Draft:
    """Return the decision as a review when a retraining has failed and no person was asked since.

    A failure is an error of a stage, after its retries; a refusal by a gate is none.
    """
    if history.failure is None or history.frozen is not None or draft.action not in ("monitor", "review"):
        return draft
    reasons = (*draft.reasons, f"a person should look: {history.failure}")
    if draft.action == "review":
        return replace(draft, reasons=reasons)
    return replace(draft, action="review", trigger="failure", reasons=reasons)


def last_good_data(metadata: Metadata, tables: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each table whose newest batch was refused: which version is used, and how old it is."""
    return tuple(text for table in tables if (text := _last_good(metadata, table)) is not None)


def _last_good(metadata: Metadata, table: str) -> str | None:
    version = next(iter(metadata.find(TableVersion, table=table, limit=1)), None)
    if version is None:
        return None
    since = newest_until(metadata, CheckReport, lambda r: r.created_at <= version.created_at, table=table)
    refused = [r for r in since if r.verdict == REFUSED and not r.source.startswith(f"{table}@")]
    if not refused:
        return None
    newest = refused[0]
    days = (newest.created_at - version.created_at).total_seconds() / SECONDS_OF_A_DAY
    batches = plural(len({r.batch_hash for r in refused}), "batch", "batches")
    return (
        f"the last good version of table '{table}', {version.version}, is used: {batches} refused since; the newest "
        f"({newest.source}) came {days:.1f} days after it: {newest.reason}"
    )
