"""The page of a validation, with the batches that came before."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.overviews.wording import count, instant
from trimtab.app.pages.page_parts import Cell, Column, Figure, Page, Section, Table, write_page
from trimtab.charts.choice_panels import BatchBar, batches_panel
from trimtab.charts.theme import Frame
from trimtab.records.data import CheckReport
from trimtab.records.record import Verdict
from trimtab.units import plural

MOST_BATCHES = 60
"""Batches that are drawn."""
WORDS: dict[Verdict, str] = {"pass": "All checks pass", "warn": "Passed with warnings", "fail": "Failed"}
TONES: dict[Verdict, str] = {"pass": "pass", "warn": "moderate", "fail": "severe"}


def checks_page(reports: Sequence[CheckReport], batches: Sequence[Sequence[CheckReport]]) -> str:
    """Return the page. Raises MissingExtra without the extra `console`.

    Args:
        reports: one for each validated table.
        batches: for each of them the reports on its last batches, oldest first.
    """
    worst: Verdict = max((r.verdict for r in reports), key=list(WORDS).index, default="pass")
    columns = [Column("Table"), Column("Verdict", True), Column("Rows"), Column("Failing"), Column("Why", True)]
    rows = [
        (r.table, Cell(r.verdict, TONES[r.verdict]), count(r.rows), count(r.failing_rows), r.reason) for r in reports
    ]
    parts = [part for each, before in zip(reports, batches, strict=True) for part in _table(each, before)]
    return write_page(
        Page(
            title=f"Checks of {plural(len(reports), 'table')}",
            sentence=WORDS[worst],
            tone=TONES[worst],
            sections=[Section(heading="Tables", table=Table(columns, rows)), *parts],
            foot=[f"Checked {instant(max(r.created_at for r in reports))}."] if reports else [],
        )
    )


def _table(report: CheckReport, before: Sequence[CheckReport]) -> list[Section]:
    lead = f"{WORDS[report.verdict]}: {report.reason}"
    return [Section(heading=report.source, lead=lead, table=_results(report)), *_failures(report), *_batches(before)]


def _results(report: CheckReport) -> Table | None:
    if not report.results:
        return None
    columns = [Column("Check"), Column("Verdict", True), Column("Value"), Column("Limit"), Column("Why", True)]
    rows = [
        (r.check, Cell(r.verdict, TONES[r.verdict]), _number(r.value), _number(r.limit), r.reason)
        for r in report.results
    ]
    return Table(columns, rows)


def _failures(report: CheckReport) -> list[Section]:
    if not report.failures:
        return []
    columns = [Column("Column"), Column("Failed check", True), Column("Rows"), Column("Share"), Column("Example", True)]
    rows = [
        (
            f.column,
            Cell(f.check, code=True),
            count(f.rows),
            f"{f.rows / max(report.rows, 1):.2%}",
            Cell(f.example, code=True),
        )
        for f in sorted(report.failures, key=lambda f: -f.rows)
    ]
    return [Section(heading=f"{report.source}: rows that fail", table=Table(columns, rows))]


def _batches(before: Sequence[CheckReport]) -> list[Section]:
    """Draw the rows of each batch, in the colour of its verdict."""
    shown = before[-MOST_BATCHES:]
    if len(shown) < 2:
        return []
    counts = ", ".join(
        f"{sum(r.verdict == verdict for r in shown)} {word}"
        for verdict, word in (("pass", "passed"), ("warn", "with warnings"), ("fail", "refused"))
    )
    bars = [BatchBar(name=r.source, rows=r.rows, verdict=r.verdict) for r in shown]
    return [
        Section(
            heading=f"Rows of the last {plural(len(shown), 'batch', 'batches')} of {shown[-1].table}",
            lead=f"The newest on the right. {counts}. A square marks a warning, a cross a refusal.",
            figures=[Figure(chart=batches_panel(bars, Frame().drawn()))],
        )
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
