"""Points of business KPIs, over HTTP as JSON.

POST /v2/kpis             {"stream", "value", "time"?, "entity"?, "model"?} or {"points": [...]}
POST /v1/kpis/{stream}    the same of one stream, whose points need not name it

All points of a request are taken or none; they are on disk before the answer leaves. Sending them again has no effect.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec

from trimtab import timestamps
from trimtab.clock import to_micros
from trimtab.errors import nearest
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import JSON, Answer, Call, Content, Description, Route, encode_error
from trimtab.serving.inbox import Inbox, Pushed
from trimtab.serving.protocols.json_text import read
from trimtab.serving.requests import Refused, control, shown
from trimtab.units import MICROS

MOST_POINTS = 10_000
LONGEST_ENTITY = 200
AHEAD = MICROS["d"]
"""A point whose time is further ahead is taken for a mistake."""

_encode = msgspec.json.Encoder().encode


class PointBody(msgspec.Struct):
    """One point. time: ISO 8601 text or microseconds since 1970; None: now."""

    stream: str
    value: float
    time: str | int | None = None
    entity: str | None = None
    model: str | None = None


class PointsBody(msgspec.Struct):
    """Several points: all are taken or none."""

    points: Annotated[list[PointBody], msgspec.Meta(min_length=1, max_length=MOST_POINTS)]


class PointOfStream(msgspec.Struct):
    """One point of the stream that the path names."""

    value: float
    time: str | int | None = None
    entity: str | None = None
    model: str | None = None


class PointsOfStream(msgspec.Struct):
    """Several points of that stream."""

    points: Annotated[list[PointOfStream], msgspec.Meta(min_length=1, max_length=MOST_POINTS)]


class Taken(msgspec.Struct, frozen=True):
    """The answer: how many points were taken."""

    accepted: int


def routes(gateway: Gateway) -> list[Route]:
    """Return the route that takes points."""

    async def take(call: Call) -> Answer:
        found = gateway.kpis
        if found is None or not found.names:
            raise Refused(
                404,
                "no KPI stream takes points; declare one with tt.Kpi(...) or below kpis in trimtab.yaml, and start the "
                "gateway anew",
            )
        stream = call.params.get("stream")
        if stream is not None and stream not in found.names:
            raise Refused(404, f"no KPI stream {shown(stream)} takes points.{nearest(stream[:60], found.names)}")
        now = to_micros(gateway.clock.now())
        models = tuple(gateway.table.models)
        points = await gateway.decoding.read(decode, call.body, found, models, call.model, now, stream)
        try:
            await gateway.decoding.run(found.keep, points)
        except OSError as error:
            raise Refused(503, f"the points could not be written: {error}") from error
        return Answer(200, _encode(Taken(len(points))), JSON)

    many = PointsBody([PointBody("revenue", 129.5, "2013-06-01T19:10:00Z", "shop-4"), PointBody("revenue", 12.0)])
    described = Description(
        takes=[Content((PointBody, PointsBody), many)],
        gives=[Content(Taken, Taken(2))],
        errors={
            404: "No stream takes points.",
            413: f"More than {MOST_POINTS} points, or too large a body.",
            503: "The points could not be written to disk.",
        },
        detail="All points of a request are taken or none. The same point again has no effect; another value for the "
        "same stream, time, entity and model does not replace the first.",
    )
    one = PointOfStream(129.5, "2013-06-01T19:10:00Z", "shop-4")
    of_stream = described._replace(
        takes=[Content((PointOfStream, PointsOfStream), one)], gives=[Content(Taken, Taken(1))]
    )
    path = "/v1/kpis/{stream}"
    return [
        Route("POST", "/v2/kpis", "feedback", take, encode_error, "Take points of KPIs.", described),
        Route("POST", path, "feedback", take, encode_error, "Take points of one KPI.", of_stream),
    ]


def decode(
    body: bytes, inbox: Inbox, models: tuple[str, ...], model: str | None, now: int, stream: str | None = None
) -> list[Pushed]:
    """Read points. model, stream: those that the request is about, for points that name none. Raises Refused."""
    found = read(msgspec.json.decode, body, "KPI points")
    items = found.get("points", [found]) if isinstance(found, dict) else None
    if not isinstance(items, list):
        raise Refused(400, 'malformed KPI points: expected {"stream", "value", "time"?} or {"points": [...]}')
    if not items:
        raise Refused(400, "points is empty; expected at least one")
    if len(items) > MOST_POINTS:
        raise Refused(413, f"{len(items)} points are more than {MOST_POINTS}; send them in several requests")
    return [_point(index, item, inbox, models, model, now, stream) for index, item in enumerate(items)]


def _point(
    index: int, item: Any, inbox: Inbox, models: tuple[str, ...], model: str | None, now: int, asked: str | None
) -> Pushed:
    if not isinstance(item, dict):
        raise _wrong(index, "", item, "an object with stream and value")
    unknown = [name for name in item if name not in PointBody.__struct_fields__]
    if unknown:
        hint = nearest(str(unknown[0])[:60], PointBody.__struct_fields__)
        raise Refused(400, f"points[{index}] has an unknown field {shown(unknown[0])}.{hint}")
    stream, value, entity = item.get("stream", asked), item.get("value"), item.get("entity")
    if asked not in (None, stream):
        raise _wrong(index, "stream", stream, f"{shown(asked)}, which the path names")
    if stream not in inbox.names:
        raise _wrong(index, "stream", stream, f"a declared stream.{nearest(str(stream)[:60], inbox.names)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise _wrong(index, "value", value, "a number")
    if entity is not None and (not isinstance(entity, str) or not 1 <= len(entity) <= LONGEST_ENTITY):
        raise _wrong(index, "entity", entity, f"text of at most {LONGEST_ENTITY} characters")
    if entity is not None and (bad := control(entity)) is not None:
        raise _wrong(index, "entity", entity, f"no control characters, such as {bad}")
    own = item.get("model") if item.get("model") is not None else model
    if own is not None and (own not in models or model not in (None, own)):
        raise _wrong(index, "model", own, f"the name of a model.{nearest(str(own)[:60], [model] if model else models)}")
    return Pushed(
        stream=stream,
        value=float(value),
        time=_time(index, item.get("time"), now),
        received_at=now,
        entity=entity,
        model=own,
    )


def _is_finite(value: float) -> bool:
    try:
        return abs(float(value)) < sys.float_info.max  # as which JSON's Infinity is read
    except OverflowError:
        return False


def _time(index: int, given: object, now: int) -> int:
    if given is None:
        return now
    time = timestamps.micros(given)
    if time is None:
        what = "ISO 8601 text or microseconds since 1970 as an integer"
        raise _wrong(index, "time", given, what + timestamps.hint(given))
    if time > now + AHEAD:
        raise _wrong(index, "time", given, "a time that is not more than a day ahead")
    return time


def _wrong(index: int, field: str, value: object, expected: str) -> Refused:
    place = f"points[{index}].{field}" if field else f"points[{index}]"
    return Refused(400, f"{place} is {shown(value)}; expected {expected}")
