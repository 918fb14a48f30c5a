"""Errors of chats in OpenAI's shape, which its client libraries turn into exceptions by status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from trimtab.errors import nearest
from trimtab.serving.endpoints import CHALLENGE, JSON, Answer, Headers
from trimtab.serving.requests import Refused

INVALID, LIMITED, UPSTREAM, SERVER = "invalid_request_error", "rate_limit_error", "upstream_error", "server_error"
KINDS = {401: INVALID, 403: INVALID, 404: INVALID, 429: LIMITED, 502: UPSTREAM, 503: UPSTREAM, 504: UPSTREAM}
"""Status -> type of an error; others are `invalid_request_error` below 500 and `server_error` from there on."""
CODES = {401: "invalid_api_key", 403: "permission_denied", 404: "not_found", 413: "request_too_large"}

_encode = msgspec.json.Encoder().encode


class ChatRefused(Refused):
    """A chat that is refused. code: for programs. param: the field of the request that is wrong.

    headers: further ones of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Headers = (),
    ) -> None:
        whole = None if retry_after is None else max(1, round(retry_after + 0.5))
        super().__init__(status, message, retry_after=whole)
        self.code = code
        self.param = param
        self.headers = headers


def no_prompt(name: str, names: Iterable[str]) -> ChatRefused:
    """Return the error of a model that is no prompt. names: of the prompts that the client may use."""
    text = f"there is no prompt '{name:.100}'.{nearest(name[:100], names)}"
    return ChatRefused(404, text, code="model_not_found", param="model")


def error_object(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return the error object of an answer or of an event."""
    kind = KINDS.get(status) or (SERVER if status >= 500 else INVALID)
    return {"error": {"message": message, "type": kind, "param": param, "code": code or CODES.get(status)}}


def encode_error(status: int, message: str) -> bytes:
    """Encode an error of the HTTP layer."""
    return _encode(error_object(status, message))


def refusal(refused: Refused) -> Answer:
    """Return the answer to a refused chat."""
    chat = refused if isinstance(refused, ChatRefused) else ChatRefused(refused.status, str(refused))
    head = list(chat.headers)
    if refused.retry_after is not None:
        head.append((b"retry-after", b"%d" % refused.retry_after))
    if refused.status == 401:
        head.append(CHALLENGE)
    body = _encode(error_object(chat.status, str(chat), chat.code, chat.param))
    return Answer(chat.status, body, JSON, head)


def interruption(code: str, message: str) -> bytes:
    """Return the event that ends a stream which cannot go on; no `[DONE]` follows.

    Client libraries raise an error on it. They take a stream that just ends for a whole answer.
    """
    error = {"message": message, "type": UPSTREAM, "param": None, "code": code}
    return b"data: " + _encode({"error": error}) + b"\n\n"
