"""The routes of a gateway of prompts, as OpenAI's client libraries ask for them.

POST /v1/chat/completions    a turn of a prompt, streamed or whole
POST /v1/embeddings          vectors of texts, where `llm.passthrough` lets clients name a model of an endpoint
GET  /v1/models              the prompts that the token may use
GET  /v1/models/{model}      one of them
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.serving.chat.chat_errors import encode_error, no_prompt, refusal
from trimtab.serving.chat.chat_service import ChatService
from trimtab.serving.chat.embeddings import EmbeddingRequest
from trimtab.serving.endpoints import Answer, Call, Content, Description, Route

_encode = msgspec.json.Encoder().encode
EXAMPLE = {
    "model": "triage",
    "variables": {"ticket": "I was charged twice for my order."},
    "messages": [],
    "stream": False,
}


def routes(service: ChatService) -> list[Route]:
    """Return the routes."""
    gateway = service.gateway

    def described(name: str) -> dict[str, Any]:
        table = gateway.table.models[name]
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "trimtab",
            "version": table.champion.bundle.version,
        }

    def opened(call: Call) -> list[str]:
        return service.opened(service.grant(call, "chat"))

    async def models(call: Call) -> Answer:
        grant = service.grant(call, "chat")
        direct = [] if grant is not None and grant.models else service.direct.names
        data = [described(name) for name in opened(call)]
        data += [{"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]} for name in direct]
        return Answer(200, _encode({"object": "list", "data": data}))

    async def model(call: Call) -> Answer:
        name = call.params["model"]
        names = opened(call)
        if name not in names:
            return refusal(no_prompt(name, names))
        return Answer(200, _encode(described(name)))

    chat = Description(
        takes=[Content({"type": "object"}, EXAMPLE)],
        gives=[Content({"type": "object"})],
        errors={429: "A budget is spent, or a rate is used up.", 502: "No endpoint answers.", 504: "Out of time."},
        detail="As OpenAI's API has it. `model` is the name of a prompt, `variables` fill its template, and the "
        "messages follow it. With `stream` the answer comes as server-sent events.",
    )
    return [
        Route(
            "POST",
            "/v1/chat/completions",
            "chat",
            service.chat,
            encode_error,
            "Answer a chat.",
            chat,
            protocol="chat",
            of_body=True,
            is_timed=True,
        ),
        Route(
            "POST",
            "/v1/embeddings",
            "embed",
            service.embed,
            encode_error,
            "Return vectors of texts.",
            Description(takes=[Content(EmbeddingRequest)], gives=[Content({"type": "object"})]),
            protocol="chat",
            of_body=True,
            is_timed=True,
        ),
        Route("GET", "/v1/models", "chat", models, encode_error, "List the prompts.", protocol="chat", of_body=True),
        Route(
            "GET",
            "/v1/models/{model}",
            "chat",
            model,
            encode_error,
            "Return one prompt.",
            protocol="chat",
            of_body=True,
        ),
    ]
