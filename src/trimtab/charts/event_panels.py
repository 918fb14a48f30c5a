"""Charts of rows over time: what serves, what was decided, which signals were raised, who acted in a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trimtab.charts.buckets import grouped
from trimtab.charts.theme import (
    AXIS_WIDTH,
    DASHES,
    DRAWN_WIDTH,
    MOST_SERIES,
    RIGHT,
    SCHEMA,
    Frame,
    Role,
    Spec,
    chart,
    empty,
    millis,
    row_axis,
    time_axis,
    values,
)

Band = Literal["minor", "moderate", "severe"]
Done = Literal["acted", "raised", "held back"]

ORDER = ("champion", "challenger", "shadow")
"""Roles from the top."""
ROW = 22
"""Pixels of a row."""
DIGIT = 8
"""Pixels of a character."""
WORST: tuple[Band, ...] = ("minor", "moderate", "severe")
STATES = ("pass", "waits", "moderate", "severe")
"""Uses of the states of a process, the best first."""
BLOCKS: dict[Band, float] = {"moderate": 0.36, "severe": 0.8}
"""Height of the block of a band, as a share of its row."""
DONE_SHAPES: dict[Done, str] = {"acted": "triangle-down", "raised": "triangle-up", "held back": "stroke"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpan:
    """A version in a role from start to end."""

    role: Role
    version: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMark:
    """One decision.

    Attributes:
        start, end: bounds of the window that was judged.
        done: acted: the action was taken; raised: stronger than the matrix says; held back: milder.
    """

    start: datetime
    end: datetime
    number: int
    band: Band
    done: Done


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalMark:
    """The band of one kind of signal in one window.

    Attributes:
        row: name of the row: mistakes, inputs, predictions, missing values, latency, errors.
        band: by the corrected p_seq.
        alone: the window alone has a p-value below 0.01.
        decides: False for kinds that inform without choosing the band of a decision.
    """

    start: datetime
    end: datetime
    row: str
    band: Band
    alone: bool = False
    decides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSpan:
    """A stretch of time in a named row.

    Attributes:
        use: colour: a use of the palette.
        text: drawn inside where there is room.
    """

    row: str
    start: datetime
    end: datetime
    use: str = "champion"
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that was done at a time, in a named row. The shape says what: retrain, review, rollback, promote."""

    row: str
    time: datetime
    what: Literal["retrain", "review", "rollback", "promote"] = "retrain"

    @property
    def start(self) -> datetime:
        """The time, as of a window."""
        return self.time

    @property
    def end(self) -> datetime:
        """The time, as of a window."""
        return self.time


ACT_SHAPES = {"retrain": "triangle-down", "review": "triangle-up", "rollback": "cross", "promote": "square"}
ACT_USES = {"retrain": "severe", "review": "waits", "rollback": "severe", "promote": "pass"}


def serves_panel(spans: Sequence[ServingSpan], frame: Frame) -> Spec:
    """Return which version served in which role; the number of the version stands in its span.

    The champion is filled, a challenger is outlined with dashes, a shadow with dots. Shadows of the same time have
    rows of their own.
    """
    about = "versions that served, by role"
    if not spans:
        return empty(frame, about, "nothing has served yet")
    rows = _rows_of(spans)
    names = list(dict.fromkeys(span.row for span in rows))
    layers: list[Spec] = []
    for role in ORDER:
        data = [_span(frame, span) for span in _few(rows, names) if span.use == role]
        if not data:
            continue
        color, filled = frame.palette[role], role == "champion"
        edge = {"stroke": frame.palette.page if filled else color, "strokeDash": DASHES[role], "strokeWidth": 1}
        mark = {"type": "bar", "fill": color if filled else frame.palette.page, "height": {"band": 0.72}, "clip": True}
        layers.append({"data": values(data), "mark": mark | edge, "encoding": _span_encoding(frame, names)})
        layers.append(_inside(data, frame, names, frame.palette.page if filled else color))
    return chart(frame, about, {"layer": layers}, height=ROW * len(names))


def _rows_of(spans: Sequence[ServingSpan]) -> list[NamedSpan]:
    """Return each version as a span of its row: spans of one role that overlap get rows of their own."""
    ends: dict[str, datetime] = {}
    found = []
    for span in sorted(spans, key=lambda span: (ORDER.index(span.role), span.start, span.version)):
        lane = 1
        while (name := span.role if lane == 1 else f"{span.role} {lane}") in ends and ends[name] > span.start:
            lane += 1
        ends[name] = span.end
        found.append(NamedSpan(row=name, start=span.start, end=span.end, use=span.role, text=str(span.version)))
    return sorted(found, key=lambda each: (ORDER.index(each.use), each.row))


def _few(spans: Sequence[NamedSpan], names: Sequence[str]) -> list[NamedSpan]:
    """Return spans in their rows; where a row has very many, neighbours are one span, named by its first and last."""
    found = []
    for name in names:
        for group in grouped([span for span in spans if span.row == name], MOST_SERIES // (3 * len(names))):
            first, last = group[0], group[-1]
            text = first.text if len(group) == 1 else f"{first.text} to {last.text}"
            end = max(span.end for span in group)
            found.append(NamedSpan(row=name, start=first.start, end=end, use=first.use, text=text))
    return found


def _span(frame: Frame, span: NamedSpan) -> Spec:
    """Return a span with its text, the middle of what is seen of it, and its share of the width."""
    start, end = span.start, span.end
    first, last = frame.start or start, frame.end or end
    left, right = max(start, first), min(end, last)
    share = max((right - left) / (last - first), 0.0) if last > first else 1.0
    middle = (millis(left) + millis(right)) // 2
    ends = {"start": millis(start), "end": millis(end), "at": middle}
    return {"row": span.row, **ends, "text": span.text, "share": share, "color": frame.palette[span.use]}


def _fitting() -> list[Spec]:
    """Return the transform that leaves out texts for which there is no room."""
    return [{"filter": f"datum.share * width > {DIGIT} * length(datum.text) + 4"}]


def _span_encoding(frame: Frame, rows: Sequence[str]) -> Spec:
    return {"x": time_axis(frame), "x2": {"field": "end"}, "y": row_axis(frame, "row", rows)}


def _inside(rows: Sequence[Spec], frame: Frame, names: Sequence[str], color: str) -> Spec:
    mark = {"type": "text", "fill": color, "baseline": "middle", "clip": True}
    encoding = {"x": time_axis(frame, "at"), "y": row_axis(frame, "row", names), "text": {"field": "text"}}
    data = values([row for row in rows if row["text"]])
    return {"data": data, "transform": _fitting(), "mark": mark, "encoding": encoding}


def decisions_panel(decisions: Sequence[DecisionMark], frame: Frame) -> Spec:
    """Return the decisions that did something or were held back, in the colour of their band.

    A triangle pointing down acted, one pointing up was raised, a stroke was held back. Decisions to monitor where the
    matrix says monitor are no part of this chart: the table has them.
    """
    about = "decisions that acted, were raised or were held back, by window"
    if not decisions:
        return empty(frame, about, "no decision did more than monitor in this range")
    rows = [name for name in DONE_SHAPES if any(d.done == name for d in decisions)]
    data, layers = list[Spec](), list[Spec]()
    room = MOST_SERIES // len(rows)
    for name in rows:
        own = [d for d in decisions if d.done == name]
        for group in grouped(own, room):
            worst = max(group, key=lambda d: WORST.index(d.band))
            data.append({"row": name, "at": _middle(worst.start, worst.end), "band": worst.band, "text": ""})
            if len(group) == 1 and name != "held back":
                data[-1]["text"] = str(worst.number)
    _note_room(data, frame)
    y, x = row_axis(frame, "row", rows), time_axis(frame, "at")
    color = _band_color(frame)
    for name in rows:
        shape = DONE_SHAPES[name]
        paint = "stroke" if shape == "stroke" else "fill"
        mark: Spec = (
            {"type": "tick", "thickness": 2, "height": ROW * 0.6}
            if shape == "stroke"
            else {"type": "point", "shape": shape, "size": 70}
        )
        own_rows = [row for row in data if row["row"] == name]
        encoding = {"x": x, "y": y, paint if shape != "stroke" else "color": color}
        layers.append({"data": values(own_rows), "mark": mark, "encoding": encoding})
    text = {"type": "text", "align": "left", "dx": 7, "baseline": "middle"}
    named = [row for row in data if row["text"]]
    encoding = {"x": x, "y": y, "text": {"field": "text"}}
    layers.append({"data": values(named), "transform": _fitting(), "mark": text, "encoding": encoding})
    return chart(frame, about, {"layer": layers}, height=ROW * len(rows))


def _note_room(rows: Sequence[Spec], frame: Frame) -> None:
    """Add to each mark the share of the width up to the next mark of its row."""
    first = millis(frame.start) if frame.start else min(row["at"] for row in rows)
    last = millis(frame.end) if frame.end else max(row["at"] for row in rows)
    for name in {row["row"] for row in rows}:
        own = sorted((row for row in rows if row["row"] == name), key=lambda row: row["at"])
        for row, after in zip(own, [*own[1:], {"at": last}], strict=True):
            row["share"] = max(after["at"] - row["at"], 0) / max(last - first, 1)


def _band_color(frame: Frame) -> Spec:
    colors = [frame.palette[band] for band in WORST]
    return {"field": "band", "type": "nominal", "scale": {"domain": list(WORST), "range": colors}, "legend": None}


def signals_panel(signals: Sequence[SignalMark], frame: Frame) -> Spec:
    """Return the bands of each kind of signal: a low block for moderate, a full one for severe; a dot where p < 0.01.

    Rows of kinds that do not decide are grey and stand below a line.
    """
    about = (
        "signals by kind and window: half block moderate, full block severe, dot: this window alone has p below 0.01"
    )
    if not signals:
        return empty(frame, about, "no window was judged yet")
    deciding = list(dict.fromkeys(s.row for s in signals if s.decides))
    watched = list(dict.fromkeys(s.row for s in signals if not s.decides))
    rows = [*deciding, *watched]
    most = MOST_SERIES // len(rows) // 2
    layers: list[Spec] = []
    y = row_axis(frame, "row", rows, axis={"grid": True})
    for band, share in BLOCKS.items():
        for decides in (True, False):
            color = frame.palette[band] if decides else frame.palette.minor
            blocks = [b for row in rows for b in _blocks([s for s in signals if s.row == row], band, most)]
            data = [
                {"row": s.row, "start": millis(s.start), "end": millis(s.end)} for s in blocks if s.decides is decides
            ]
            mark = {"type": "bar", "fill": color, "height": {"band": share}, "clip": True}
            encoding = {"x": time_axis(frame), "x2": {"field": "end"}, "y": y}
            layers.append({"data": values(data), "mark": mark, "encoding": encoding})
    dots = [group[0] for row in rows for group in grouped([s for s in signals if s.row == row and s.alone], most)]
    edge = {"stroke": frame.palette.page, "strokeWidth": 1}
    dot = {"type": "point", "shape": "circle", "size": 30, "fill": frame.palette.text, **edge}
    data = [{"row": s.row, "at": _middle(s.start, s.end)} for s in dots]
    layers.append({"data": values(data), "mark": dot, "encoding": {"x": time_axis(frame, "at"), "y": y}})
    if deciding and watched:
        rule = {"type": "rule", "stroke": frame.palette.muted, "yOffset": -ROW / 2}
        first = [{"row": watched[0]}]
        layers.append({"data": values(first), "mark": rule, "encoding": {"y": y}})
    return chart(frame, about, {"layer": layers}, height=ROW * len(rows))


def _blocks(signals: Sequence[SignalMark], band: Band, most: int) -> list[SignalMark]:
    """Return stretches of windows of one row that are in a band; neighbours touch. Buckets show their worst band."""
    groups = grouped(signals, most)
    merged: list[SignalMark] = []
    for group in groups:
        worst = max(group, key=lambda s: WORST.index(s.band))
        if worst.band != band:
            continue
        start, end = group[0].start, max(s.end for s in group)
        if merged and merged[-1].end >= start:
            start = merged.pop().start
        merged.append(SignalMark(start=start, end=end, row=worst.row, band=band, decides=worst.decides))
    return merged


def timelines_panel(spans: Sequence[NamedSpan], acts: Sequence[Act], frame: Frame, *, about: str = "") -> Spec:
    """Return a row of spans and acts for each policy of a backtest, or for whatever else has rows."""
    about = about or "versions in service and acts by policy"
    if not spans:
        return empty(frame, about, "nothing has served yet")
    names = list(dict.fromkeys(span.row for span in spans))
    data = [_span(frame, span) for span in _few(spans, names)]
    color = {"field": "color", "type": "nominal", "scale": None}
    bar = {"type": "bar", "height": {"band": 0.5}, "stroke": frame.palette.page, "strokeWidth": 1, "clip": True}
    encoding = _span_encoding(frame, names) | {"fill": color}
    layers = [
        {"data": values(data), "mark": bar, "encoding": encoding},
        _inside(data, frame, names, frame.palette.page),
    ]
    for what, shape in ACT_SHAPES.items():
        most = MOST_SERIES // (6 * len(names))
        drawn = [g[0] for n in names for g in grouped([a for a in acts if (a.row, a.what) == (n, what)], most)]
        own = [{"row": act.row, "at": millis(act.time)} for act in drawn]
        edge = {"stroke": frame.palette.page, "strokeWidth": 1}
        mark = {
            "type": "point",
            "shape": shape,
            "size": 60,
            "fill": frame.palette[ACT_USES[what]],
            "yOffset": -9,
            **edge,
        }
        y = row_axis(frame, "row", names)
        if own:
            layers.append({"data": values(own), "mark": mark, "encoding": {"x": time_axis(frame, "at"), "y": y}})
    return chart(frame, about, {"layer": layers}, height=(ROW + 8) * len(names))


def health_panel(spans: Sequence[NamedSpan], frame: Frame) -> Spec:
    """Return the state of each process over time; neighbours of the same state are one span."""
    about = "state of the processes"
    if not spans:
        return empty(frame, about, "no process has reported yet")
    names = list(dict.fromkeys(span.row for span in spans))
    merged: list[NamedSpan] = []
    for span in (
        s for row in names for s in _worst_states([s for s in spans if s.row == row], MOST_SERIES // len(names))
    ):
        last = merged[-1] if merged else None
        if last and (last.row, last.use) == (span.row, span.use) and last.end >= span.start:
            merged[-1] = NamedSpan(row=span.row, start=last.start, end=span.end, use=span.use)
        else:
            merged.append(span)
    data = [_span(frame, span) | {"use": span.use} for span in merged]
    color = {"field": "color", "type": "nominal", "scale": None}
    # a state that is not good is higher, not of another colour alone
    high = [row for row in data if row["use"] not in ("pass", "champion")]
    low = [row for row in data if row["use"] in ("pass", "champion")]
    encoding = _span_encoding(frame, names) | {"fill": color}
    layers = [
        {"data": values(rows), "mark": {"type": "bar", "height": {"band": share}, "clip": True}, "encoding": encoding}
        for rows, share in ((low, 0.3), (high, 0.8))
    ]
    return chart(frame, about, {"layer": layers}, height=ROW * len(names))


def _worst_states(spans: Sequence[NamedSpan], most: int) -> list[NamedSpan]:
    """Return at most `most` spans of a row; a bucket of several has the worst state of them."""
    found = []
    for group in grouped(spans, most):
        worst = max(group, key=lambda span: STATES.index(span.use) if span.use in STATES else 0)
        end = max(span.end for span in group)
        found.append(NamedSpan(row=worst.row, start=group[0].start, end=end, use=worst.use))
    return found


def model_panels(panels: Sequence[tuple[str, Spec]], frame: Frame) -> Spec:
    """Return panels of one time axis below one another as one chart, each with its heading."""
    whole = ("$schema", "background", "autosize", "padding", "config", "description")
    parts = []
    for heading, panel in panels:
        title = {
            "text": heading,
            "anchor": "start",
            "frame": "group",
            "fontSize": 12,
            "offset": 4,
            "color": frame.palette.text,
        }
        part = {key: value for key, value in panel.items() if key not in whole}
        parts.append(
            part | {"title": title, "width": (frame.width or DRAWN_WIDTH) - (frame.axis or AXIS_WIDTH) - RIGHT}
        )
    about = "; ".join(f"{heading}: {panel['description']}" for heading, panel in panels)
    made = chart(frame, about, {"vconcat": parts})
    return {key: value for key, value in made.items() if key not in ("width", "autosize")} | {"$schema": SCHEMA}


def _middle(start: datetime, end: datetime) -> int:
    return (millis(start) + millis(end)) // 2
