"""Events of an endpoint's stream as the client gets them: the same bytes, with the id of the turn."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trimtab.llm.upstream.answer_stream import StreamEvent

PING = b": ping\n\n"
"""A comment, which clients pass over, so that nothing between takes a silent stream for a dead one."""
DONE = b"data: [DONE]\n\n"
_ID = re.compile(rb'\A(?:event:[^\r\n]*\r?\n)?data: ?\{"id": ?"([^"\\]*)"')

decode_chunk = msgspec.json.Decoder(dict[str, Any]).decode
"""Decodes the data of an event."""
_encode = msgspec.json.Encoder().encode


def with_id(event: StreamEvent, id: bytes) -> bytes:
    """Return the bytes of an event with another id of the completion. id: needs no escape in JSON."""
    if event.data is None or event.is_done:
        return event.raw
    found = _ID.match(event.raw)
    if found is not None:
        return event.raw[: found.start(1)] + id + event.raw[found.end(1) :]
    # decoded whole: data over several lines holds line ends
    return encode_event({**decode_chunk(event.data), "id": id.decode()})


def encode_event(body: object) -> bytes:
    """Return an event with the data on one line."""
    return b"data: " + _encode(body) + b"\n\n"


def chunk(id: str, model: str, created: int, choices: list[object], usage: object = None) -> bytes:
    """Return one event of our own. created: seconds since 1970."""
    body: dict[str, object] = {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": choices,
    }
    if usage is not None:
        body["usage"] = usage
    return encode_event(body)
