"""Checks the rows of one batch against a Pandera schema, and turns the result into a `CheckReport`.

Checks never change data: a schema that coerces values or drops rows does so in a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from trimtab.clock import EPOCH
from trimtab.data.personal_data import mask
from trimtab.errors import PolicyError
from trimtab.records.data import CheckFailure, CheckReport, CheckResult
from trimtab.records.record import Verdict

if TYPE_CHECKING:
    import pandera.polars as pa
    from pandera.errors import SchemaError

NOT_NULL = "not_nullable"
"""Pandera's name for its check that no value is missing."""

PASSED = "check_output"
"""Pandera's column of truth values."""

EXAMPLE_CHARACTERS = 80

SHOWN = 5
"""Failures named in the one-line reason."""


@dataclass(frozen=True)
class Checked:
    """Result of the checks of one batch.

    failing: numbers of the rows that fail, from 0, in order. reasons: one text for each of them, such as
    "delay: less_than(60); origin: isin(['JFK'])". broken: failed checks of the batch as a whole (a missing column, a
    wrong type, a condition on an average), which cannot be met by leaving rows out.
    """

    rows: int
    failing: pl.Series
    reasons: pl.Series
    failures: tuple[CheckFailure, ...]
    broken: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the rows that fail."""
        return len(self.failing) / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class _Finding:
    """One check that failed. passed: bool for each row; None if the check is about the whole batch."""

    failure: CheckFailure
    passed: pl.Series | None

    @property
    def label(self) -> str:
        return f"{self.failure.column}: {self.failure.check}"


def check(
    frame: pl.DataFrame,
    schema: pa.DataFrameSchema | None,
    *,
    timestamp: str,
    known_at: str | None = None,
    pii: Collection[str] = (),
) -> Checked:
    """Check a batch against a schema, and that `timestamp` is never null and `known_at` never before it.

    frame: the rows. schema: None for only these two checks. timestamp, known_at: columns of the batch. pii: columns
    whose values are not shown. Raises PolicyError when a check cannot run.
    """
    findings = _run(frame, schema) if schema is not None else []
    if not any(found.failure.column == timestamp and found.failure.check == NOT_NULL for found in findings):
        findings = [*_null_times(frame, timestamp), *findings]
    if known_at is not None:
        findings += _known_too_early(frame, timestamp, known_at)
    findings = [_masked(found, pii) for found in findings]
    failing, reasons = _rows(findings)
    return Checked(
        rows=frame.height,
        failing=failing,
        reasons=reasons,
        failures=tuple(found.failure for found in findings),
        broken=tuple(f"{found.label}: {found.failure.example}" for found in findings if found.passed is None),
    )


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
    results: tuple[CheckResult, ...] = (),
) -> CheckReport:
    """Return the report on one batch. Its id is a hash of its content, so the same result is stored once.

    source: the file or table version that was checked. max_share: largest accepted share of failing rows. quarantine:
    table for the failing rows of an accepted batch. known: numbers of the rows that are left out because the table has
    them already. results: of the checks of the batch as a whole.
    """
    verdict = worst(_verdict(checked, max_share), *(result.verdict for result in results))
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
        quarantine=quarantine if verdict == "warn" and len(checked.failing) else None,
        reason=_reason(checked, source, max_share, results),
        notes=notes,
        known_rows=0 if known is None else len(known),
        results=results,
    )
    digest = hashlib.sha256(msgspec.json.encode(report, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, id=f"{table}/{batch_hash[:12]}/{digest[:12]}", created_at=now)


def worst(*verdicts: Verdict) -> Verdict:
    """Return the worst of some verdicts."""
    return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass"


def failure_lines(report: CheckReport) -> list[str]:
    """Return one line for each failed check, for messages."""
    return [
        *(
            f"{failure.column}: {failure.check}: {_count(failure.rows)}, for example {failure.example}"
            for failure in report.failures
        ),
        *result_lines(report.results),
    ]


def result_lines(results: Iterable[CheckResult]) -> list[str]:
    """Return one line for each check of a batch as a whole that did not pass."""
    return [f"{result.check}: {result.reason}" for result in results if result.verdict != "pass"]


def _masked(found: _Finding, pii: Collection[str]) -> _Finding:
    """Return a finding that shows no value of `pii`. Findings on the whole batch show types and names alone."""
    if found.passed is None:
        return found
    example = mask(found.failure.column, found.failure.example, pii)
    return replace(found, failure=msgspec.structs.replace(found.failure, example=example))


def _rows(findings: list[_Finding]) -> tuple[pl.Series, pl.Series]:
    """Return the numbers of the rows that fail any check, and the reasons of each."""
    passed = {str(n): found.passed for n, found in enumerate(findings) if found.passed is not None}
    if not passed:
        return pl.Series("row", [], dtype=pl.UInt32), pl.Series("reason", [], dtype=pl.String)
    marks = pl.DataFrame(passed)
    failing = marks.select(~pl.all_horizontal(pl.all())).to_series().arg_true()
    labels = [pl.when(~pl.col(n)).then(pl.lit(findings[int(n)].label)) for n in passed]
    reasons = marks[failing].select(pl.concat_str(labels, separator="; ", ignore_nulls=True)).to_series()
    return failing.alias("row"), reasons.alias("reason")


def _null_times(frame: pl.DataFrame, timestamp: str) -> list[_Finding]:
    passed = frame[timestamp].is_not_null()
    missing = int((~passed).sum())
    if not missing:
        return []
    return [_Finding(CheckFailure(column=timestamp, check=NOT_NULL, rows=missing, example="null"), passed)]


def _known_too_early(frame: pl.DataFrame, timestamp: str, known_at: str) -> list[_Finding]:
    """Find rows known before their timestamp: their values would be used before they existed."""
    passed = (frame[known_at] >= frame[timestamp]).fill_null(True)
    early = frame.select(timestamp, known_at).filter(~passed)
    if early.is_empty():
        return []
    example = f"{early[known_at][0]} is before {early[timestamp][0]}"
    failure = CheckFailure(column=known_at, check=f"not_before({timestamp})", rows=early.height, example=example)
    return [_Finding(failure, passed)]


def _run(frame: pl.DataFrame, schema: pa.DataFrameSchema) -> list[_Finding]:
    # imported here, because Pandera takes more than a second to import and most commands check nothing
    from pandera.config import ValidationDepth, config_context
    from pandera.errors import SchemaErrors

    if schema.drop_invalid_rows:  # it would hide the failing rows
        schema = deepcopy(schema)
        schema.drop_invalid_rows = False
    try:
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        return [_finding(frame, error) for error in errors.schema_errors]
    except Exception as error:  # user code may raise anything
        raise PolicyError(
            f"the checks of schema '{schema.name}' cannot run: {type(error).__name__}: {_first_line(error)}. "
            "A check returns a frame with one truth value a row, or one for the whole batch"
        ) from error
    return []


def _finding(frame: pl.DataFrame, error: SchemaError) -> _Finding:
    passed = _row_by_row(frame, error)
    cases = error.failure_cases
    if isinstance(cases, pl.DataFrame):
        example = (
            ", ".join(str(value) for value in cases.row(0)) if passed is not None and cases.height else "is not met"
        )
    else:
        example = _first_line(error if cases is None else cases)
    check = error.check
    failure = CheckFailure(
        column=error.column_name or _column_of(error),
        check=str(getattr(check, "error", None) or getattr(check, "name", None) or check),
        rows=frame.height if passed is None else int((~passed).sum()),
        example=example[:EXAMPLE_CHARACTERS],
    )
    return _Finding(failure, passed)


def _first_line(value: object) -> str:
    return next(iter(str(value).splitlines()), "")


def _row_by_row(frame: pl.DataFrame, error: SchemaError) -> pl.Series | None:
    """Return for each row whether it passed, or None if the check has one result for the whole batch."""
    output = error.check_output
    if not isinstance(output, pl.DataFrame) or output.height != frame.height or PASSED not in output.columns:
        return None
    return output[PASSED].fill_null(True)


def _column_of(error: SchemaError) -> str:
    """Return the missing or unexpected column, or '*' for a check of whole rows."""
    missing = error.reason_code is not None and error.reason_code.name in (
        "COLUMN_NOT_IN_DATAFRAME",
        "COLUMN_NOT_IN_SCHEMA",
    )
    return str(error.failure_cases) if missing else "*"


def _verdict(checked: Checked, max_share: float) -> Verdict:
    if checked.broken or checked.share > max_share:
        return "fail"
    return "warn" if len(checked.failing) else "pass"


def _reason(checked: Checked, source: str, max_share: float, results: Sequence[CheckResult]) -> str:
    rows = _verdict(checked, max_share)
    if checked.broken:
        return f"{source} as a whole fails: {_some(list(checked.broken))}"
    failing = [result for result in results if result.verdict == "fail"]
    if rows == "pass" or (failing and rows != "fail"):
        lines = result_lines(failing or results)
        return f"{source}: {_some(lines) if lines else f'all of {_count(checked.rows)} pass'}"
    labels = [f"{failure.column}: {failure.check}" for failure in checked.failures]
    relation = "more than" if rows == "fail" else "within"
    return (
        f"{source}: {len(checked.failing):,} of {_count(checked.rows)} ({checked.share:.2%}) fail, {relation} the "
        f"{max_share:.2%} that may: {_some(labels)}"
    )


def _count(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def _some(texts: list[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
