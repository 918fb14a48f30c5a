"""Rows of sources, over HTTP: JSON, JSON lines and Arrow; and in the shape of Feast's feature server.

POST /v1/sources/{source}/push    one row {...}, {"rows": [...]}, a list of rows, one row a line, or an Arrow stream
POST /push                        {"push_source_name", "df": {column: [...]}, "to"?}

All rows of a request are taken or none; they are on disk before the answer leaves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import msgspec

from trimtab.clock import from_micros, to_micros
from trimtab.errors import nearest
from trimtab.serving.core.feedback import MOST_NAMED
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.pushing import BadRows, Pushes, Rows, check_rows
from trimtab.serving.endpoints import JSON, Answer, Call, Content, Description, Route, encode_error
from trimtab.serving.protocols.feedback import LINES, Invalid
from trimtab.serving.protocols.json_text import UNREADABLE, read, read_lines
from trimtab.serving.requests import Refused, check_id, shown
from trimtab.serving.worker_options import PushedSource

ARROW = "application/vnd.apache.arrow.stream"
MOST_ROWS = 10_000
KEY_HEADER = b"idempotency-key"
REPLAYED = (b"idempotent-replayed", b"true")

_encode = msgspec.json.Encoder().encode


class RowsBody(msgspec.Struct):
    """Several rows, each with the columns of the source: all are taken or none."""

    rows: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MOST_ROWS)]


class FeastBody(msgspec.Struct):
    """Rows as columns, as Feast's feature server takes them. to: rows reach the table, then the online store."""

    push_source_name: str
    df: dict[str, list[Any]]
    to: str = "online_and_offline"


class Taken(msgspec.Struct, frozen=True):
    """The answer: how many rows are on disk."""

    source: str
    accepted: int


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes that take rows."""

    async def of_source(call: Call) -> Answer:
        source = _source(gateway, call.params["source"])
        kind = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
        return await take(call, source, decode, kind, status=202)

    async def of_feast(call: Call) -> Answer:
        found = await gateway.decoding.read(decode_feast, call.body)
        return await take(call, _source(gateway, found[0]), lambda _body, source: found[1], status=200)

    async def take(call: Call, source: PushedSource, decode_: Any, *arguments: Any, status: int) -> Answer:
        key = call.header(KEY_HEADER)
        if key is not None:
            key = check_id(key)
        try:
            rows = await gateway.decoding.read(_checked, call.body, source, decode_, *arguments)
        except BadRows as bad:
            gateway.metrics.refuse(400)
            return Answer(400, _encode(Invalid(str(bad), list(bad.wrong[:MOST_NAMED]))), JSON)
        assert gateway.pushes is not None
        new = await gateway.pushes.keep(source.name, rows, key, to_micros(gateway.clock.now()))
        answer = Taken(source.name, len(rows.rows))
        return Answer(status, _encode(answer), JSON, () if new else (REPLAYED,))

    row = {"session": "a1", "product": 7, "at": "2013-06-01T19:10:00Z"}
    errors = {
        404: "No such push source.",
        413: f"More than {MOST_ROWS} rows, or too large a body.",
        422: "The Idempotency-Key was used for other rows.",
        429: "Too many rows wait for their table; Retry-After says when to send again.",
        503: "The rows could not be written to disk.",
    }
    detail = (
        "All rows of a request are taken or none; the answer to wrong ones names the first under `invalid`. They are "
        "on disk before the answer, and in the table soon after. The header Idempotency-Key makes it safe to send a "
        "request again: its rows are taken once within a day."
    )
    described = Description(
        takes=[
            Content((dict[str, Any], RowsBody), RowsBody([row])),
            Content({"type": "string"}, _encode(row).decode() + "\n", LINES[0]),
            Content({"type": "string", "format": "binary"}, None, ARROW),
        ],
        gives=[Content(Taken, Taken("clicks", 1))],
        errors=errors,
        success=202,
        detail=detail,
    )
    feast = Description(
        takes=[Content(FeastBody, FeastBody("clicks", {name: [value] for name, value in row.items()}))],
        gives=[Content(Taken, Taken("clicks", 1))],
        errors=errors,
        detail=detail,
    )
    path = "/v1/sources/{source}/push"
    return [
        Route("POST", path, "feedback", of_source, encode_error, "Take rows of a source.", described),
        Route("POST", "/push", "feedback", of_feast, encode_error, "Take rows, as Feast does.", feast),
    ]


def _source(gateway: Gateway, name: str) -> PushedSource:
    pushes: Pushes | None = gateway.pushes
    if pushes is None or not pushes.sources:
        raise Refused(404, "no source takes rows; declare one with tt.PushSource(...), and start the gateway anew")
    if name not in pushes.sources:
        raise Refused(404, f"there is no push source '{name:.100}'.{nearest(name[:100], pushes.sources)}")
    return pushes.sources[name]


def _checked(body: bytes, source: PushedSource, decode_: Any, *arguments: Any) -> Rows:
    rows = decode_(body, source, *arguments)
    if not rows:
        raise Refused(400, "there are no rows; expected at least one")
    if len(rows) > MOST_ROWS:
        raise Refused(413, f"{len(rows)} rows are more than {MOST_ROWS}; send them in several requests")
    return check_rows(source, rows)


def decode(body: bytes, source: PushedSource, content_type: str = "application/json") -> list[Any]:
    """Read the rows of a request. Raises Refused."""
    if content_type == ARROW:
        return _arrow(body)
    if content_type in LINES:
        try:
            return read_lines(body)
        except UNREADABLE as error:
            raise Refused(400, f"malformed rows: {error}") from None
    found = read(msgspec.json.decode, body, "rows")
    if isinstance(found, list):
        return found
    if not isinstance(found, dict):
        raise Refused(400, 'malformed rows: expected an object, {"rows": [...]}, or a list of objects')
    rows = found.get("rows")
    if len(found) == 1 and isinstance(rows, list) and "rows" not in source.columns:
        return rows
    return [found]


def decode_feast(body: bytes) -> tuple[str, list[Any]]:
    """Read the source and the rows of a request of Feast's. Raises Refused."""
    found = read(msgspec.json.decode, body, "push request")
    name, columns = (found.get("push_source_name"), found.get("df")) if isinstance(found, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(columns, dict):
        raise Refused(400, 'malformed push request: expected {"push_source_name": "...", "df": {column: [...]}}')
    if found.get("to", "online") not in ("online", "offline", "online_and_offline"):
        raise Refused(400, f"to is {shown(found['to'])}; expected online, offline or online_and_offline")
    sizes = {len(values) if isinstance(values, list) else -1 for values in columns.values()}
    if len(sizes) != 1 or -1 in sizes:
        raise Refused(400, "malformed df: expected columns as lists, all of one length")
    names = list(columns)
    return name, [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _arrow(body: bytes) -> list[Any]:
    """Read an Arrow IPC stream; pyarrow is imported with the first one."""
    try:
        pa = import_module("pyarrow")
    except ImportError:
        raise Refused(501, "Arrow needs pyarrow, which is not installed here: pip install pyarrow") from None
    try:
        found: list[Any] = []
        with pa.ipc.open_stream(body) as stream:
            for batch in stream:
                if len(found) + batch.num_rows > MOST_ROWS:
                    raise Refused(413, f"more than {MOST_ROWS} rows; send them in several requests")
                batch.validate(full=True)
                names = batch.schema.names
                columns = [_values(pa, column) for column in batch.columns]
                found += [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        return found
    except Refused:
        raise
    except Exception as error:  # damaged streams make pyarrow raise errors of many kinds
        raise Refused(400, f"malformed Arrow stream: {error}") from None


def _values(pa: Any, column: Any) -> list[Any]:
    """Return values as a JSON client would send them: times as text."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        micros = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_pylist()
        return [None if value is None else from_micros(value).isoformat() for value in micros]
    return [None if value != value else value for value in column.to_pylist()]
