"""Labels of earlier predictions, over HTTP. Run by asgi; what a label must hold stands in serving.feedback."""

from __future__ import annotations

import msgspec

from trimtab.serving import feedback
from trimtab.serving.gateway import Gateway
from trimtab.serving.http import Answer, Call, Route

_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes that take labels."""

    async def take(call: Call) -> Answer:
        accepted = gateway.feedback(call.params["model"], feedback.decode(call.body))
        return Answer(200, _encode({"accepted": accepted}))

    return [Route("POST", "/v2/models/{model}/feedback", "feedback", take, encode_error, "Take labels.")]


def encode_error(status: int, message: str) -> bytes:
    """Write an error."""
    return _encode({"error": message})
