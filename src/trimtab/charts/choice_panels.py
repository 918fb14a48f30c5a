"""Charts to choose by: policies of a backtest, runs, gates, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Literal

from trimtab.charts.buckets import grouped, known
from trimtab.charts.theme import (
    DASHES,
    MOST_SERIES,
    SCALE,
    Frame,
    Spec,
    chart,
    empty,
    expression_text,
    millis,
    row_axis,
    text_layers,
    time_axis,
    value_axis,
    values,
)

GATE_ROW = 36
SERIES = ("champion", "challenger", "shadow", "pass", "moderate", "severe", "waits", "minor")
"""Uses of the palette for lines of policies, in order."""
TEXT_ROW = 15
"""Pixels between texts that stand below one another."""
FRONTIER_HEIGHT = 300
LINES_RIGHT = 190
"""Pixels right of lines, for their names."""
MOST_POINTS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPoint:
    """A policy of a backtest: what it saved, and how often it retrained."""

    name: str
    trainings: int
    saved: float
    low: float
    high: float
    on_frontier: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPoint:
    """A training run.

    Attributes:
        time: when it began.
        registered: it became a version.
    """

    name: str
    time: datetime
    value: float
    registered: bool

    @property
    def start(self) -> datetime:
        """The time, as of a window."""
        return self.time

    @property
    def end(self) -> datetime:
        """The time, as of a window."""
        return self.time


@dataclass(frozen=True, slots=True, kw_only=True)
class GateMark:
    """The result of one gate: value with its bounds against the threshold, in the gate's own unit."""

    name: str
    value: float
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Literal["pass", "warn", "fail"] = "pass"
    higher_is_better: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBar:
    """Cost of one kind (training, predictions, storage ...) in one month."""

    month: str
    kind: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBar:
    """A batch of rows and the verdict of its checks."""

    name: str
    rows: int
    verdict: Literal["pass", "warn", "fail"]


def frontier_panel(policies: Sequence[PolicyPoint], frame: Frame, *, unit: str) -> Spec:
    """Return what each policy saved against the number of its trainings, with bounds and its name at the point.

    Policies on the frontier (none saves more with fewer trainings) are filled and joined by a line.
    """
    about = f"{unit} saved by each policy against its trainings"
    if not policies:
        return empty(frame, about, "no policy was run")
    ordered = sorted(policies, key=lambda p: (p.trainings, p.saved))
    lowest, highest = min(min(p.low for p in ordered), 0.0), max(max(p.high for p in ordered), 0.0)
    pad = 0.05 * (highest - lowest) or 1.0
    domain, per_pixel = [lowest - pad, highest + pad], (highest - lowest + 2 * pad) / FRONTIER_HEIGHT
    texts = _apart([p.saved for p in ordered], TEXT_ROW * per_pixel)
    rows = [
        {"x": p.trainings, "y": p.saved, "low": p.low, "high": p.high, "text": p.name, "at": at, "on": p.on_frontier}
        for p, at in zip(ordered, texts, strict=True)
    ]
    scale = {"domain": domain, "nice": False}
    y = value_axis(frame, "y", scale=scale, axis={"tickCount": 6})
    most = max(p.trainings for p in ordered)
    axis = {"title": "trainings", "grid": False, "format": "d", "tickMinStep": 1, "tickCount": 8}
    x = {
        "field": "x",
        "type": "quantitative",
        "axis": axis,
        "scale": {"domain": [0, max(most * 1.35, 1)], "nice": False},
    }
    palette = frame.palette
    on, off = [row for row in rows if row["on"]], [row for row in rows if not row["on"]]
    dashed = {"type": "line", "stroke": palette.muted, "strokeDash": [3, 3], "strokeWidth": 1}
    spread = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}}
    text = {"align": "left", "baseline": "middle", "dx": 9}
    place = {"x": x, "y": y}
    layers = [
        {"data": values([{"y": 0}]), "mark": {"type": "rule", "stroke": palette.line}, "encoding": {"y": y}},
        {"data": values(on), "mark": dashed, "encoding": place},
        {"data": values(rows), "mark": {"type": "rule", "stroke": palette.champion}, "encoding": spread},
        {"data": values(on), "mark": {"type": "point", "size": 70, "fill": palette.champion}, "encoding": place},
        {
            "data": values(off),
            "mark": {"type": "point", "size": 70, "fill": palette.page, "stroke": palette.champion, "strokeWidth": 1.5},
            "encoding": place,
        },
        *text_layers(frame, rows, {"x": x, "y": y | {"field": "at"}}, text),
    ]
    return chart(frame, about, {"layer": layers}, height=FRONTIER_HEIGHT)


def savings_panel(lines: Sequence[tuple[str, Sequence[float]]], starts: Sequence[datetime], frame: Frame) -> Spec:
    """Return what each policy has saved up to each window, a line each, with its name at the end.

    Args:
        lines: name and sums, one for each start.
    """
    about = "saved by each policy up to each window"
    if not lines or not starts:
        return empty(frame, about, "no policy was run")
    places = sorted({*range(0, len(starts), max(len(starts) // (MOST_POINTS // 2), 1)), len(starts) - 1})
    found = [v for _, sums in lines for v in sums]
    low, high = min(0.0, *found), max(0.0, *found)
    pad = 0.05 * (high - low) or 1.0
    scale = {"domain": [low - pad, high + pad], "nice": False}
    ends = _apart([sums[-1] for _, sums in lines], TEXT_ROW * (high - low + 2 * pad) / FRONTIER_HEIGHT)
    y = value_axis(frame, "y", scale=scale, axis={"tickCount": 6})
    x = time_axis(replace(frame, start=starts[0], end=starts[-1]), "at")
    layers: list[Spec] = []
    for n, ((name, sums), end) in enumerate(zip(lines, ends, strict=True)):
        color, dash = frame.palette[SERIES[n % len(SERIES)]], list(DASHES.values())[n // len(SERIES) % 3]
        rows = [{"at": millis(starts[place]), "y": sums[place]} for place in places]
        line = {"type": "line", "stroke": color, "strokeWidth": 2, "strokeDash": dash}
        layers.append({"data": values(rows), "mark": line, "encoding": {"x": x, "y": y}})
        text = {
            "type": "text",
            "align": "left",
            "baseline": "middle",
            "dx": 8,
            "fill": color,
            "limit": LINES_RIGHT - 10,
        }
        label = [{"at": millis(starts[-1]), "y": end, "text": name}]
        layers.append({"data": values(label), "mark": text, "encoding": {"x": x, "y": y, "text": {"field": "text"}}})
    return chart(frame, about, {"layer": layers}, height=FRONTIER_HEIGHT)


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Return places of texts that do not cover one another, in their order."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    found = list(places)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + least)
    return found


def runs_panel(runs: Sequence[RunPoint], frame: Frame, *, metric: str) -> Spec:
    """Return a metric of runs against their start; runs that became a version are filled.

    Of more than MOST_SERIES runs each bucket shows its lowest and its highest.
    """
    about = f"{metric} of training runs by start; filled: registered"
    drawn = [run for run in runs if known(run.value)]
    if not drawn:
        return empty(frame, about, "no run has this metric")
    shown = [
        run
        for group in grouped(drawn, MOST_SERIES if len(drawn) <= MOST_SERIES else MOST_SERIES // 3)
        for run in _kept(group)
    ]
    rows = [{"at": millis(r.time), "value": r.value, "on": r.registered, "name": r.name} for r in shown]
    color = frame.palette.champion
    encoding = {"x": time_axis(frame, "at"), "y": value_axis(frame, "value")}
    layers = [
        {
            "data": values([row for row in rows if row["on"] is on]),
            "mark": _run_mark(frame, color, on),
            "encoding": encoding,
        }
        for on in (False, True)
    ]
    return chart(frame, about, {"layer": layers}, height=160)


def _kept(group: Sequence[RunPoint]) -> list[RunPoint]:
    """Return the lowest and the highest run of a group, and its best-known one: the last that was registered."""
    if len(group) < 3:
        return list(group)
    ends = [min(group, key=lambda r: r.value), max(group, key=lambda r: r.value)]
    return [*ends, *[r for r in group if r.registered and r not in ends][-1:]]


def _run_mark(frame: Frame, color: str, filled: bool) -> Spec:
    fill = color if filled else frame.palette.page
    return {"type": "point", "shape": "circle", "size": 60, "fill": fill, "stroke": color, "strokeWidth": 1.5}


def gates_panel(gates: Sequence[GateMark], frame: Frame) -> Spec:
    """Return each gate as a row: value with its bounds, right of the common line of the thresholds where it passes.

    Each row has a scale of its own; value and threshold are written at their marks. A gate that passes is a circle,
    one that warns a square, one that fails a cross.
    """
    about = "gates: value with its bounds against the threshold; right of the line is better"
    rows = [_gate_row(gate) for gate in gates if known(gate.value) and known(gate.threshold)]
    if not rows:
        return empty(frame, about, "no gate has a number and a threshold")
    y = row_axis(frame, "row", list(dict.fromkeys(row["row"] for row in rows)))
    x = {"field": "at", "type": "quantitative", "axis": None, "scale": {"domain": [-1.2, 1.2], "nice": False}}
    palette = frame.palette
    layers: list[Spec] = [
        {"data": values([{"at": 0}]), "mark": {"type": "rule", "stroke": palette.text}, "encoding": {"x": x}}
    ]
    for verdict, (shape, use) in {
        "pass": ("circle", "pass"),
        "warn": ("square", "moderate"),
        "fail": ("cross", "severe"),
    }.items():
        own = [row for row in rows if row["verdict"] == verdict]
        bounded = [row for row in own if known(row["low"]) and known(row["high"])]
        spread = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y}
        rule = {"type": "rule", "stroke": palette[use], "strokeWidth": 2}
        edge = {"stroke": palette.page, "strokeWidth": 1.5}
        point = {"type": "point", "shape": shape, "fill": palette[use], "size": 110, **edge}
        layers.append({"data": values(bounded), "mark": rule, "encoding": spread})
        layers.append({"data": values(own), "mark": point, "encoding": {"x": x, "y": y}})
    place = {"baseline": "bottom", "dy": -6}
    layers += text_layers(frame, rows, {"x": x, "y": y}, place)
    limits = [{"row": row["row"], "at": 0, "text": row["limit"], "right": row["at"] >= 0} for row in rows]
    for right in (True, False):
        side = {"align": "right", "dx": -5} if right else {"align": "left", "dx": 5}
        own = [row for row in limits if row["right"] is right]
        layers += text_layers(
            frame, own, {"x": x, "y": y}, {"baseline": "bottom", "dy": -4, "fill": palette.muted, **side}
        )
    return chart(frame, about, {"layer": layers}, height=GATE_ROW * len({row["row"] for row in rows}))


def _gate_row(gate: GateMark) -> Spec:
    """Return the places of a gate between -1 and 1; 0 is its threshold."""
    limit, sign = gate.threshold or 0.0, 1 if gate.higher_is_better else -1
    numbers = [sign * (v - limit) if v is not None and known(v) else None for v in (gate.value, gate.low, gate.high)]
    reach = max((abs(v) for v in numbers if v is not None), default=0.0) or 1.0
    at, low, high = (None if v is None else v / reach for v in numbers)
    text = {"text": f"{gate.value:.3g}".replace("-", "\u2212"), "limit": f"limit {limit:.3g}".replace("-", "\u2212")}
    return {"row": gate.name, "at": at, "low": low, "high": high, "verdict": gate.verdict, **text}


def batches_panel(batches: Sequence[BatchBar], frame: Frame) -> Spec:
    """Return the rows of batches as bars, in the colour of their verdict; a square marks a warning, a cross a refusal.

    Of more than MOST_SERIES / 2 batches the newest are drawn.
    """
    about = "rows of each batch; a square marks a warning, a cross a refusal"
    if not batches:
        return empty(frame, about, "no batch yet")
    palette = frame.palette
    uses = {"pass": ("circle", palette.minor), "warn": ("square", palette.moderate), "fail": ("cross", palette.severe)}
    shown = batches[-MOST_SERIES // 2 :]
    rows = [
        {"n": n, "next": n + 0.8, "at": n + 0.4, "rows": b.rows, "zero": 0, "verdict": b.verdict}
        for n, b in enumerate(shown)
    ]
    texts = f"['{expression_text(shown[0].name)}', '{expression_text(shown[-1].name)}'][datum.value ? 1 : 0]"
    axis = {"title": None, "grid": False, "values": [0, len(shown)][: len(shown)], "labelFlush": True, "ticks": False}
    scale = {"domain": [0, len(shown)], "nice": False}
    x = {"field": "n", "type": "quantitative", "axis": axis | {"labelExpr": texts}, "scale": scale}
    y = value_axis(frame, "rows", scale=SCALE | {"zero": True})
    bar = {"x": x, "x2": {"field": "next"}, "y": y, "y2": {"field": "zero"}}
    layers: list[Spec] = []
    for verdict, (shape, color) in uses.items():
        own = [row for row in rows if row["verdict"] == verdict]
        layers.append({"data": values(own), "mark": {"type": "rect", "fill": color}, "encoding": bar})
        if verdict != "pass":
            mark = {"type": "point", "shape": shape, "size": 40, "fill": color, "yOffset": -8}
            layers.append({"data": values(own), "mark": mark, "encoding": {"x": x | {"field": "at"}, "y": y}})
    return chart(frame, about, {"layer": layers}, height=110)


def cost_panel(costs: Sequence[CostBar], frame: Frame, *, currency: str) -> Spec:
    """Return the cost of each month, stacked by kind."""
    about = f"cost by month in {currency}, stacked by kind"
    if not costs:
        return empty(frame, about, "no costs are known yet")
    kinds = list(dict.fromkeys(cost.kind for cost in costs))
    rows = [{"month": c.month, "kind": c.kind, "value": c.value, "order": kinds.index(c.kind)} for c in costs]
    colors = [frame.palette[SERIES[n % len(SERIES)]] for n in range(len(kinds))]
    legend = {
        "title": None,
        "orient": "top",
        "labelColor": frame.palette.muted,
        "labelFontSize": 12,
        "symbolType": "square",
    }
    x = {"field": "month", "type": "ordinal", "axis": {"title": None, "labelAngle": 0, "labelOverlap": True}}
    encoding = {
        "x": x, "y": value_axis(frame, "value", scale={"zero": True, "nice": True}),
        "fill": {"field": "kind", "type": "nominal", "scale": {"domain": kinds, "range": colors}, "legend": legend},
        "order": {"field": "order", "type": "quantitative"},
    }  # fmt: skip
    bar = {"type": "bar", "stroke": frame.palette.page, "strokeWidth": 1, "width": {"band": 0.5}}
    return chart(frame, about, {"data": values(rows), "mark": bar, "encoding": encoding}, height=180)
