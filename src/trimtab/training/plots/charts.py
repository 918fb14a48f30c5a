"""Draws charts as SVG: lines and points, bars, a matrix of counts. The same numbers give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 36, 46
COLORS = ("#1f6fb4", "#d1603d", "#3a8f5b", "#8a5cb0", "#b58900", "#4d7f8c", "#c2478a", "#6b6b6b")
BAR, NAME_WIDTH = 18, 190
CELL = 64
LONGEST = 28
"""Characters of a name that are shown."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, or its points. x, y: of one length."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False
    dashed: bool = False


def line_chart(title: str, x_name: str, y_name: str, lines: Sequence[Line], *, square: bool = False) -> str:
    """Return a chart of lines. square: both axes go from 0 to 1."""
    shown = [line for line in lines if len(line.x)]
    x_ends = (0.0, 1.0) if square else _ends([value for line in shown for value in line.x])
    y_ends = (0.0, 1.0) if square else _ends([value for line in shown for value in line.y])
    x_at, y_at = _scale(x_ends, LEFT, WIDTH - RIGHT), _scale(y_ends, HEIGHT - BOTTOM, TOP)
    body = [_axes(x_ends, y_ends, x_at, y_at, x_name, y_name)]
    named = 0
    for place, line in enumerate(shown):
        color = "#999999" if line.dashed else COLORS[place % len(COLORS)]
        at = [(x_at(x), y_at(y)) for x, y in zip(line.x, line.y, strict=True)]
        if line.points:
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in at)
            body.append(f'<g fill="{color}" fill-opacity="0.45">{dots}</g>')
        else:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            dash = ' stroke-dasharray="5 4"' if line.dashed else ""
            body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        if line.name:
            y = TOP + 14 + 15 * named
            body.append(f'<rect x="{LEFT + 10}" y="{y - 8}" width="10" height="10" fill="{color}"/>')
            body.append(_text(LEFT + 25, y + 1, _short(line.name, 44)))
            named += 1
    return _svg(WIDTH, HEIGHT, title, "".join(body))


def bar_chart(title: str, x_name: str, bars: Sequence[tuple[str, float, float]]) -> str:
    """Return horizontal bars from 0 on. bars: name, value, and half the length of its error bar."""
    height = TOP + BAR * max(len(bars), 1) + BOTTOM
    low, high = _ends([0.0, *(end for _, value, error in bars for end in (value - error, value + error))])
    at = _scale((low, high), NAME_WIDTH, WIDTH - RIGHT)
    zero, body = at(0.0), list[str]()
    for tick in _ticks(low, high):
        x = at(tick)
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}" stroke="#dddddd"/>')
        body.append(_text(x, height - BOTTOM + 16, _number(tick), anchor="middle"))
    for place, (name, value, error) in enumerate(bars):
        y, end = TOP + BAR * place, at(value)
        first, wide = min(zero, end), abs(end - zero)
        body.append(_text(NAME_WIDTH - 8, y + 13, _short(name), anchor="end"))
        body.append(f'<rect x="{first:.1f}" y="{y + 3}" width="{wide:.1f}" height="{BAR - 6}" fill="{COLORS[0]}"/>')
        if error > 0:
            ends = f'x1="{at(value - error):.1f}" x2="{at(value + error):.1f}"'
            body.append(f'<line {ends} y1="{y + BAR / 2}" y2="{y + BAR / 2}" stroke="#333333"/>')
    body.append(_text((NAME_WIDTH + WIDTH - RIGHT) / 2, height - 8, x_name, anchor="middle"))
    return _svg(WIDTH, height, title, "".join(body))


def matrix_chart(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a matrix of counts: a row for each true class, a column for each predicted one."""
    width, left, top = 130 + CELL * len(names) + RIGHT, 130, TOP + 40
    body = [_text(left + CELL * len(names) / 2, TOP + 14, "predicted", anchor="middle"), _text(8, top - 6, "true")]
    for place, name in enumerate(names):
        body.append(_text(left + CELL * (place + 0.5), top - 6, _short(name, 9), anchor="middle"))
        body.append(_text(left - 8, top + CELL * (place + 0.5) + 4, _short(name, 18), anchor="end"))
    for row, line in enumerate(counts):
        total = sum(line) or 1
        for column, count in enumerate(line):
            share, x, y = count / total, left + CELL * column, top + CELL * row
            body.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{COLORS[0]}" '
                f'fill-opacity="{0.06 + 0.84 * share:.2f}"/>'
            )
            style = ' fill="#ffffff"' if share > 0.55 else ""
            body.append(_text(x + CELL / 2 - 1, y + CELL / 2 - 2, f"{count:,}", anchor="middle", more=style))
            body.append(_text(x + CELL / 2 - 1, y + CELL / 2 + 14, f"{share:.0%}", anchor="middle", more=style))
    return _svg(max(width, 260), top + CELL * len(names) + 12, title, "".join(body))


def _axes(
    x_ends: tuple[float, float],
    y_ends: tuple[float, float],
    x_at: Callable[[float], float],
    y_at: Callable[[float], float],
    x_name: str,
    y_name: str,
) -> str:
    parts = []
    for tick in _ticks(*x_ends):
        x = x_at(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 16, _number(tick), anchor="middle"))
    for tick in _ticks(*y_ends):
        y = y_at(tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(LEFT - 6, y + 4, _number(tick), anchor="end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name, anchor="middle"))
    turned = f' transform="rotate(-90 14 {HEIGHT / 2})"'
    parts.append(_text(14, HEIGHT / 2, y_name, anchor="middle", more=turned))
    return "".join(parts)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        gap = abs(low) or 1.0
        return low - gap / 2, high + gap / 2
    return low, high


def _scale(ends: tuple[float, float], first: float, last: float) -> Callable[[float], float]:
    low, high = ends
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between two ends."""
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * place for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.3g}"


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _text(x: float, y: float, text: str, *, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11" fill="#333333"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        f'<text x="{width / 2:.0f}" y="20" text-anchor="middle" font-size="14">{escape(title)}</text>{body}</svg>\n'
    )
