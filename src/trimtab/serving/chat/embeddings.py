"""POST /v1/embeddings: vectors of texts from a model that the client names as endpoint/model."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from trimtab.bundle.prompt_spec import TargetSpec
from trimtab.errors import DataError
from trimtab.llm.completion import Completion
from trimtab.llm.money.turn_cost import input_bound
from trimtab.llm.upstream.upstream_client import Embeddings
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.chat_request import ChatRequest
from trimtab.serving.chat.chat_turn import VersionTurn
from trimtab.serving.core.routing import Variant
from trimtab.serving.requests import shown

MOST_TEXTS = 2048
"""Texts of one request, as OpenAI's API has it."""

_encode = msgspec.json.Encoder().encode


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """The body, as OpenAI's API has it."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts."""
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def params(self) -> Mapping[str, Any]:
        """What is sent on beside model and texts."""
        return {} if self.dimensions is None else {"dimensions": self.dimensions}


_decode = msgspec.json.Decoder(EmbeddingRequest).decode


def read_embedding(body: bytes, most_bytes: int) -> EmbeddingRequest:
    """Return a request. most_bytes: of all texts. Raises ChatRefused."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ChatRefused(400, f"malformed request: {error}") from None
    if not 1 <= len(found.texts) <= MOST_TEXTS or not all(found.texts):
        said = f"input has {len(found.texts)} texts, such as {shown(found.texts[:1])}; expected 1 to {MOST_TEXTS}"
        raise ChatRefused(400, f"{said}, none of them empty", param="input")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in found.texts)
    if size > most_bytes:
        raise ChatRefused(413, f"input has {size:,} bytes; this token may send {most_bytes:,} (llm.limits.input)")
    return found


def as_chat(request: EmbeddingRequest) -> ChatRequest:
    """Return the request as the log keeps it: each text is a message."""
    messages = [{"role": "user", "content": text} for text in request.texts]
    return ChatRequest(model=request.model, messages=messages, user=request.user)


def embedding_turn(variant: Variant, chat: ChatRequest, target: TargetSpec) -> VersionTurn:
    """Return what is sent. Raises ChatRefused."""
    try:
        most = input_bound(chat.messages)
    except DataError as error:
        raise ChatRefused(400, str(error), param="input") from None
    return VersionTurn(
        variant=variant,
        messages=chat.messages,
        body={"max_tokens": 0},
        sent=sum(len(message["content"].encode("utf-8", "surrogatepass")) for message in chat.messages),
        most_input=most,
        target=target,
    )


def completion_of(found: Embeddings) -> Completion:
    """Return an answer without text, so that its usage is booked as a chat's is."""
    return Completion(model=found.model, usage=found.usage)


def encode_embeddings(request: EmbeddingRequest, found: Embeddings) -> bytes:
    """Return the body of the answer. Client libraries ask for base64 of float32 by default."""
    data = []
    for index, vector in enumerate(found.vectors):
        value: Any = vector
        if request.encoding_format == "base64":
            value = b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": value})
    tokens = 0 if found.usage is None else found.usage.input
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _encode({"object": "list", "data": data, "model": found.model or request.model, "usage": usage})
