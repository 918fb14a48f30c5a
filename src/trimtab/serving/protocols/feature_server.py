"""Features over HTTP, in the shapes of Feast's feature server.

POST /get-online-features    {"features": ["view:feature", ...] or "feature_service": NAME, "entities": {key: [values]},
                              "full_feature_names"?, "at"?}

Feast's own client of a remote online store reads from here. Values are those that a model gets; only definitions make
them, so POST /write-to-online-store is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from trimtab import timestamps
from trimtab.clock import EPOCH, to_micros
from trimtab.errors import DataError, TrimtabError
from trimtab.serving.core.feature_reader import FeatureReader
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import JSON, Answer, Call, Content, Description, Route
from trimtab.serving.protocols.json_text import read
from trimtab.serving.requests import Refused, shown

MOST_ROWS = 10_000

_encode = msgspec.json.Encoder().encode


class FeaturesBody(msgspec.Struct):
    """A read. Of features and feature_service one is given.

    at: time of the read as ISO 8601 text, or microseconds since 1970; left out, now. full_feature_names: whether
    columns are called view__feature. Fields that Feast's clients send in addition have no effect.
    """

    entities: dict[str, list[Any]]
    features: list[str] | None = None
    feature_service: str | None = None
    full_feature_names: bool = False
    at: str | int | None = None


class Metadata(msgspec.Struct):
    """The names of the columns."""

    feature_names: list[str]


class Result(msgspec.Struct):
    """One column: of each row a value, PRESENT, NULL_VALUE or NOT_FOUND, and until when the value is complete."""

    values: list[Any]
    statuses: list[str]
    event_timestamps: list[str]


class FeaturesAnswer(msgspec.Struct):
    """Entity keys and features, one result a column."""

    metadata: Metadata
    results: list[Result]


def encode_error(status: int, message: str) -> bytes:
    """Encode an error as Feast's server does."""
    return _encode({"status_code": status, "detail": message, "error_type": "TrimtabError"})


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the feature server."""

    def reader() -> FeatureReader:
        if gateway.features is None:
            raise Refused(404, "this gateway serves a folder alone; features are read from a project's gateway")
        return gateway.features

    async def get(call: Call) -> Answer:
        body = await gateway.decoding.read(_decode, call.body)
        rows = max(map(len, body.entities.values()), default=0)
        if rows > MOST_ROWS:
            raise Refused(413, f"{rows} rows are more than {MOST_ROWS}; read them in several requests")
        at = to_micros(gateway.clock.now()) if body.at is None else _time(body.at)
        return Answer(200, await gateway.decoding.run(_read, reader(), body, at), JSON)

    async def refuse(call: Call) -> Answer:
        raise Refused(
            405,
            "features are computed from the rows of their sources alone, so that training and serving agree; add rows "
            "to a source: POST /v1/sources/{source}/push, a stream, or trimtab ingest",
        )

    example = FeaturesBody({"carrier": ["UA", "AA"]}, ["punctuality:late_mean_7d", "punctuality:count_1d"])
    answer = FeaturesAnswer(
        Metadata(["carrier", "late_mean_7d", "count_1d"]),
        [
            Result(["UA", "AA"], ["PRESENT"] * 2, ["1970-01-01T00:00:00Z"] * 2),
            Result([0.21, None], ["PRESENT", "NOT_FOUND"], ["2013-05-01T04:00:00Z"] * 2),
            Result([160.0, 0.0], ["PRESENT"] * 2, ["2013-05-01T04:00:00Z"] * 2),
        ],
    )
    described = Description(
        takes=[Content(FeaturesBody, example)],
        gives=[Content(FeaturesAnswer, answer)],
        errors={413: f"More than {MOST_ROWS} rows.", 404: "The gateway serves a folder alone."},
        detail="The shapes of Feast's feature server: its client of a remote online store reads from here.",
    )
    never = Description(gives=[Content({"type": "object"})], errors={405: "Always: sources make features."})
    return [
        Route("POST", "/get-online-features", "infer", get, encode_error, "Read features.", described),
        Route(
            "POST", "/write-to-online-store", "admin", refuse, encode_error, "Refused: sources make features.", never
        ),
    ]


def _decode(body: bytes) -> FeaturesBody:
    """Read a request. Raises Refused."""
    found = read(msgspec.json.decode, body, "feature request")
    try:
        asked = msgspec.convert(found, FeaturesBody)
    except msgspec.ValidationError as error:
        raise Refused(400, f"malformed feature request: {error}") from None
    if (asked.features is None) == (asked.feature_service is None):
        raise Refused(400, "expected one of features and feature_service")
    return asked


def _time(given: str | int) -> int:
    time = timestamps.micros(given)
    if time is None:
        raise Refused(400, f"at is {shown(given)}; {timestamps.EXPECTED}{timestamps.hint(given)}")
    return time


def _read(reader: FeatureReader, asked: FeaturesBody, at: int) -> bytes:
    """Return the encoded answer. Raises Refused."""
    try:
        named = asked.features
        features = reader.features_of(asked.feature_service or "") if named is None else reader.named(named)
        columns = reader.read(features, asked.entities, at=at, full_names=asked.full_feature_names)
    except TrimtabError as error:
        raise Refused(400 if isinstance(error, DataError) else 500, str(error)) from None
    texts = {time: _shown(time) for one in columns for time in set(one.times)}
    results = [Result(one.values, one.statuses, [texts[time] for time in one.times]) for one in columns]
    return _encode(FeaturesAnswer(Metadata([one.name for one in columns]), results))


def _shown(time: datetime | None) -> str:
    """Return a time as text; of a column that has none 1970, as Feast writes it."""
    return f"{time or EPOCH:%Y-%m-%dT%H:%M:%SZ}"
