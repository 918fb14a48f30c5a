"""Writes the comparison of two versions as one HTML page that needs no network: styles and charts are part of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from trimtab import __version__
from trimtab.app.reports.version_comparison import Rule, VersionComparison
from trimtab.app.reports.version_measures import Day, Difference, Segment

WIDE, TALL = 900, 220
LEFT, RIGHT, TOP, BOTTOM = 76, 12, 12, 26
BAR_WIDE, BAR_TALL = 150, 22
"""Of the drawing of an interval."""
LINES = 4
"""Horizontal lines of a chart, or a few more."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5c6670; --line: #d9dee3; --paper: #fff; --panel: #f6f8fa;
  --good: #1a7f4b; --bad: #c2410c; --open: #8a6d1d; --mark: #33526e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b0; --line: #343b43; --paper: #14181c;
  --panel: #1c2228; --good: #4cc38a; --bad: #ff8a57; --open: #d9b44a; --mark: #8fb3d4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 8px; } p { margin: 6px 0; }
.verdict { border-left: 5px solid var(--open); background: var(--panel); padding: 12px 16px; margin: 16px 0; }
.verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); }
.verdict p:first-child { font-size: 19px; margin: 0; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 16px 0; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; min-width: 0; }
.card b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; } .card span { font-size: 13px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
th:first-child, td:first-child { text-align: left; }
td.good { color: var(--good); } td.bad { color: var(--bad); } td.chart { padding: 0 8px; }
svg { max-width: 100%; height: auto; display: block; } td svg { width: 150px; max-width: none; }
.wide svg { min-width: 560px; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg .grid { stroke: var(--line); }
svg .zero { stroke: var(--soft); } svg .good { fill: var(--good); } svg .bad { fill: var(--bad); }
svg .sum { fill: none; stroke: var(--mark); stroke-width: 2; } svg .span { stroke: var(--mark); stroke-width: 2; }
svg .dot { fill: var(--mark); } .key i { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 14px;
  vertical-align: -1px; } .key i:first-child { margin-left: 0; }
"""

VERDICTS = {
    "promote": "promote it",
    "futile": "stop the comparison: it is not worth it",
    "continue": "go on comparing",
    "expired": "stop the comparison: its time is up without proof",
}
WATCHED = {
    "promote": "roll back: the former champion is better",
    "futile": "keep the champion: the former one is no better",
    "continue": "keep the champion, and go on watching the former one",
    "expired": "keep the champion: the time of the watch is over",
}


def advice(rule: Rule) -> str:
    """Return what the rule says is to be done."""
    return (WATCHED if rule.watch else VERDICTS)[rule.verdict]


def version_page(found: VersionComparison) -> str:
    """Return the page."""
    title = f"{found.model}: version {found.version} compared with version {found.against}"
    sections = (
        _head(found, title),
        _cards(found),
        _days(found),
        _measures(found),
        _segments(found),
        _rule(found.rule, found),
        _remarks(found),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>"
        + "\n".join(section for section in sections if section)
        + "</main></body></html>\n"
    )


def tone(found: Difference | None) -> str:
    """Return good or bad where the interval lies on one side of 0, else nothing."""
    if found is None or found.low is None or found.high is None or not found.directed:
        return ""
    return "good" if found.low > 0 else "bad" if found.high < 0 else ""


def number(value: float | None, unit: str, *, signed: bool = False) -> str:
    """Return a value as a reader expects it: money without cents, a share as a percentage."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if unit == "money":
        return f"{value:{sign},.0f}"
    return f"{value * 100:{sign}.2f} %" if unit == "share" else f"{value:{sign}.3g}"


def interval(found: Difference) -> str:
    """Return the interval of a difference in words."""
    if found.low is None or found.high is None:
        return "too few windows"
    return f"{number(found.low, found.unit, signed=True)} to {number(found.high, found.unit, signed=True)}"


def _head(found: VersionComparison, title: str) -> str:
    roles = ", ".join(f"version {version}: {role}" for version, role in found.roles.items())
    rule = f"<p>The rule of the policy, by {escape(found.metric)}: {advice(found.rule)}.</p>" if found.rule else ""
    return (
        f'<h1>{escape(title)}</h1><p class="soft">Project {escape(found.project)}. Now in service: {escape(roles)}.</p>'
        f'<div class="verdict {tone(found.money or found.measures[0])}"><p>{escape(found.sentence)}</p>{rule}</div>'
    )


def _cards(found: VersionComparison) -> str:
    money = found.money
    cards = []
    if money is not None:
        cards += [
            (f"{number(money.gain, 'money', signed=True)} {found.currency}", "saved a day by the compared version"),
            (
                f"{number(money.against, 'money')} {found.currency}",
                f"lost a day by mistakes of version {found.against}",
            ),
        ]
    cards += [
        (f"{found.windows:,}", f"windows, {found.start:%Y-%m-%d} to {found.end:%Y-%m-%d}"),
        (f"{found.labels:,}", "predictions of both with a known outcome"),
        (f"{found.predictions_per_day:,.0f}", "predictions of the model a day"),
    ]
    shown = (
        f'<div class="card"><b>{escape(value)}</b><span class="soft">{escape(text)}</span></div>'
        for value, text in cards
    )
    return f'<div class="cards">{"".join(shown)}</div>'


def _days(found: VersionComparison) -> str:
    money = found.money is not None
    values = [(day, day.money if money else day.metric) for day in found.days]
    what = f"{found.currency} saved a day" if money else f"gain in {found.metric}"
    key = (
        f'<p class="key soft"><i style="background:var(--good)"></i>version {found.version} was better'
        f'<i style="background:var(--bad)"></i>version {found.against} was better'
        '<i style="background:var(--mark)"></i>mean so far</p>'
    )
    chart = _bars(values, "money" if money else "")
    return f'<h2>Window by window: {escape(what)}</h2>{key}<div class="scroll wide">{chart}</div>'


def _bars(values: Sequence[tuple[Day, float | None]], unit: str) -> str:
    """Draw a bar for each window, and a line for the mean so far."""
    known = [value for _, value in values if value is not None]
    if not known:
        return ""
    top, bottom = max(0.0, *known), min(0.0, *known)
    span = (top - bottom) or 1.0
    inner, tall = WIDE - LEFT - RIGHT, TALL - TOP - BOTTOM
    step = inner / len(values)

    def height(value: float) -> float:
        return TOP + tall * (top - value) / span

    parts = []
    tick = _round(span / LINES)
    for line in range(math.ceil(bottom / tick), math.floor(top / tick) + 1):
        level = line * tick
        y = height(level)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(level, unit)}</text>'
        )
    zero = height(0.0)
    parts.append(f'<line class="zero" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}"/>')
    total, points = 0.0, list[str]()
    shown = ((place, day, value) for place, (day, value) in enumerate(values) if value is not None)
    for place, day, value in shown:
        total += value
        x, y = LEFT + step * place, height(value)
        points.append(f"{x + step / 2:.1f},{height(total / (len(points) + 1)):.1f}")
        parts.append(
            f'<rect class="{"good" if value > 0 else "bad"}" x="{x + step * 0.1:.1f}" y="{min(y, zero):.1f}" '
            f'width="{step * 0.8:.1f}" height="{abs(y - zero):.1f}"><title>{day.start:%Y-%m-%d %H:%M}: '
            f"{number(value, unit, signed=True)} on {day.rows:,} predictions</title></rect>"
        )
    parts.append(f'<path class="sum" d="M{" L".join(points)}"/>')
    ends = (
        f'<text x="{LEFT}" y="{TALL - 6}">{values[0][0].start:%Y-%m-%d}</text>'
        f'<text x="{WIDE - RIGHT}" y="{TALL - 6}" text-anchor="end">{values[-1][0].start:%Y-%m-%d}</text>'
    )
    head = f'<svg viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="Difference in each window">'
    return f"{head}{''.join(parts)}{ends}</svg>"


def _round(value: float) -> float:
    """Return 1, 2 or 5 times a power of ten, not less than half of a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.75)


def _measures(found: VersionComparison) -> str:
    rows = [*([found.money] if found.money else []), *found.measures]
    body = "".join(_row(row, _name(row, found.currency)) for row in rows)
    return (
        f"<h2>Both versions on the same predictions</h2>{_table(found, 'Measure', '', body)}"
        '<p class="soft">The difference is the mean over windows; more than 0 is better, but rows marked with * only '
        f"differ. The interval ({found.confidence:.0%}) holds however often the page is looked at.</p>"
    )


def _name(row: Difference, currency: str) -> str:
    return f"{currency} lost a day by mistakes" if row.unit == "money" else row.name + ("" if row.directed else " *")


def _table(found: VersionComparison, first: str, more: str, body: str) -> str:
    return (
        f'<div class="scroll"><table><tr><th>{first}</th>{more}<th>version {found.version}</th>'
        f"<th>version {found.against}</th><th>difference</th><th>interval</th><th></th></tr>{body}</table></div>"
    )


def _row(row: Difference, name: str, more: str = "", reach: float | None = None) -> str:
    own, other = number(row.value, row.unit), number(row.against, row.unit)
    return (
        f"<tr><td>{escape(name)}</td>{more}<td>{own}</td><td>{other}</td>"
        f'<td class="{tone(row)}">{number(row.gain, row.unit, signed=True)}</td><td>{interval(row)}</td>'
        f'<td class="chart">{_interval_chart(row, reach)}</td></tr>'
    )


def _interval_chart(row: Difference, reach: float | None = None) -> str:
    """Draw an interval around 0. reach: largest value of the axis; left out, that of the interval."""
    if row.gain is None or row.low is None or row.high is None:
        return ""
    reach = reach or max(abs(row.low), abs(row.high)) or 1.0

    def at(value: float) -> float:
        return BAR_WIDE / 2 * (1 + 0.96 * max(-1.0, min(1.0, value / reach)))

    middle = BAR_TALL / 2
    return (
        f'<svg viewBox="0 0 {BAR_WIDE} {BAR_TALL}" role="img" aria-label="{escape(interval(row))}">'
        f'<line class="zero" x1="{at(0)}" x2="{at(0)}" y1="2" y2="{BAR_TALL - 2}"/>'
        f'<line class="span" x1="{at(row.low):.1f}" x2="{at(row.high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle class="dot" cx="{at(row.gain):.1f}" cy="{middle}" r="4"/></svg>'
    )


def _segments(found: VersionComparison) -> str:
    parts = []
    for column in dict.fromkeys(segment.column for segment in found.segments):
        chosen = [segment for segment in found.segments if segment.column == column]
        rows = [segment.money or segment.metric for segment in chosen]
        reach = max((abs(end) for row in rows for end in (row.low, row.high) if end is not None), default=0.0)
        what = f"{found.currency} lost a day" if found.money else found.metric
        body = "".join(
            _row(row, segment.value, f"<td>{segment.rows:,}</td>", reach)
            for segment, row in zip(chosen, rows, strict=True)
        )
        parts.append(
            f"<h2>By {escape(column)}: {escape(what)}</h2>{_table(found, escape(column), '<th>rows</th>', body)}"
        )
    if not parts:
        return ""
    worst = _worst(found.segments)
    return "".join(parts) + (f'<p class="soft">{escape(worst)}</p>' if worst else "")


def _worst(segments: Sequence[Segment]) -> str:
    """Name the segments in which the compared version is surely worse."""
    worse = [f"{s.column} {s.value}" for s in segments if tone(s.money or s.metric) == "bad"]
    if not worse:
        return "In none of these segments is the compared version surely worse."
    return f"The compared version is worse in: {', '.join(worse)}. With many segments one may look worse by chance."


def _rule(rule: Rule | None, found: VersionComparison) -> str:
    if rule is None:
        return ""
    before = f" and {rule.held_out} windows of the holdout, from before it got traffic" if rule.held_out else ""
    return (
        f"<h2>What the rule says</h2><p>Version {rule.challenger}, compared with version {rule.champion} as champion: "
        f"<b>{advice(rule)}</b>. {escape(rule.reason[:1].upper() + rule.reason[1:])}.</p>"
        f'<p class="soft">A version is promoted when its mean gain in {escape(rule.metric)} is so many standard '
        "errors above zero (minus the loss that the policy tolerates) that a look after every window cannot produce it "
        "by luck. Standard errors are widened for windows that resemble the one before, for rare large losses and for "
        f"few windows. The evidence: {rule.labels:,} labels in {rule.windows} windows{before}.</p>"
    )


def _remarks(found: VersionComparison) -> str:
    return (
        '<p class="soft">Compared are predictions that both versions made and whose outcome is known, in windows whose '
        "labels are complete. Money a day: the mean on these predictions, at the traffic of all requests. "
        f"Written by Trimtab {escape(__version__)}.</p>"
    )
