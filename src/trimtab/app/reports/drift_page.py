"""Writes a comparison of two tables as one HTML page that needs no network: styles and charts are part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from html import escape

from trimtab import __version__
from trimtab.app.drift.drift_results import ColumnResult, Comparison, RowTestResult, SegmentResult, Side
from trimtab.app.reports.drift_charts import column_chart, windows_chart
from trimtab.clock import EPOCH
from trimtab.units import plural

MOST_CHARTS = 60
"""Columns that are drawn; the others are in the table alone."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5c6670; --line: #d9dee3; --paper: #fff; --panel: #f6f8fa;
  --before: #b9c4d0; --now: #d2521e; --ok: #1a7f4b; --dot: #33526e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b0; --line: #343b43; --paper: #14181c;
  --panel: #1c2228; --before: #4d5b69; --now: #ff8a57; --ok: #4cc38a; --dot: #8fb3d4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 8px; } p { margin: 6px 0; }
.verdict { border-left: 5px solid var(--ok); background: var(--panel); padding: 12px 16px; margin: 16px 0; }
.verdict.drift { border-color: var(--now); } .verdict b { font-size: 18px; }
.soft { color: var(--soft); } code { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
td.text, th.text { text-align: left; } tr.drifted td:first-child { color: var(--now); font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 14px; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px; min-width: 0; }
.card.drifted { border-color: var(--now); } .card h3 { font-size: 15px; margin: 0 0 2px; overflow-wrap: anywhere; }
.card p { font-size: 13px; }
.card .span { display: flex; justify-content: space-between; }
svg { max-width: 100%; height: auto; display: block; margin-top: 6px; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg .before { fill: var(--before); }
svg rect.now { fill: var(--now); } svg path.now { fill: none; stroke: var(--now); stroke-width: 1.6; }
svg .grid { stroke: var(--line); } svg .level { stroke: var(--now); stroke-dasharray: 5 4; }
svg .dot { fill: var(--dot); } svg .sequential { fill: none; stroke: var(--now); stroke-width: 2; }
.key i { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 14px; vertical-align: -1px; }
.key i:first-child { margin-left: 0; } ul { padding-left: 20px; margin: 6px 0; }
"""


def drift_page(comparison: Comparison) -> str:
    """Return the page."""
    sections = [
        _head(comparison),
        _schema(comparison),
        _windows(comparison),
        _table(comparison),
        _cards(comparison),
        _segments(comparison.segments),
        _tests(comparison.tests),
        _remarks(comparison),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Drift: {escape(comparison.current.path)}</title><style>{STYLE}</style></head>\n<body><main>"
        + "\n".join(section for section in sections if section)
        + "</main></body></html>\n"
    )


def _head(found: Comparison) -> str:
    verdict = "Drift" if found.drift else "No drift"
    rows = [_side("Reference", found.reference), _side("Current", found.current)]
    return (
        f'<h1>Drift report</h1><div class="verdict{" drift" if found.drift else ""}"><b>{verdict}</b>'
        f"<p>{escape(_sentence(found.reason))}.</p></div>"
        '<div class="scroll"><table><tr><th>Table</th><th class="text">Path</th><th>Rows</th><th>Windows</th>'
        f'<th class="text">Time (UTC)</th></tr>{"".join(rows)}</table></div>'
        f'<p class="soft">{escape(found.basis)}</p>'
    )


def _side(name: str, side: Side) -> str:
    span = f"{_day(side.start)} to {_day(side.end)}" if side.start and side.end else "-"
    return (
        f'<tr><td>{name}</td><td class="text"><code>{escape(side.path)}</code></td><td>{side.rows:,}</td>'
        f'<td>{side.windows:,}</td><td class="text">{escape(span)}</td></tr>'
    )


def _schema(found: Comparison) -> str:
    if not found.schema:
        return ""
    lines = (
        f"<li>{'<b>' if change.breaking else ''}{escape(change.text)}{'</b>' if change.breaking else ''}</li>"
        for change in found.schema
    )
    return f"<h2>Schema</h2><ul>{''.join(lines)}</ul>"


def _windows(found: Comparison) -> str:
    chart = windows_chart(found.windows, found.level)
    if not chart:
        return ""
    unusual = [window for window in found.windows if window.tested and window.p < 0.01]
    judged = sum(window.tested for window in found.windows)
    text = (
        f"{plural(len(unusual), 'window')} of {judged:,} with a p-value of their own below 0.01 "
        "(one in a hundred ordinary windows has one)."
    )
    named = "".join(
        f"<li>{escape(window.start)}: p {window.p:.2g}, most in {escape(', '.join(window.top))}</li>"
        for window in sorted(unusual, key=lambda window: window.p)[:8]
    )
    return (
        f'<h2>Windows of {escape(found.window)}</h2><p class="key soft"><i style="background:var(--dot)"></i>p of one '
        'window<i style="background:var(--now)"></i>sequential p over all windows so far; dashed: the level '
        f'{found.level:g}</p>{chart}<p class="soft">{text}</p>{f"<ul>{named}</ul>" if named else ""}'
    )


def _table(found: Comparison) -> str:
    heads = ("p", "share moved", "usual", "PSI", "usual", "Wasserstein sd", "usual", "missing", "was")
    lines = []
    for column in found.columns:
        cells = [
            f"{column.p:.2g}",
            f"{column.effect.share_moved:.1%}",
            f"{column.usual.share_moved:.1%}",
            f"{column.effect.psi:.3f}",
            f"{column.usual.psi:.3f}",
            _number(column.effect.wasserstein_sd),
            _number(column.usual.wasserstein_sd),
            f"{column.missing:.1%}",
            f"{column.missing_reference:.1%}",
        ]
        lines.append(
            f'<tr class="{"drifted" if column.drifted else ""}"><td>{escape(column.name)}</td>'
            f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    head = "".join(f"<th>{text}</th>" for text in heads)
    return (
        '<h2>Columns</h2><p class="soft">Effects of the whole current table. Usual: what 95 % of the reference\'s own '
        "windows do not exceed. Coloured columns carry the change.</p>"
        f'<div class="scroll"><table><tr><th>Column</th>{head}</tr>{"".join(lines)}</table></div>'
    )


def _cards(found: Comparison) -> str:
    shown = found.columns[:MOST_CHARTS]
    more = len(found.columns) - len(shown)
    return (
        '<h2>Distributions</h2><p class="key soft"><i style="background:var(--before)"></i>reference'
        '<i style="background:var(--now)"></i>current</p>'
        f'<div class="cards">{"".join(_card(column) for column in shown)}</div>'
        + (f'<p class="soft">{plural(more, "more column")} in the table above.</p>' if more else "")
    )


def _card(column: ColumnResult) -> str:
    facts = [column.type]
    if column.mean is not None and column.mean_reference is not None:
        facts.append(f"mean {_value(column.mean_reference, column.type)} → {_value(column.mean, column.type)}")
    if column.missing or column.missing_reference:
        facts.append(f"missing {column.missing_reference:.1%} → {column.missing:.1%}")
    if column.out_of_range:
        what = "out of range" if column.kind == "ordered" else "not in the reference"
        facts.append(f"{column.out_of_range:.1%} {what}")
    new = f"<p>New: {escape(', '.join(column.unseen))}</p>" if column.unseen else ""
    edges = column.histogram.edges
    span = ""
    if edges and edges[-1] > edges[0]:
        low, high = (_value(edges[place], column.type) for place in (0, -1))
        span = f'<p class="soft span"><span>{low}</span><span>{high}</span></p>'
    return (
        f'<div class="card{" drifted" if column.drifted else ""}"><h3>{escape(column.name)}</h3>'
        f'<p class="soft">{escape("; ".join(facts))}</p>{column_chart(column)}{span}{new}</div>'
    )


def _segments(segments: Sequence[SegmentResult]) -> str:
    if not segments:
        return ""
    lines = "".join(
        f"<tr><td>{escape(segment.name)}</td><td>{segment.rows:,}</td><td>{segment.rows_reference:,}</td>"
        f"<td>{segment.p:.2g}</td><td>{segment.share_moved:.1%}</td>"
        f'<td class="text">{escape(", ".join(segment.columns))}</td></tr>'
        for segment in segments
    )
    return (
        '<h2>Segments</h2><p class="soft">The rows of each segment against those of the same segment of the reference; '
        "p is adjusted for the number of segments.</p>"
        '<div class="scroll"><table><tr><th>Segment</th><th>Rows</th><th>Reference</th><th>p</th><th>Moved</th>'
        f'<th class="text">Columns</th></tr>{lines}</table></div>'
    )


def _tests(tests: Sequence[RowTestResult]) -> str:
    if not tests:
        return ""
    lines = "".join(
        f'<tr class="{"drifted" if test.alarm else ""}"><td>{escape(test.column)}</td><td class="text">{test.test}</td>'
        f"<td>{test.statistic:.4g}</td><td>{'-' if test.p is None else f'{test.p:.2g}'}</td>"
        f'<td class="text">{escape(test.rule)}</td><td class="text">{"alarm" if test.alarm else ""}</td></tr>'
        for test in tests
    )
    return (
        '<h2>Usual tests</h2><p class="soft">For comparison. They treat rows as independent and take no part in the '
        "verdict.</p>"
        '<div class="scroll"><table><tr><th>Column</th><th class="text">Test</th><th>Statistic</th><th>p</th>'
        f'<th class="text">Alarms at</th><th class="text"></th></tr>{lines}</table></div>'
    )


def _remarks(found: Comparison) -> str:
    lines = [*found.notes, *(f"{name} was left out: {why}" for name, why in found.left_out.items())]
    remarks = f"<h2>Remarks</h2>{_list(lines)}" if lines else ""
    return f'{remarks}<p class="soft">Made by trimtab {__version__} with seed {found.seed}.</p>'


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _value(value: float, type_: str) -> str:
    """Return a value as people read it: dates and times are microseconds since 1970."""
    if type_.startswith(("timestamp", "date")):
        try:
            return f"{EPOCH + timedelta(microseconds=value):%Y-%m-%d}"
        except OverflowError:
            return f"{value:.4g}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.4g}"


def _day(time: str) -> str:
    return time.replace("T00:00:00Z", "").replace("T", " ").removesuffix("Z")
