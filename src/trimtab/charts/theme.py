"""Colours, axes and the frame that all charts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

Role = Literal["champion", "challenger", "shadow"]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
AXIS_WIDTH = 96
"""Pixels left of the plot, the same in all panels, so that their time axes line up."""
PHONE_AXIS_WIDTH = 56
PHONE_WIDTH = 480
"""Elements that are narrower have a narrow axis."""
DRAWN_WIDTH = 960
"""Pixels of a chart in a report or a document."""
MOST_MARKS = 600
"""Marks of one panel. Longer series are drawn as buckets."""
MOST_SERIES = MOST_MARKS - 20
"""Of the series; the others are left for levels and names."""
DIGITS = 6
RIGHT = 16
"""Pixels right of the plot."""
FONT = "system-ui, sans-serif"

SHAPES: dict[str, str] = {"champion": "circle", "challenger": "square", "shadow": "diamond"}
DASHES: dict[str, list[int]] = {"champion": [1, 0], "challenger": [6, 3], "shadow": [2, 2]}


@dataclass(frozen=True, slots=True)
class Palette:
    """The colour of each use. Contrast with the page, panels and chosen rows is at least 4.5."""

    champion: str
    challenger: str
    shadow: str
    minor: str
    moderate: str
    severe: str
    waits: str
    text: str
    muted: str
    link: str
    line: str
    page: str
    # named after the verdict; `pass` is a keyword
    pass_: str

    def __getitem__(self, use: str) -> str:
        return str(getattr(self, "pass_" if use == "pass" else use))


LIGHT = Palette(
    champion="#0b5cad", challenger="#a04a00", shadow="#6b4fa0", minor="#57606a", moderate="#8a5a00", severe="#b42318",
    waits="#0b6b6f", text="#1b1f24", muted="#57606a", link="#0a58ca", line="#d0d7de", page="#ffffff", pass_="#1a7336",
)  # fmt: skip
DARK = Palette(
    champion="#6cb0ff", challenger="#f0a05a", shadow="#b9a3ec", minor="#a0aab5", moderate="#e3b341", severe="#ff8a80",
    waits="#5cc8cf", text="#e6e9ed", muted="#a0aab5", link="#7db4ff", line="#3a424d", page="#14171c", pass_="#5fd08a",
)  # fmt: skip
CSS = Palette(*(f"var(--{field.name.rstrip('_')})" for field in fields(Palette)))
"""Variables of the page's style sheet: a chart follows the colour scheme without being drawn again."""


def css_variables(palette: Palette) -> str:
    """Return the declarations of a palette for a style sheet."""
    return " ".join(f"--{field.name.rstrip('_')}: {getattr(palette, field.name)};" for field in fields(palette))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a chart is drawn into.

    Attributes:
        start, end: range of the time axis, in UTC. Charts without a time axis do not need them.
        width: pixels; None takes the width of the element on the page.
        axis: pixels left of the plot; None takes AXIS_WIDTH, and PHONE_AXIS_WIDTH in a narrow element of a page.
        palette: the colours.
    """

    start: datetime | None = None
    end: datetime | None = None
    width: int | None = None
    axis: int | None = None
    palette: Palette = CSS

    def drawn(self, palette: Palette | None = None) -> Frame:
        """Return the frame of a report: a fixed width."""
        return replace(self, width=self.width or DRAWN_WIDTH, palette=palette or self.palette)


def millis(time: datetime) -> int:
    """Return milliseconds since 1970, the unit of time in charts."""
    return round(time.timestamp() * 1000)


def chart(frame: Frame, description: str, body: Spec, *, height: int | None = None) -> Spec:
    """Return a whole chart: a body with the schema, the description for screen readers, and the style.

    Args:
        body: mark and encoding, or layers.
        description: what is seen, in words.
        height: pixels of the plot without the axis below it.
    """
    return {
        "$schema": SCHEMA,
        "description": description,
        "background": "transparent",
        "width": "container" if frame.width is None else frame.width,
        **({} if height is None else {"height": height}),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": RIGHT, "top": 6, "bottom": 4},
        "config": config(frame.palette),
        **_tidied(body),
    }


def _tidied(body: Spec) -> Spec:
    """Return a body without layers that have no data, and with the scale of each axis in its first layer alone.

    Layers share the scales of x and y; Vega-Lite warns of each repetition.
    """
    seen: set[str] = set()
    layers = []
    for layer in body.get("layer", ()):
        if layer.get("data", {}).get("values") == []:
            continue
        encoding = dict(layer.get("encoding", {}))
        for channel in ("x", "y"):
            if "scale" not in encoding.get(channel, {}):
                continue
            if channel in seen:
                encoding[channel] = {key: value for key, value in encoding[channel].items() if key != "scale"}
                if encoding[channel].get("type") == "temporal":
                    encoding[channel]["scale"] = {"type": "utc"}
            seen.add(channel)
        layers.append(layer | {"encoding": encoding})
    return body | {"layer": layers} if layers else body


def config(palette: Palette) -> Spec:
    """Return the style of all charts."""
    text = {"labelFont": FONT, "labelFontSize": 12, "labelColor": palette.muted, "titleFont": FONT}
    title = {"titleFontSize": 12, "titleFontWeight": 400, "titleColor": palette.muted}
    return {
        "font": FONT,
        "view": {"stroke": None},
        "mark": {"opacity": 1, "aria": False},
        "point": {"opacity": 1, "filled": True, "size": 24},
        "tick": {"opacity": 1},
        "bar": {"opacity": 1},
        "rule": {"opacity": 1},
        "text": {"font": FONT, "fontSize": 12, "fill": palette.text},
        "axis": {
            **text, **title, "aria": False, "domainColor": palette.line, "gridColor": palette.line,
            "tickColor": palette.line, "labelPadding": 6, "labelSeparation": 6,
        },
        "header": {"labelFont": FONT, "labelFontSize": 12, "labelColor": palette.text, "title": None},
        "concat": {"spacing": 8},
    }  # fmt: skip


TIME_LABEL = (
    "utchours(datum.value) + utcminutes(datum.value) ? utcFormat(datum.value, '%H:%M')"
    " : utcdate(datum.value) > 1 ? utcFormat(datum.value, '%-d %b')"
    " : utcFormat(datum.value, utcmonth(datum.value) ? '%b' : '%Y')"
)
"""Times of an axis: the year at its begin, the month at its begin, else the day, or the time of day."""


def time_axis(frame: Frame, field: str = "start", *, labels: bool = True) -> Spec:
    """Return the encoding of x by time. Times are UTC on every machine."""
    scale: Spec = {"type": "utc", "nice": False}
    if frame.start is not None and frame.end is not None:
        # an expression: a list becomes a call of datetime(), which is wrong when expressions are interpreted
        scale["domain"] = {"expr": f"[{millis(frame.start)}, {millis(frame.end)}]"}
    axis: Spec = {
        "title": None, "grid": False, "labelFlush": True, "labelOverlap": True, "tickCount": 8,
        "labelExpr": TIME_LABEL,
    }  # fmt: skip
    if not labels:
        axis |= {"labels": False, "ticks": False}
    return {"field": field, "type": "temporal", "scale": scale, "axis": axis}


SCALE: Spec = {"zero": False, "nice": False, "padding": 8}
"""Of numbers: as far as the values reach, and some pixels, so that no mark is cut."""


def left_axis(frame: Frame) -> Spec:
    """Return the width of the axis left of a plot, and of its texts."""
    if frame.axis is None and frame.width is None:
        width = f"(containerSize()[0] < {PHONE_WIDTH} ? {PHONE_AXIS_WIDTH} : {AXIS_WIDTH})"
        return {"minExtent": {"expr": width}, "maxExtent": {"expr": width}, "labelLimit": {"expr": f"{width} - 4"}}
    fixed = frame.axis or AXIS_WIDTH
    return {"minExtent": fixed, "maxExtent": fixed, "labelLimit": fixed - 4}


def value_axis(frame: Frame, field: str, *, title: str | None = None, **more: Any) -> Spec:
    """Return the encoding of y by a number: few lines, no ticks, the common width."""
    scale = more.pop("scale", SCALE)
    axis = {
        **left_axis(frame), "title": title, "tickCount": 4, "domain": False, "ticks": False, "format": "~g",
        "labelExpr": NUMBER_LABEL, **more.pop("axis", {}),
    }  # fmt: skip
    return {"field": field, "type": "quantitative", "scale": scale, "axis": axis, **more}


NUMBER_LABEL = "replace(format(datum.value, abs(datum.value) >= 1000 ? ',.0f' : '~g'), '-', '\\u2212')"
"""Numbers of an axis: thousands with commas, others as short as they are; a true minus sign."""


def row_axis(frame: Frame, field: str, rows: Sequence[str], **more: Any) -> Spec:
    """Return the encoding of y by named rows, in a fixed order."""
    axis = {
        **left_axis(frame), "title": None, "domain": False, "ticks": False, "grid": False, **more.pop("axis", {}),
    }  # fmt: skip
    if frame.axis is None and frame.width is None:  # on a phone a name of two words takes two lines
        narrow = f"containerSize()[0] < {PHONE_WIDTH}"
        axis |= {
            "labelExpr": f"{narrow} && length(split(datum.label, ' ')) === 2 ? split(datum.label, ' ') : datum.label",
            "labelLineHeight": 11,
        }
        axis |= {"labelFontSize": {"expr": f"{narrow} ? 10 : 12"}, "labelPadding": {"expr": f"{narrow} ? 2 : 6"}}
    return {"field": field, "type": "nominal", "scale": {"domain": list(rows)}, "axis": axis, **more}


def values(rows: Sequence[Spec]) -> Spec:
    """Return data of a layer; numbers with DIGITS significant digits, more of which no screen shows."""
    return {"values": [{key: _short(value) for key, value in row.items()} for row in rows]}


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def expression_text(text: str) -> str:
    """Return text for the inside of a quoted text of an expression."""
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ")


def text_layers(frame: Frame, rows: Sequence[Spec], encoding: Spec, mark: Spec) -> list[Spec]:
    """Return texts that stay readable over other marks: each stands on a wide edge in the colour of the page."""
    edge = {"stroke": frame.palette.page, "fill": frame.palette.page, "strokeWidth": 4, "strokeJoin": "round"}
    data, encoding = values(rows), encoding | {"text": {"field": "text"}}
    return [
        {"data": data, "mark": {"type": "text", **mark, **more}, "encoding": encoding}
        for more in (edge, {"fill": mark.get("fill", frame.palette.text)})
    ]


def empty(frame: Frame, description: str, text: str, *, height: int = 40) -> Spec:
    """Return a chart without data: why there is none."""
    body = {
        "data": values([{}]),
        "mark": {"type": "text", "align": "left", "fill": frame.palette.muted, "x": 0, "text": text},
    }
    return chart(frame, f"{description}: {text}", body, height=height)
