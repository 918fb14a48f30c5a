"""Draws the charts of the drift page as SVG: histograms of both tables, and p-values over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from trimtab.app.drift.drift_results import ColumnResult, Histogram, WindowResult

WIDTH, HEIGHT = 260, 84
MOST_BARS = 8
"""Categories that a chart shows."""
WIDE, TALL = 900, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 26
SMALLEST_P = 1e-6
"""Smaller p-values are drawn at the lower edge."""


def column_chart(column: ColumnResult) -> str:
    """Return the chart of one column."""
    if column.histogram.labels:
        return _bars(column.histogram, column.name)
    return _densities(column.histogram, column.name)


def _densities(histogram: Histogram, name: str) -> str:
    """Draw an area for the reference and a line for the current table over the range of the reference."""
    edges = histogram.edges
    low, high = (edges[0], edges[-1]) if edges else (0.0, 0.0)
    widths = [b - a for a, b in pairwise(edges)]
    if not high > low or not any(widths):
        return _few_values(histogram, low)
    least = (high - low) / 200  # a bin of one value is drawn as narrow as can be seen
    before, now = (
        [share / max(width, least) for share, width in zip(shares, widths, strict=True)]
        for shares in (histogram.reference, histogram.current)
    )
    top = max(*before, *now) or 1.0

    def path(heights: Sequence[float], *, closed: bool) -> str:
        points = []
        for place, height in enumerate(heights):
            y = (HEIGHT - 4) * (1 - height / top) + 2
            points += [(edges[place], y), (edges[place + 1], y)]
        drawn = [f"{(x - low) / (high - low) * (WIDTH - 2) + 1:.1f},{y:.1f}" for x, y in points]
        ends = [f"1,{HEIGHT - 2}", *drawn, f"{WIDTH - 1},{HEIGHT - 2}"]
        return f"M{' L'.join(ends)}{' Z' if closed else ''}"

    return _svg(
        WIDTH,
        HEIGHT,
        f"Distribution of {name}",
        f'<path class="before" d="{path(before, closed=True)}"/><path class="now" d="{path(now, closed=False)}"/>',
    )


def _few_values(histogram: Histogram, value: float) -> str:
    before, now = sum(histogram.reference), sum(histogram.current)
    return _bars(
        Histogram(labels=(f"{value:.6g}",), edges=(), reference=(before,), current=(now,)), f"share of {value:.6g}"
    )


def _bars(histogram: Histogram, name: str) -> str:
    """Draw two bars for each of the largest categories."""
    rows = sorted(
        zip(histogram.labels, histogram.reference, histogram.current, strict=True), key=lambda row: -max(row[1:])
    )
    shown, rest = rows[:MOST_BARS], rows[MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} more", sum(row[1] for row in rest), sum(row[2] for row in rest)))
    top = max((max(row[1:]) for row in shown), default=0.0) or 1.0
    step, label, most = 17, 96, WIDTH - 96 - 44
    parts = []
    for place, (text, before, now) in enumerate(shown):
        y = place * step
        short = text if len(text) <= 15 else f"{text[:14]}…"
        parts.append(
            f'<text x="{label - 6}" y="{y + 11}" text-anchor="end">{escape(short)}<title>{escape(text)}</title></text>'
            f'<rect class="before" x="{label}" y="{y + 2}" width="{before / top * most:.1f}" height="6"/>'
            f'<rect class="now" x="{label}" y="{y + 8}" width="{now / top * most:.1f}" height="5"/>'
            f'<text x="{label + max(before, now) / top * most + 4:.1f}" y="{y + 12}">{now:.1%}</text>'
        )
    return _svg(WIDTH, max(step * len(shown) + 2, 20), f"Shares of {name}", "".join(parts))


def windows_chart(windows: Sequence[WindowResult], level: float) -> str:
    """Return p-values of all judged windows: dots for single ones, a line for the sequential one."""
    judged = [window for window in windows if window.tested]
    if not judged:
        return ""
    inner, tall = WIDE - LEFT - RIGHT, TALL - TOP - BOTTOM
    deepest = math.log10(SMALLEST_P)

    def at(place: int, p: float) -> tuple[float, float]:
        x = LEFT + inner * (place + 0.5) / len(judged)
        return x, TOP + tall * math.log10(max(p, SMALLEST_P)) / deepest

    grid = []
    for exponent in range(0, int(deepest) - 1, -1):
        y = TOP + tall * exponent / deepest
        text = "1" if exponent == 0 else f"{10.0**exponent:g}" if exponent > -5 else f"1e{exponent}"
        grid.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    y = at(0, level)[1]
    grid.append(f'<line class="level" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    line = " L".join("{:.1f},{:.1f}".format(*at(place, window.p_seq)) for place, window in enumerate(judged))
    dots = "".join(_dot(at(place, window.p), window) for place, window in enumerate(judged))
    ends = (
        f'<text x="{LEFT}" y="{TALL - 6}">{escape(judged[0].start)}</text>'
        f'<text x="{WIDE - RIGHT}" y="{TALL - 6}" text-anchor="end">{escape(judged[-1].start)}</text>'
    )
    if len(judged) == 1:
        ends = f'<text x="{LEFT}" y="{TALL - 6}">{escape(judged[0].start)}</text>'
    body = f'{"".join(grid)}{dots}<path class="sequential" d="M{line}"/>{ends}'
    return _svg(WIDE, TALL, "p-values by window", body)


def _dot(at: tuple[float, float], window: WindowResult) -> str:
    text = f"{escape(window.start)}: p {window.p:.2g}, sequential p {window.p_seq:.2g}"
    return f'<circle class="dot" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="2.5"><title>{text}</title></circle>'


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg>'
    )
