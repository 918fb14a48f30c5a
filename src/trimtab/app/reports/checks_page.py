"""Writes the results of a validation as one HTML page that needs no network, with the batches that came before."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from trimtab import __version__
from trimtab.app.reports.drift_page import STYLE
from trimtab.records.data import CheckReport
from trimtab.records.record import Verdict
from trimtab.units import plural

MOST_BATCHES = 60
"""Batches that are drawn."""
WIDTH, HEIGHT, GAP = 860, 110, 2
OWN_STYLE = """
:root { --warn: #b7791f; --fail: #c0341d; }
@media (prefers-color-scheme: dark) { :root { --warn: #e3b341; --fail: #ff7b66; } }
.verdict.warn { border-color: var(--warn); } .verdict.fail { border-color: var(--fail); }
td.pass { color: var(--ok); } td.warn { color: var(--warn); font-weight: 600; }
td.fail { color: var(--fail); font-weight: 600; }
td:first-child { overflow-wrap: normal; } .scroll { margin: 12px 0; }
svg rect.pass { fill: var(--before); } svg rect.warn { fill: var(--warn); } svg rect.fail { fill: var(--fail); }
"""
WORDS: dict[Verdict, str] = {"pass": "All checks pass", "warn": "Passed with warnings", "fail": "Failed"}


def checks_page(reports: Sequence[CheckReport], batches: Sequence[Sequence[CheckReport]]) -> str:
    """Return the page.

    Args:
        reports: one for each validated table.
        batches: for each of them the reports on its last batches, oldest first.
    """
    sections = [_table(report, before) for report, before in zip(reports, batches, strict=True)]
    title = f"Checks of {plural(len(reports), 'table')}"
    made = f"{max(report.created_at for report in reports):%Y-%m-%d %H:%M} UTC" if reports else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}{OWN_STYLE}</style></head>\n<body><main>"
        f"<h1>{title}</h1>{_summary(reports)}"
        + "\n".join(sections)
        + f'<p class="soft">Trimtab {escape(__version__)}, {made}.</p></main></body></html>\n'
    )


def _summary(reports: Sequence[CheckReport]) -> str:
    rows = "".join(
        f'<tr><td>{escape(r.table)}</td><td class="text {r.verdict}">{r.verdict}</td><td>{r.rows:,}</td>'
        f'<td>{r.failing_rows:,}</td><td class="text">{escape(r.reason)}</td></tr>'
        for r in reports
    )
    heads = '<tr><th>Table</th><th class="text">Verdict</th><th>Rows</th><th>Failing</th><th class="text">Why</th></tr>'
    return f'<div class="scroll"><table>{heads}{rows}</table></div>'


def _table(report: CheckReport, before: Sequence[CheckReport]) -> str:
    return (
        f'<h2>{escape(report.source)}</h2><div class="verdict {report.verdict}"><b>{WORDS[report.verdict]}</b>'
        f"<p>{escape(report.reason)}</p></div>{_results(report)}{_failures(report)}{_batches(before)}"
    )


def _results(report: CheckReport) -> str:
    if not report.results:
        return ""
    rows = "".join(
        f'<tr><td>{escape(r.check)}</td><td class="text {r.verdict}">{r.verdict}</td>'
        f'<td>{_number(r.value)}</td><td>{_number(r.limit)}</td><td class="text">{escape(r.reason)}</td></tr>'
        for r in report.results
    )
    heads = '<th>Check</th><th class="text">Verdict</th><th>Value</th><th>Limit</th><th class="text">Why</th>'
    return f'<div class="scroll"><table><tr>{heads}</tr>{rows}</table></div>'


def _failures(report: CheckReport) -> str:
    if not report.failures:
        return ""
    rows = "".join(
        f'<tr><td>{escape(f.column)}</td><td class="text"><code>{escape(f.check)}</code></td><td>{f.rows:,}</td>'
        f'<td>{f.rows / max(report.rows, 1):.2%}</td><td class="text"><code>{escape(f.example)}</code></td></tr>'
        for f in sorted(report.failures, key=lambda f: -f.rows)
    )
    heads = '<th>Column</th><th class="text">Failed check</th><th>Rows</th><th>Share</th><th class="text">Example</th>'
    return f'<div class="scroll"><table><tr>{heads}</tr>{rows}</table></div>'


def _batches(before: Sequence[CheckReport]) -> str:
    """Draw the rows of each batch, in the colour of its verdict."""
    shown = before[-MOST_BATCHES:]
    if len(shown) < 2:
        return ""
    most, width = max(max(r.rows for r in shown), 1), WIDTH / max(len(shown), 12)
    bars = "".join(
        f'<rect class="{r.verdict}" x="{place * width:.1f}" y="{HEIGHT - (h := HEIGHT * r.rows / most):.1f}" '
        f'width="{max(width - GAP, 1):.1f}" height="{max(h, 1):.1f}"><title>{escape(r.source)}: {r.rows:,} rows, '
        f"{r.failing_rows:,} failing: {r.verdict}</title></rect>"
        for place, r in enumerate(shown)
    )
    title = f"Rows of the last {plural(len(shown), 'batch', 'batches')}, the newest on the right; most {most:,}"
    counts = ", ".join(
        f"{sum(r.verdict == verdict for r in shown)} {word}"
        for verdict, word in (("pass", "passed"), ("warn", "with warnings"), ("fail", "refused"))
    )
    return (
        f'<p class="soft">{title}. {counts}.</p><svg viewBox="0 0 {WIDTH} {HEIGHT + 1}" role="img" '
        f'aria-label="{title}"><line class="grid" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{bars}</svg>'
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
