"""The result of a backtest as one HTML page that stands alone: plots as inline SVG, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

import numpy as np

from trimtab.app.backtest.policy_table import PolicyRow, PolicyTable
from trimtab.clock import from_micros

WIDTH, HEIGHT = 860, 340
LEFT, RIGHT, TOP, BOTTOM = 90, 210, 20, 46
TICKS = 5
COLORS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#79706e")
MOST_POINTS = 400
"""Points of a line; more would not be seen."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #d8dee4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #1b1f24; }
.axis { stroke: #8c959f; } .grid { stroke: #eaeef2; } .muted { color: #57606a; }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117; } svg text { fill: #e6edf3; }
  th, td { border-color: #30363d; } .grid { stroke: #21262d; } .muted { color: #8b949e; }
}
"""


def page(found: PolicyTable) -> str:
    """Return the page."""
    unit = found.currency or f"{found.loss_name}, summed over rows"
    title = f"Backtest of {found.model}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{found.windows:,} windows, {found.rows_labelled:,} labelled rows, "
        f"{from_micros(found.starts[0]):%Y-%m-%d} to {from_micros(found.starts[-1]):%Y-%m-%d}. "
        f"Best in hindsight, among these: <b>{escape(found.best)}</b>. No policy is chosen here.</p>",
        f"<h2>Saved against {escape(found.against)}, over time ({escape(unit)})</h2>",
        _lines(found),
        f"<h2>What it saves ({escape(found.currency or found.loss_name)}) and how often it retrains</h2>",
        _frontier(found),
        "<h2>Figures</h2>",
        _table(found),
        *(f'<p class="muted">{escape(text)}</p>' for text in _notes(found)),
        "</body></html>",
    ]
    return "\n".join(parts)


def _notes(found: PolicyTable) -> Iterator[str]:
    yield (
        f"Intervals: {found.level:.0%}, circular block bootstrap over windows, blocks of {found.block}, "
        f"{found.draws:,} draws, the same ones for all policies."
    )
    yield "Regret: what the best policy of this table saved beyond a policy. It is known in hindsight alone."
    yield "No better: retrainings whose model did not beat the one before on the 28 windows that followed."
    yield from found.remarks


class _Axis:
    """A linear scale of one direction."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        low, high = min(values), max(values)
        pad = 0.05 * (high - low) or 1.0
        self.low, self.high = low - pad, high + pad
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        return self._first + (value - self.low) / (self.high - self.low) * (self._last - self._first)

    def ticks(self) -> list[float]:
        raw = (self.high - self.low) / TICKS
        size = 10 ** np.floor(np.log10(raw))
        step = size * min((m for m in (1, 2, 2.5, 5, 10) if size * m >= raw), default=10)
        return [float(v) for v in np.arange(np.ceil(self.low / step) * step, self.high, step)]


def _lines(found: PolicyTable) -> str:
    places = np.unique(np.linspace(0, len(found.starts) - 1, MOST_POINTS).astype(int))
    x = _Axis([float(found.starts[0]), float(found.starts[-1])], LEFT, WIDTH - RIGHT)
    y = _Axis([v for row in found.rows for v in row.cumulative] + [0.0], HEIGHT - BOTTOM, TOP)
    parts = list(_frame(x, y, [(v, f"{from_micros(int(v)):%Y-%m-%d}") for v in _times(found)]))
    ends = _apart([y(row.cumulative[-1]) for row in found.rows])
    for place, row in enumerate(found.rows):
        color = COLORS[place % len(COLORS)]
        points = " ".join(f"{x(found.starts[n]):.1f},{y(row.cumulative[n]):.1f}" for n in places)
        dash = ' stroke-dasharray="5 3"' if place >= len(COLORS) else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        label = f"{row.name}: {_short(row.cumulative[-1])}"
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{ends[place] + 4:.1f}" style="fill:{color}">{escape(label)}</text>'
        )
    return _svg(parts, "Saved by each policy over time")


def _frontier(found: PolicyTable) -> str:
    x = _Axis([float(row.retrainings) for row in found.rows] + [0.0], LEFT, WIDTH - RIGHT)
    y = _Axis([v for row in found.rows for v in (row.saved.low, row.saved.high)] + [0.0], HEIGHT - BOTTOM, TOP)
    parts = list(_frame(x, y, [(v, _short(v)) for v in x.ticks() if v >= -1e-9]))
    on = sorted((row for row in found.rows if row.on_frontier), key=lambda row: row.retrainings)
    steps = " ".join(f"{x(row.retrainings):.1f},{y(row.saved.value):.1f}" for row in on)
    parts.append(f'<polyline points="{steps}" fill="none" stroke="#8c959f" stroke-dasharray="3 3"/>')
    labels = _apart([y(row.saved.value) - 6 for row in found.rows])
    for place, row in enumerate(found.rows):
        color, at = COLORS[place % len(COLORS)], x(row.retrainings)
        low, high, value = y(row.saved.low), y(row.saved.high), y(row.saved.value)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{color}"/>')
        parts.append(f'<circle cx="{at:.1f}" cy="{value:.1f}" r="4.5" fill="{color}"/>')
        label = f'x="{at + 8:.1f}" y="{labels[place]:.1f}"'
        parts.append(f'<text {label} style="fill:{color}">{escape(row.name)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">retrainings</text>')
    return _svg(parts, "Saved by each policy and its retrainings")


def _frame(x: _Axis, y: _Axis, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for value in y.ticks():
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{_short(value)}</text>'
    for value, text in marks:
        yield f'<text x="{x(value):.1f}" y="{bottom + 18}" text-anchor="middle">{escape(text)}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    if y.low < 0 < y.high:
        yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'


def _times(found: PolicyTable) -> list[float]:
    return [float(v) for v in np.linspace(found.starts[0], found.starts[-1], TICKS)]


def _apart(places: list[float], least: float = 15.0) -> list[float]:
    """Return places of labels that do not cover one another, in their order."""
    order = np.argsort(places)
    found = list(places)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + least)
    over = max(found) - (HEIGHT - 8)
    return [place - over for place in found] if over > 0 else found


def _svg(parts: Sequence[str], title: str) -> str:
    inner = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n{inner}\n</svg>'


def _table(found: PolicyTable) -> str:
    head = (
        "policy", f"{found.currency or found.loss_name} lost", "saved", "95 %", "share of best", "regret",
        found.loss_name, "95 %", "retrainings", "refused", "promoted", "no better", "delay, days", "training",
    )  # fmt: skip
    cells = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in _row(row)) + "</tr>" for row in found.rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _row(row: PolicyRow) -> Sequence[str]:
    lost = row.money or row.loss
    return (
        row.name,
        _short(lost.value),
        _short(row.saved.value),
        f"{_short(row.saved.low)} to {_short(row.saved.high)}",
        "" if row.share is None else f"{row.share:.2f}",
        _short(row.regret),
        f"{row.loss.value:.5g}",
        f"{row.loss.low:.5g} to {row.loss.high:.5g}",
        str(row.retrainings),
        str(row.refused),
        str(row.promotions),
        f"{row.false_alarms} of {row.judged}",
        "" if row.delay_days is None else f"{row.delay_days:.1f}",
        f"{row.training_cost:.4f}",
    )


def _short(value: float) -> str:
    value = value + 0.0 if abs(value) > 1e-9 else 0.0  # no minus before a zero
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.4g}"
