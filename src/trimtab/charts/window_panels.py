"""Charts of values by window: loss, any metric, p-values, money, gains of a challenger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trimtab.charts.buckets import Bucket, bucketed, grouped, known, quantile, rolling_mean
from trimtab.charts.theme import (
    DASHES,
    MOST_SERIES,
    SCALE,
    SHAPES,
    Frame,
    Role,
    Spec,
    chart,
    empty,
    expression_text,
    millis,
    text_layers,
    time_axis,
    value_axis,
    values,
)

ROLLING = 7
"""Windows of the mean that is drawn as a line."""
MOST_INTERVALS = 90
"""Windows with bounds that are drawn with them."""
MOST_DOTS = 250
"""Above it, dots are small."""
SMALLEST_P = 1e-6
"""Smaller p-values are drawn at the lower edge."""
P_LABEL = "datum.value < 0.001 ? replace(format(datum.value, '.0e'), '-', '\\u2212') : format(datum.value, '~g')"
CUT = 0.02
"""Share of the gains at either end that the axis leaves out."""
TINT = 0.14
"""Opacity of areas behind marks."""
MOST_BARS = MOST_SERIES * 2 // 3
HATCHES = 24
"""Lines of an area for which there are no bounds yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowValue:
    """A value of one window.

    Attributes:
        start, end: bounds of the window, UTC.
        value: None or NaN where it is not known: nothing is drawn.
        low, high: bounds of the value, if there are.
        version: of the model; lines of p-values begin anew with it.
        role: gives colour and shape.
    """

    start: datetime
    end: datetime
    value: float | None
    low: float | None = None
    high: float | None = None
    version: int | None = None
    role: Role = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualRange:
    """What is usual for the version that served from start to end."""

    start: datetime
    end: datetime
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A limit that is drawn as a line across the panel, in the colour of what happens beyond it."""

    name: str
    value: float
    use: str = "moderate"


@dataclass(frozen=True, slots=True, kw_only=True)
class PValue:
    """p-values of one window: of it alone, and of all windows up to it. name: its time, or its first row."""

    name: str
    p: float
    p_seq: float


def loss_panel(
    windows: Sequence[WindowValue], usual: Sequence[UsualRange], frame: Frame, *, metric: str = "loss"
) -> Spec:
    """Return the loss by window: dots, their mean of ROLLING windows as a line, what is usual as a tint."""
    about = f"{metric} by window, its mean of {ROLLING} windows and the usual range"
    return _value_panel(windows, frame, about, usual=usual)


def metric_panel(
    windows: Sequence[WindowValue],
    frame: Frame,
    *,
    metric: str,
    usual: Sequence[UsualRange] = (),
    limits: Sequence[Level] = (),
    zero: bool = False,
) -> Spec:
    """Return any metric by window: latency, cost, a KPI; of several roles, each with its shape.

    Args:
        limits: lines across the panel.
        zero: let the axis begin at 0.
    """
    return _value_panel(windows, frame, f"{metric} by window", usual=usual, limits=limits, zero=zero)


def _value_panel(
    windows: Sequence[WindowValue],
    frame: Frame,
    about: str,
    *,
    usual: Sequence[UsualRange] = (),
    limits: Sequence[Level] = (),
    zero: bool = False,
) -> Spec:
    drawn = [window for window in windows if known(window.value)]
    if not drawn:
        return empty(frame, about, "no window has a value yet")
    layers: list[Spec] = [*_tint(usual, frame)]
    roles = list(dict.fromkeys(window.role for window in drawn))
    for role in roles:
        own = [window for window in drawn if window.role == role]
        layers += _dots(own, frame, role, MOST_SERIES // len(roles))
    layers += _levels(limits, frame, [float(w.value) for w in drawn if w.value is not None])
    for layer in layers:
        layer["encoding"]["y"]["scale"] = SCALE | {"zero": zero}
    return chart(frame, about, {"layer": layers}, height=140)


def _tint(usual: Sequence[UsualRange], frame: Frame) -> list[Spec]:
    if not usual:
        return []
    rows = [{"start": millis(u.start), "end": millis(u.end), "low": u.low, "high": u.high} for u in usual]
    encoding = {
        "x": time_axis(frame), "x2": {"field": "end"}, "y": value_axis(frame, "low"), "y2": {"field": "high"},
    }  # fmt: skip
    mark = {"type": "rect", "fill": frame.palette.champion, "fillOpacity": TINT, "clip": True}
    return [{"data": values(rows), "mark": mark, "encoding": encoding}]


def _dots(windows: Sequence[WindowValue], frame: Frame, role: Role, most: int) -> list[Spec]:
    """Draw dots, or buckets with their extremes; bounds where there are few; the line of the rolling mean."""
    color = frame.palette[role]
    x, y = time_axis(frame, "at"), value_axis(frame, "value")
    layers = []
    if len(windows) > most:
        buckets = bucketed(windows, lambda window: window.value, most // 2)
        rows = [_bucket_row(bucket) for bucket in buckets]
        spread = {"x": x, "y": value_axis(frame, "low"), "y2": {"field": "high"}}
        rule = {"type": "rule", "stroke": color, "strokeWidth": 1, "clip": True}
        layers.append({"data": values(rows), "mark": rule, "encoding": spread})
    else:
        rows = [{"at": _middle(w.start, w.end), "value": w.value, "low": w.low, "high": w.high} for w in windows]
        bounded = [row for row in rows if known(row["low"]) and known(row["high"])]
        if bounded and len(rows) <= MOST_INTERVALS:
            bounds = {"x": x, "y": value_axis(frame, "low"), "y2": {"field": "high"}}
            rule = {"type": "rule", "stroke": color, "strokeWidth": 1, "clip": True}
            layers.append({"data": values(bounded), "mark": rule, "encoding": bounds})
    size = 12 if len(rows) > MOST_DOTS else 24
    dot = {"type": "point", "shape": SHAPES[role], "fill": color, "size": size, "clip": True}
    layers.append(
        {"data": values([_only(row, "at", "value") for row in rows]), "mark": dot, "encoding": {"x": x, "y": y}}
    )
    means = rolling_mean([float(row["value"]) for row in rows], ROLLING)
    line = {"type": "line", "stroke": color, "strokeWidth": 2, "strokeDash": DASHES[role], "clip": True}
    smooth = [{"at": row["at"], "value": mean} for row, mean in zip(rows, means, strict=True)]
    layers.append({"data": values(smooth), "mark": line, "encoding": {"x": x, "y": y}})
    return layers


def _levels(levels: Sequence[Level], frame: Frame, drawn: Sequence[float]) -> list[Spec]:
    """Draw the levels that are not far beyond the drawn values: those would flatten them."""
    largest = max((abs(value) for value in drawn), default=0.0)
    layers: list[Spec] = []
    for n, level in enumerate(levels):
        if abs(level.value) > 3 * largest:
            continue
        color, y = frame.palette[level.use], value_axis(frame, "value")
        rows = [{"value": level.value, "text": level.name}]
        rule = {"type": "rule", "stroke": color, "strokeDash": [4, 3], "strokeWidth": 1}
        layers.append({"data": values(rows), "mark": rule, "encoding": {"y": y}})
        # names of neighbouring levels stand at either end, so that they do not cover one another
        side = {"align": "right", "dx": -4} if n % 2 else {"align": "left", "dx": 4}
        place = {"value": "width"} if n % 2 else {"value": 0}
        mark = {"baseline": "bottom", "dy": -3, "fill": color, **side}
        layers += text_layers(frame, rows, {"x": place, "y": y}, mark)
    return layers


def p_seq_panel(
    windows: Sequence[WindowValue], frame: Frame, *, levels: Sequence[float] = (0.05, 0.01), name: str = "p_seq"
) -> Spec:
    """Return anytime-valid p-values on a logarithmic axis from 1 to SMALLEST_P, with the bounds of the bands.

    The line begins anew at each version. A bucket of many windows shows its smallest value.

    Args:
        levels: bounds of moderate and of severe.
        name: of the value, for readers of the description.
    """
    about = f"{name} by window on a logarithmic axis, with the levels {', '.join(f'{v:g}' for v in levels)}"
    drawn = [window for window in windows if known(window.value)]
    if not drawn:
        return empty(frame, about, "no window was judged yet")
    versions = list(dict.fromkeys(window.version for window in drawn))
    rows, dots = list[Spec](), list[Spec]()
    for version in versions:
        own = [window for window in drawn if window.version == version]
        buckets = bucketed(own, lambda window: window.value, max(MOST_SERIES // len(versions) - 1, 1))
        found = [
            {"at": millis(b.start), "value": min(max(b.low, SMALLEST_P), 1.0), "version": version or 0} for b in buckets
        ]
        dots += [row | {"at": _middle(b.start, b.end)} for row, b in zip(found, buckets, strict=True)]
        rows += [*found, found[-1] | {"at": millis(buckets[-1].end)}]
    y = _p_axis(frame, levels)
    color = frame.palette.champion
    encoding = {"x": time_axis(frame, "at"), "y": y, "detail": {"field": "version", "type": "nominal"}}
    line = {"type": "line", "stroke": color, "strokeWidth": 1.5, "interpolate": "step-after", "clip": True}
    layers: list[Spec] = [
        {
            "data": values([{"value": level}]),
            "mark": {"type": "rule", "stroke": frame.palette[use], "strokeDash": [4, 3]},
            "encoding": {"y": y},
        }
        for level, use in zip(levels, ("moderate", "severe"), strict=False)
    ]
    layers.append({"data": values(rows), "mark": line, "encoding": encoding})
    below = [row for row in dots if row["value"] <= levels[-1]] if levels else []
    if below:
        dot = {"type": "point", "shape": "circle", "fill": frame.palette.severe, "size": 16}
        layers.append({"data": values(below), "mark": dot, "encoding": encoding})
    return chart(frame, about, {"layer": layers}, height=130)


def _p_axis(frame: Frame, levels: Sequence[float]) -> Spec:
    ticks = [1.0, *levels, 1e-4, SMALLEST_P]
    scale = {"type": "log", "domain": [SMALLEST_P, 1], "nice": False, "clamp": True}
    axis = {"values": ticks, "tickCount": 20, "labelOverlap": False, "labelExpr": P_LABEL}
    return value_axis(frame, "value", scale=scale, axis=axis)


def p_values_panel(windows: Sequence[PValue], frame: Frame, *, level: float) -> Spec:
    """Return p-values of windows in their order: a dot for each alone, a line for the sequential one.

    Windows need no time. Of more than MOST_SERIES windows, neighbours are drawn as one with its smallest values.
    """
    about = f"p-values by window on a logarithmic axis, alone and sequential, with the level {level:g}"
    if not windows:
        return empty(frame, about, "no window was judged")
    size = math.ceil(len(windows) / MOST_SERIES)
    groups = [windows[n : n + size] for n in range(0, len(windows), size)]
    rows = [
        {"n": n, "value": max(min(w.p for w in group), SMALLEST_P), "seq": max(group[-1].p_seq, SMALLEST_P)}
        for n, group in enumerate(groups)
    ]
    last = len(rows) - 1
    names = f"['{expression_text(windows[0].name)}', '{expression_text(windows[-1].name)}'][datum.value ? 1 : 0]"
    axis = {"title": None, "grid": False, "values": sorted({0, last}), "labelFlush": True, "labelExpr": names}
    x = {"field": "n", "type": "quantitative", "scale": {"domain": [0, max(last, 1)], "padding": 6}, "axis": axis}
    y = _p_axis(frame, [level])
    palette = frame.palette
    dashed = {"type": "rule", "stroke": palette.severe, "strokeDash": [4, 3]}
    dot = {"type": "point", "shape": "circle", "size": 20, "fill": palette.muted}
    line = {"type": "line", "stroke": palette.champion, "strokeWidth": 2}
    layers = [
        {"data": values([{"value": level}]), "mark": dashed, "encoding": {"y": y}},
        {"data": values(rows), "mark": dot, "encoding": {"x": x, "y": y}},
        {"data": values(rows), "mark": line, "encoding": {"x": x, "y": y | {"field": "seq"}}},
    ]
    return chart(frame, about, {"layer": layers}, height=150)


def money_panel(
    windows: Sequence[WindowValue],
    impact: Sequence[WindowValue],
    frame: Frame,
    *,
    currency: str,
    levels: Sequence[Level] = (),
) -> Spec:
    """Return money lost a day: a bar a window, the impact that decisions read as a line, the levels of the policy.

    Args:
        windows: money that the window lost beyond the usual, a day.
        impact: `impact_per_day` of the decisions, the mean of several windows.
        levels: medium and high; one far beyond all values is not drawn.
    """
    about = f"{currency} lost a day beyond the usual by window, and the impact that decisions read"
    bars = bucketed(windows, lambda window: window.value, MOST_BARS)
    line = bucketed(impact, lambda window: window.value, MOST_BARS)
    if not bars and not line:
        return empty(frame, about, "no window has a value in money yet")
    layers = _bars(bars, frame, frame.palette.minor)
    rows = [{"at": _middle(b.start, b.end), "value": b.mean} for b in line]
    place = {"x": time_axis(frame, "at"), "y": value_axis(frame, "value", scale=SCALE | {"zero": True})}
    for color, width in ((frame.palette.page, 5), (frame.palette.champion, 2)):
        mark = {"type": "line", "stroke": color, "strokeWidth": width, "clip": True}
        layers.append({"data": values(rows), "mark": mark, "encoding": place})
    layers += _levels(levels, frame, [b.high for b in (*bars, *line)])
    return chart(frame, about, {"layer": layers}, height=130)


def _bars(
    buckets: Sequence[Bucket], frame: Frame, color: str, low: float | None = None, high: float | None = None
) -> list[Spec]:
    """Draw a bar a window, from 0; of a bucket of several from its least to its largest value.

    low, high: ends of the axis, if it is cut.
    """
    if not buckets:
        return []
    rows = []
    for bucket in buckets:
        foot = 0.0 if bucket.count == 1 else bucket.low
        ends = [value if low is None or high is None else min(max(value, low), high) for value in (foot, bucket.high)]
        start, end = millis(bucket.start), millis(bucket.end)
        gap = (end - start) // 6 if len(buckets) < MOST_DOTS else 0
        rows.append({"start": start + gap, "end": end - gap, "low": ends[0], "high": ends[1]})
    scale = SCALE | {"zero": True} if low is None else {"domain": [low, high], "nice": False}
    encoding = {
        "x": time_axis(frame), "x2": {"field": "end"}, "y": value_axis(frame, "low", scale=scale),
        "y2": {"field": "high"},
    }  # fmt: skip
    return [{"data": values(rows), "mark": {"type": "rect", "fill": color, "clip": True}, "encoding": encoding}]


def gain_panel(
    windows: Sequence[WindowValue], growth: Sequence[WindowValue], frame: Frame, *, metric: str = "loss"
) -> Spec:
    """Return what a challenger gains on the champion: a bar a window, the mean so far with its bounds.

    The axis ends at the 2nd and the 98th percentile; a bar that goes beyond ends in a triangle.

    Args:
        windows: paired gain of each window; above 0 the challenger is better.
        growth: the mean up to each window with its bounds; None for a bound that does not exist yet.
    """
    about = f"gain of the challenger in {metric} by window, and the mean so far with its bounds"
    bars = bucketed(windows, lambda window: window.value, MOST_BARS)
    if not bars and not growth:
        return empty(frame, about, "no challenger was compared in this range")
    low, high = _gain_domain([*(w.value for w in windows), *_last_bounds(growth)])
    layers = _bars(bars, frame, frame.palette.challenger, low, high)
    scale = {"domain": [low, high], "nice": False}
    for edge, shape in ((high, "triangle-up"), (low, "triangle-down")):
        cut = [b for b in bars if (b.high > edge if shape == "triangle-up" else b.low < edge)]
        rows = [{"at": _middle(b.start, b.end), "value": edge} for b in cut]
        if rows:
            edge_of = {"stroke": frame.palette.page, "strokeWidth": 1.5}
            inside = 4 if shape == "triangle-up" else -4
            point = {"type": "point", "shape": shape, "fill": frame.palette.challenger, "size": 70}
            mark = {**point, **edge_of, "yOffset": inside}
            encoding = {"x": time_axis(frame, "at"), "y": value_axis(frame, "value", scale=scale)}
            layers.append({"data": values(rows), "mark": mark, "encoding": encoding})
    layers += _growth_layers(growth, frame, scale, line=frame.palette.text)
    layers.append(_zero(frame, scale))
    return chart(frame, about, {"layer": layers}, height=120)


def gain_growth_panel(growth: Sequence[WindowValue], frame: Frame, *, metric: str = "loss") -> Spec:
    """Return the mean gain up to each window with its bounds; hatched while there are too few windows for bounds."""
    about = f"mean gain in {metric} as it grew, with its bounds and a line at 0"
    drawn = [window for window in growth if known(window.value)]
    if not drawn:
        return empty(frame, about, "no window was compared yet")
    shown = drawn[len(drawn) // 4 :]  # the first bounds are wide: they would flatten the rest
    low, high = _gain_domain([v for w in shown for v in (w.low, w.value, w.high)], cut=0.0)
    scale = {"domain": [low, high], "nice": False}
    early = [window for window in drawn if not (known(window.low) and known(window.high))]
    layers = _hatching(early, frame, low, high)
    layers += _growth_layers(drawn, frame, scale, line=frame.palette.challenger)
    layers.append(_zero(frame, scale))
    return chart(frame, about, {"layer": layers}, height=180)


def _growth_layers(growth: Sequence[WindowValue], frame: Frame, scale: Spec, *, line: str) -> list[Spec]:
    drawn = [group[-1] for group in grouped([w for w in growth if known(w.value)], MOST_SERIES // 4)]
    if not drawn:
        return []
    rows = [{"at": millis(w.end), "value": w.value, "low": w.low, "high": w.high, "of": w.version or 0} for w in drawn]
    detail = {"detail": {"field": "of", "type": "nominal"}}  # the line of another version begins anew
    bounded = [row for row in rows if known(row["low"]) and known(row["high"])]
    x, layers = time_axis(frame, "at"), list[Spec]()
    if bounded:
        area = {"type": "area", "fill": frame.palette.challenger, "fillOpacity": TINT, "clip": True}
        low = value_axis(frame, "low", scale=scale)
        encoding = {"x": x, "y": low, "y2": {"field": "high"}, **detail}
        layers.append({"data": values(bounded), "mark": area, "encoding": encoding})
        for bound in ("low", "high"):
            mark = {"type": "line", "stroke": frame.palette.challenger, "strokeWidth": 1, "clip": True}
            encoding = {"x": x, "y": value_axis(frame, bound, scale=scale), **detail}
            layers.append({"data": values(bounded), "mark": mark, "encoding": encoding})
    mark = {"type": "line", "stroke": line, "strokeWidth": 2, "clip": True, "point": False}
    encoding = {"x": x, "y": value_axis(frame, "value", scale=scale), **detail}
    layers.append({"data": values(rows), "mark": mark, "encoding": encoding})
    return layers


def _hatching(early: Sequence[WindowValue], frame: Frame, low: float, high: float) -> list[Spec]:
    """Draw lines where bounds do not exist yet, and say so."""
    if not early:
        return []
    begin, end = millis(early[0].start), millis(early[-1].end)
    step = max((end - begin) / HATCHES, 1)
    rows = [{"at": begin + step * n, "low": low, "high": high} for n in range(HATCHES + 1)]
    scale = {"domain": [low, high], "nice": False}
    rule = {"type": "rule", "stroke": frame.palette.line, "strokeWidth": 1}
    x = time_axis(frame, "at")
    encoding = {"x": x, "y": value_axis(frame, "low", scale=scale), "y2": {"field": "high"}}
    text = {"align": "left", "baseline": "top", "dx": 4, "y": 4, "fill": frame.palette.muted}
    return [
        {"data": values(rows), "mark": rule, "encoding": encoding},
        *text_layers(frame, [{"at": begin, "text": "too early for bounds"}], {"x": x}, text),
    ]


def _zero(frame: Frame, scale: Spec) -> Spec:
    mark = {"type": "rule", "stroke": frame.palette.text, "strokeWidth": 1}
    y = value_axis(frame, "value", scale=scale)
    return {"data": values([{"value": 0}]), "mark": mark, "encoding": {"y": y}}


def _gain_domain(numbers: Sequence[float | None], cut: float = CUT) -> tuple[float, float]:
    found = [float(number) for number in numbers if number is not None and math.isfinite(number)]
    if not found:
        return -1.0, 1.0
    low, high = min(0.0, quantile(found, cut)), max(0.0, quantile(found, 1 - cut))
    pad = 0.08 * (high - low) or 1.0
    return low - pad, high + pad


def _last_bounds(growth: Sequence[WindowValue]) -> list[float | None]:
    return [growth[-1].low, growth[-1].high] if growth else []


def sparkline(numbers: Sequence[float | None], *, frame: Frame | None = None, description: str = "") -> Spec:
    """Return a small line without axes; its last value is a dot. Unknown values leave a gap."""
    frame = frame or Frame(width=120)
    rows = [{"n": n, "value": number if known(number) else None} for n, number in enumerate(numbers)]
    color = frame.palette.champion
    x = {"field": "n", "type": "quantitative", "axis": None, "scale": {"nice": False, "zero": False}}
    y = {"field": "value", "type": "quantitative", "axis": None, "scale": SCALE | {"padding": 2}}
    layers = [
        {"mark": {"type": "line", "stroke": color, "strokeWidth": 1.5, "invalid": "break-paths-show-domains"}},
        {
            "transform": [{"filter": f"datum.n === {len(rows) - 1}"}],
            "mark": {"type": "point", "fill": color, "size": 20},
        },
    ]
    body = {"data": values(rows), "layer": layers, "encoding": {"x": x, "y": y}}
    made = chart(frame, description or "development of the last windows", body, height=24)
    return made | {"padding": {"left": 2, "right": 4, "top": 3, "bottom": 3}}


def _bucket_row(bucket: Bucket) -> Spec:
    return {"at": _middle(bucket.start, bucket.end), "value": bucket.mean, "low": bucket.low, "high": bucket.high}


def _middle(start: datetime, end: datetime) -> int:
    return (millis(start) + millis(end)) // 2


def _only(row: Spec, *names: str) -> Spec:
    return {name: row[name] for name in names}
