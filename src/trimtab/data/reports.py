"""Turns what the checks found into the record of it; called by ingest and validate."""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec
import polars as pl

from trimtab.clock import EPOCH
from trimtab.data.checks import Checked
from trimtab.records import CheckFailure, CheckReport, Verdict

SHOWN = 5
"""Failures named in the one-line reason."""


def report_of(
    checked: Checked,
    *,
    table: str,
    source: str,
    batch_hash: str,
    max_share: float,
    quarantine: str | None,
    now: datetime,
    notes: tuple[CheckFailure, ...] = (),
    known: pl.Series | None = None,
) -> CheckReport:
    """Return the report on one batch. Its id covers its content, so that the same finding is written once.

    max_share: largest share of failing rows that is let through. quarantine: table for the failing rows of a
    batch that is let through. known: numbers of rows that are left out, because the table has them.
    """
    verdict = _verdict(checked, max_share)
    rows = checked.failing.cast(pl.Int64).to_numpy().tobytes()
    if known is not None and len(known):
        rows += b"known" + known.cast(pl.Int64).to_numpy().tobytes()
    report = CheckReport(
        id="",
        created_at=EPOCH,
        table=table,
        source=source,
        batch_hash=batch_hash,
        content_hash=hashlib.sha256(batch_hash.encode() + rows).hexdigest(),
        verdict=verdict,
        rows=checked.rows,
        failing_rows=len(checked.failing),
        max_failing_share=max_share,
        failures=checked.failures,
        quarantine=quarantine if verdict == "warn" else None,
        reason=_reason(checked, source, verdict, max_share),
        notes=notes,
        known_rows=0 if known is None else len(known),
    )
    digest = hashlib.sha256(msgspec.json.encode(report, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, id=f"{table}/{batch_hash[:12]}/{digest[:12]}", created_at=now)


def failure_lines(report: CheckReport) -> list[str]:
    """Return one line a failed check, for messages."""
    return [
        f"{failure.column}: {failure.check}: {_rows(failure.rows)}, for example {failure.example}"
        for failure in report.failures
    ]


def _verdict(checked: Checked, max_share: float) -> Verdict:
    if checked.broken or checked.share > max_share:
        return "fail"
    return "warn" if len(checked.failing) else "pass"


def _reason(checked: Checked, source: str, verdict: Verdict, max_share: float) -> str:
    if checked.broken:
        return f"{source} as a whole fails: {_some(list(checked.broken))}"
    if not len(checked.failing):
        return f"{source}: all of {_rows(checked.rows)} pass"
    labels = [f"{failure.column}: {failure.check}" for failure in checked.failures]
    relation = "more than" if verdict == "fail" else "within"
    return (
        f"{source}: {len(checked.failing):,} of {_rows(checked.rows)} ({checked.share:.2%}) fail, {relation} the "
        f"{max_share:.2%} that may: {_some(labels)}"
    )


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def _some(texts: list[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
