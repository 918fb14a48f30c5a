"""Requests to retrain a model, over HTTP as JSON.

POST /v2/models/{model}/retrain    {"reason", "id"?}

A request is on disk before the answer leaves; the controller of the loop answers it by one decision. Sending it again
with the same id has no effect.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trimtab.clock import to_micros
from trimtab.errors import nearest
from trimtab.serving.core.gateway import Gateway, Ids
from trimtab.serving.endpoints import JSON, Answer, Call, Content, Description, Route, encode_error
from trimtab.serving.inbox import AskedRetraining
from trimtab.serving.protocols.json_text import read
from trimtab.serving.requests import Refused, control, shown

ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
LONGEST_REASON = 500

_encode = msgspec.json.Encoder().encode


class RetrainBody(msgspec.Struct):
    """Why a model is to be retrained. id: the client's own for this request; None: X-Request-Id, else a new one."""

    reason: str
    id: str | None = None


class Asked(msgspec.Struct, frozen=True):
    """The answer: the request is kept under this id. A decision follows when the loop has looked at it."""

    model: str
    id: str


def routes(gateway: Gateway) -> list[Route]:
    """Return the route that takes requests to retrain."""
    ids = Ids()

    async def take(call: Call) -> Answer:
        found = gateway.retrainings
        if found is None or not found.names:
            raise Refused(404, "no loop reads requests to retrain: this gateway serves without a project")
        model = call.params["model"]
        if model not in found.names:
            raise Refused(404, f"model '{model:.100}' is not known.{nearest(model[:100], found.names)}")
        reason, key = decode(call.body)
        sent = call.request_id
        asked = AskedRetraining(
            model=model,
            id=key or (sent if sent is not None and ID.fullmatch(sent) else ids.new()),
            reason=reason,
            by=call.client or "gateway",
            received_at=to_micros(gateway.clock.now()),
        )
        try:
            await gateway.decoding.run(found.keep, [asked])
        except OSError as error:
            raise Refused(503, f"the request could not be written: {error}") from error
        return Answer(200, _encode(Asked(model, asked.id)), JSON)

    described = Description(
        takes=[Content(RetrainBody, RetrainBody("new prices from Monday on", "prices-2026-11"))],
        gives=[Content(Asked, Asked("delay", "prices-2026-11"))],
        errors={404: "The model is not known, or no loop reads requests.", 503: "It could not be written to disk."},
        detail="The loop answers each request by one decision: to retrain, or why not now. The same id again is the "
        "same request, whatever its reason.",
    )
    path = "/v2/models/{model}/retrain"
    return [Route("POST", path, "admin", take, encode_error, "Ask the loop to retrain a model.", described)]


def decode(body: bytes) -> tuple[str, str | None]:
    """Read the reason and the id of a request. Raises Refused."""
    found: Any = read(msgspec.json.decode, body, "request to retrain")
    if not isinstance(found, dict):
        raise Refused(400, 'malformed request to retrain: expected {"reason": "...", "id"?: "..."}')
    fields = RetrainBody.__struct_fields__
    if unknown := [name for name in found if name not in fields]:
        raise Refused(400, f"unknown field {shown(unknown[0])}.{nearest(str(unknown[0])[:60], fields)}")
    reason, key = found.get("reason"), found.get("id")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > LONGEST_REASON:
        raise Refused(
            400, f"reason is {shown(reason)}; expected text of at most {LONGEST_REASON} characters, for the ledger"
        )
    if (bad := control(reason)) is not None:
        raise Refused(400, f"reason is {shown(reason)}; expected no control characters, such as {bad}")
    if key is not None and (not isinstance(key, str) or not ID.fullmatch(key)):
        raise Refused(400, f"id is {shown(key)}; expected up to 100 letters, digits, or any of _ . : -")
    return reason.strip(), key
