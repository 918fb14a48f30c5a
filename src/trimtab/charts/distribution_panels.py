"""Charts of distributions and groups: histograms of a column, gains by segment, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.charts.buckets import known
from trimtab.charts.theme import (
    NUMBER_LABEL,
    SCALE,
    Frame,
    Spec,
    chart,
    empty,
    expression_text,
    row_axis,
    value_axis,
    values,
)

MOST_BARS = 8
"""Categories that are drawn; the others are one bar."""
MOST_SEGMENTS = 15
BAR_ROW = 20
EDGES_SHOWN = 4
"""Edges of bins that are written on the axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShares:
    """Shares of rows of a column, now and in the reference, by the same bins.

    Attributes:
        labels: categories; empty for numbers.
        edges: text of the edges of the bins of numbers, one more than bins; empty for categories.
        now, reference: share of each bin, 0 to 1.
    """

    labels: Sequence[str] = ()
    edges: Sequence[str] = ()
    now: Sequence[float]
    reference: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentGain:
    """The gain of a version in a group of rows, with its bounds where there are enough windows."""

    name: str
    gain: float | None
    low: float | None = None
    high: float | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Rows whose probability lies in a bin: what was said, what happened.

    Attributes:
        said: mean probability.
        happened: share with the outcome.
        low, high: interval of `happened`.
    """

    said: float
    happened: float
    rows: int
    low: float | None = None
    high: float | None = None


def column_panel(column: ColumnShares, frame: Frame, *, name: str = "column") -> Spec:
    """Return the shares of a column by bin: a bar for now, a tick for the reference.

    Bins of numbers are drawn with equal widths, in their order: a bar above its tick has more rows than usual.
    Categories are rows, the largest first.
    """
    about = f"shares of {name} by {'category' if column.labels else 'bin'}: bar now, tick reference"
    if not column.now:
        return empty(frame, about, "no values")
    return _categories(column, frame, about) if column.labels else _bins(column, frame, about)


def _bins(column: ColumnShares, frame: Frame, about: str) -> Spec:
    count = len(column.now)
    rows = [
        {"n": n, "next": n + 1, "now": now, "before": before, "zero": 0}
        for n, (now, before) in enumerate(zip(column.now, column.reference, strict=True))
    ]
    shown = sorted({round(count * n / EDGES_SHOWN) for n in range(EDGES_SHOWN + 1)})
    texts = ", ".join(f"'{expression_text(column.edges[n])}'" for n in shown) if column.edges else ""
    axis = {
        "title": None, "grid": False, "values": shown, "labelFlush": True, "labelOverlap": True,
        "labelExpr": f"[{texts}][indexof([{', '.join(map(str, shown))}], datum.value)]" if texts else "''",
    }  # fmt: skip
    x = {"field": "n", "type": "quantitative", "scale": {"domain": [0, count], "nice": False}, "axis": axis}
    scale = {"zero": True, "nice": True}
    y = value_axis(frame, "now", scale=scale, axis={"format": ".0%", "labelExpr": "datum.label", "tickCount": 3})
    span = {"x": x, "x2": {"field": "next"}}
    bar = {"type": "rect", "fill": frame.palette.champion, "stroke": frame.palette.page, "strokeWidth": 0.5}
    before = y | {"field": "before"}
    layers = [
        {"mark": bar, "encoding": {**span, "y": y, "y2": {"field": "zero"}}},
        {"mark": {"type": "rule", "stroke": frame.palette.text, "strokeWidth": 2}, "encoding": {**span, "y": before}},
    ]
    return chart(frame, about, {"data": values(rows), "layer": layers}, height=100)


def _categories(column: ColumnShares, frame: Frame, about: str) -> Spec:
    found = sorted(zip(column.labels, column.now, column.reference, strict=True), key=lambda row: -max(row[1:]))
    shown, rest = found[:MOST_BARS], found[MOST_BARS:]
    if rest:
        shown.append((f"other ({len(rest)})", sum(row[1] for row in rest), sum(row[2] for row in rest)))
    rows = [{"row": label, "now": now, "before": before} for label, now, before in shown]
    y = row_axis(frame, "row", [label for label, *_ in shown])
    axis = {"title": None, "format": ".0%", "tickCount": 4, "domain": False, "ticks": False}
    x = {"field": "now", "type": "quantitative", "axis": axis, "scale": {"zero": True, "nice": True}}
    tick = {"type": "tick", "color": frame.palette.text, "thickness": 2, "height": BAR_ROW * 0.8}
    layers = [
        {
            "mark": {"type": "bar", "fill": frame.palette.champion, "height": {"band": 0.5}},
            "encoding": {"x": x, "y": y},
        },
        {"mark": tick, "encoding": {"x": x | {"field": "before"}, "y": y}},
    ]
    return chart(frame, about, {"data": values(rows), "layer": layers}, height=BAR_ROW * len(rows))


def segments_panel(
    segments: Sequence[SegmentGain], frame: Frame, *, metric: str = "loss", limit: int | None = MOST_SEGMENTS
) -> Spec:
    """Return the gain of each group with its bounds, the worst first.

    A group that is worse beyond doubt (bounds below 0) is a triangle in the colour of severe, one that is better a
    circle in the colour of pass, the others hollow circles.

    Args:
        limit: groups that are drawn: those whose gain is furthest from 0; None for all.
    """
    about = f"gain in {metric} by group of rows with its bounds"
    drawn = [segment for segment in segments if known(segment.gain)]
    if not drawn:
        return empty(frame, about, "no group has enough rows")
    if limit is not None and len(drawn) > limit:
        drawn = sorted(drawn, key=lambda s: -abs(s.gain or 0.0))[:limit]
    drawn.sort(key=lambda s: s.gain or 0.0)
    rows: list[Spec] = [{"row": s.name, "gain": s.gain, "low": s.low, "high": s.high, "sure": _sure(s)} for s in drawn]
    y = row_axis(frame, "row", [segment.name for segment in drawn])
    axis = {"title": None, "tickCount": 5, "domain": False, "ticks": False, "labelExpr": NUMBER_LABEL}
    x = {"field": "gain", "type": "quantitative", "axis": axis, "scale": SCALE | {"zero": True}}
    palette = frame.palette
    paint = {
        "better": ("circle", palette["pass"]),
        "open": ("circle", palette.page),
        "worse": ("triangle-down", palette.severe),
    }
    bounded = values([row for row in rows if known(row["low"]) and known(row["high"])])
    spread = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y}
    layers: list[Spec] = [
        {"data": values([{"gain": 0}]), "mark": {"type": "rule", "stroke": palette.text}, "encoding": {"x": x}},
        {"data": bounded, "mark": {"type": "rule", "stroke": palette.challenger, "strokeWidth": 2}, "encoding": spread},
    ]
    for sure, (shape, fill) in paint.items():
        own = [row for row in rows if row["sure"] == sure]
        edge = palette.challenger if sure == "open" else fill
        mark = {"type": "point", "shape": shape, "size": 60, "fill": fill, "stroke": edge, "strokeWidth": 1.5}
        if own:
            layers.append({"data": values(own), "mark": mark, "encoding": {"x": x, "y": y}})
    return chart(frame, about, {"layer": layers}, height=BAR_ROW * len(rows))


def _sure(segment: SegmentGain) -> str:
    if segment.low is not None and segment.low > 0:
        return "better"
    return "worse" if segment.high is not None and segment.high < 0 else "open"


def calibration_panel(series: Sequence[tuple[str, Sequence[CalibrationBin]]], frame: Frame) -> Spec:
    """Return what was said against what happened, with the diagonal of a calibrated model.

    Args:
        series: a role (champion, challenger or shadow) and its bins; each role has its colour and shape.
    """
    from_roles = {"champion": "circle", "challenger": "square", "shadow": "diamond"}
    about = "share of outcomes by predicted probability; a calibrated model lies on the diagonal"
    if not any(bins for _, bins in series):
        return empty(frame, about, "no labels yet")
    percent = {"format": ".0%", "labelExpr": "datum.label", "tickCount": 5}
    scale = {"domain": [0, 1], "nice": False}
    axis = {"title": "said", "tickCount": 5, "format": ".0%", "grid": False}
    x = {"field": "said", "type": "quantitative", "scale": scale, "axis": axis}
    y = value_axis(frame, "happened", scale=scale, axis=percent)
    diagonal = {"type": "line", "stroke": frame.palette.muted, "strokeDash": [4, 3]}
    ends = values([{"said": 0, "happened": 0}, {"said": 1, "happened": 1}])
    layers: list[Spec] = [{"data": ends, "mark": diagonal, "encoding": {"x": x, "y": y}}]
    for role, bins in series:
        color = frame.palette[role]
        rows = [{"said": b.said, "happened": b.happened, "low": b.low, "high": b.high} for b in bins if b.rows]
        bounded = [row for row in rows if known(row["low"]) and known(row["high"])]
        spread = {"x": x, "y": value_axis(frame, "low", scale=scale, axis=percent), "y2": {"field": "high"}}
        if bounded:
            layers.append({"data": values(bounded), "mark": {"type": "rule", "stroke": color}, "encoding": spread})
        mark = {"type": "point", "shape": from_roles[role], "fill": color, "size": 50}
        layers.append({"data": values(rows), "mark": mark, "encoding": {"x": x, "y": y}})
    return chart(frame, about, {"layer": layers}, height=240)
