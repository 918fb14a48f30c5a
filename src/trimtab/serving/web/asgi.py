"""The gateway as an ASGI application: reads bodies, runs routes, turns refusals into answers.

It does what all protocols share: limits of size and time, tokens, request ids, compressed bodies, errors. Protocols
decode and encode the bodies.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import (
    CHALLENGE,
    ENCODING_HEADER,
    JSON,
    MODEL_HEADER,
    NOTED,
    REQUEST_ID_HEADER,
    Answer,
    Call,
    Elsewhere,
    EncodeError,
    Headers,
    Permission,
    Route,
    encode_error,
)
from trimtab.serving.orders import Grant
from trimtab.serving.requests import MAX_ID, Refused
from trimtab.serving.web import openapi
from trimtab.serving.web.browsers import BrowserCheck, check_no_form
from trimtab.serving.web.deadlines import Deadlines
from trimtab.serving.web.observing import GONE, Observer
from trimtab.serving.web.routes import NotServed, Router
from trimtab.serving.worker_options import MAX_BODY

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_UNREAD = 64 * 2**20
"""Bytes beyond the limit that are read and discarded, so that the client receives the refusal."""
FEW_PACKED = 512
"""Largest compressed body that is unpacked on the event loop: at most half a megabyte unpacked."""
_WITH_BODY = ("POST", "PUT")
_BY_HEADER = ("infer", "feedback")
_CHANGES = ("chat", "embed", "feedback", "trigger", "admin")
"""Verbs of routes that change state, which therefore refuse HTML forms."""
LOOKED_AT = NOTED | {b"host", b"origin"}
_NOTHING: dict[bytes, bytes] = {}
WINDOWS = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}
"""Content-Encoding -> window bits to try with zlib; some clients send deflate without its header."""

logger = logging.getLogger(__name__)


class Access(Protocol):
    """Checks the rights of a request."""

    def check(self, headers: Headers, permission: Permission, model: str | None) -> str | None:
        """Raise Refused: 401 without a valid token, 403 if it lacks the permission for the model.

        model: None for a request about all models, which needs a token for all models.
        """
        ...

    def grant(self, headers: Headers, permission: Permission) -> Grant | None:
        """Return what the token opens; the handler checks the model. Raises Refused: 401, 403."""
        ...


class Application:
    """Runs the routes of a gateway.

    access: checks the tokens of requests; None: no tokens. timeout_s: longest duration of a request; None: no limit.
    observer: counts and traces requests. browsers: checks Host and Origin; None: no check. Raises ValueError when two
    routes have the same method and path.
    """

    def __init__(
        self,
        gateway: Gateway,
        routes: Sequence[Route],
        *,
        access: Access | None = None,
        max_body: int = MAX_BODY,
        timeout_s: float | None = None,
        observer: Observer | None = None,
        browsers: BrowserCheck | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._gateway = gateway
        self._browsers = browsers
        self._router = Router([*routes, *openapi.routes(routes, secured=access is not None)], elsewhere)
        self._known = self._router.known
        self._access = access
        self._observer = observer
        self._max_body = max_body
        self._timeout_s = timeout_s
        self._deadlines = None if timeout_s is None else Deadlines(timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received_ns = time.perf_counter_ns()
        headers: Headers = scope["headers"]
        shape: EncodeError = encode_error
        noted = _NOTHING
        host = origin = None
        for name, value in headers:
            if name in LOOKED_AT:
                if name == b"host":
                    host = value
                elif name == b"origin":
                    origin = value
                else:
                    noted = {**noted, name: value}
        route: Route | None = None
        status = GONE
        trace = None if self._observer is None else self._observer.begin(headers, received_ns)
        try:
            task = None
            try:
                found = self._known.get(scope["path"]) if scope["method"] == "POST" else None
                route, params = found or self._router.find(scope)
                shape = route.encode_error
                about = client = None
                browsers = self._browsers
                if browsers is not None and (origin is not None or host not in browsers.known):
                    browsers.check(host, origin)
                if route.permission in _CHANGES:
                    check_no_form(headers)
                if self._access is not None and route.of_body:
                    grant = self._access.grant(headers, route.permission)
                    client = None if grant is None else grant.name
                elif self._access is not None and route.permission != "open":
                    about = self._model(route, params, headers, noted)
                    if route.is_signed is None or not route.is_signed(headers):
                        client = self._access.check(headers, route.permission, about)
                if self._deadlines is not None and not route.is_timed:
                    task = self._deadlines.enter(received_ns)
                body = b""
                if route.method in _WITH_BODY:
                    message = await receive()
                    body = message.get("body", b"")
                    if message.get("more_body") or not body or len(body) > self._max_body:
                        body = await self._rest(message, headers, receive)
                    if ENCODING_HEADER in noted:
                        body = await self._inflate(body, noted[ENCODING_HEADER])
                query = scope.get("query_string", b"")
                answer = await route.handle(Call(params, headers, query, body, received_ns, noted, about, client))
            except Refused as refused:
                answer = self._refuse(refused, shape)
            except _Gone:
                return
            except asyncio.CancelledError:
                late = task is not None and self._deadlines is not None and self._deadlines.leave(task)
                task = None
                if not late:  # the client has disconnected, or the worker ends
                    raise
                answer = self._refuse(Refused(504, f"the request took longer than {self._timeout_s:g} s"), shape)
            except Exception:  # the border of the worker: the client gets an answer in any case
                logger.exception("%s %s failed", scope["method"], scope["path"])
                answer = self._refuse(Refused(500, "the gateway failed; its log says why"), shape)
            finally:
                if task is not None and self._deadlines is not None:
                    self._deadlines.leave(task)
            head = [(b"content-type", answer.content_type)]
            if answer.stream is None:
                head.append((b"content-length", b"%d" % len(answer.body)))
            if answer.headers:
                head += answer.headers
            if REQUEST_ID_HEADER in noted and not any(name == REQUEST_ID_HEADER for name, _ in answer.headers):
                head.append((REQUEST_ID_HEADER, noted[REQUEST_ID_HEADER][:MAX_ID]))
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            if answer.stream is None:
                await send({"type": "http.response.body", "body": answer.body})
            else:
                await answer.stream(lambda part: send({"type": "http.response.body", "body": part, "more_body": True}))
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            status = answer.status
        finally:  # also when the client disconnected before its answer
            if self._observer is not None:
                self._observer.end(trace, scope, route, status, received_ns)

    async def _inflate(self, body: bytes, encoding: bytes) -> bytes:
        if len(body) <= FEW_PACKED:
            return inflate(body, encoding, self._max_body)
        return await self._gateway.decoding.run(inflate, body, encoding, self._max_body)

    def _refuse(self, refused: Refused, shape: EncodeError) -> Answer:
        self._gateway.metrics.refuse(refused.status)
        head: list[tuple[bytes, bytes]] = []
        if refused.retry_after is not None:
            head.append((b"retry-after", b"%d" % refused.retry_after))
        if refused.status == 401:
            head.append(CHALLENGE)
        if isinstance(refused, NotServed):
            shape = refused.encode_error
            if refused.allow:
                head.append((b"allow", refused.allow.encode()))
        return Answer(refused.status, shape(refused.status, str(refused)), JSON, head)

    def _model(
        self, route: Route, params: Mapping[str, str], headers: Headers, noted: Mapping[bytes, bytes]
    ) -> str | None:
        """Return the model whose right the request needs; None if it needs the right to all models.

        Only for rows and labels, a path without a model takes the one of a header, or the only one that is served.
        """
        if "model" in params:
            return params["model"]
        if route.permission not in _BY_HEADER:
            return None
        named = None if route.names_model is None else route.names_model(headers)
        if named is None and MODEL_HEADER in noted:
            named = noted[MODEL_HEADER].decode("latin-1")
        return named or self._gateway.table.only

    async def _rest(self, message: Message, headers: Headers, receive: Receive) -> bytes:
        """Return a body that is in several messages, empty or too large."""
        if message["type"] == "http.disconnect":
            raise _Gone
        body: bytes = message.get("body", b"")
        chunks, size = [body], len(body)
        for name, value in headers:
            if name == b"content-length" and value[:18].isdigit():
                size = max(size, int(value[:18]))  # the announced size counts
        read = len(body)
        while message.get("more_body") and size <= self._max_body + MOST_UNREAD:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            chunks.append(message.get("body", b""))
            read += len(chunks[-1])
            size = max(size, read)
            if size > self._max_body:
                chunks.clear()  # read on: a client that still sends would get a reset instead of the refusal
        if size > self._max_body:
            raise Refused(413, f"the body is larger than {self._max_body} bytes; send the rows in several requests")
        return b"".join(chunks)


class _Gone(Exception):
    """The client disconnected before its body was complete."""


def inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Return a body unpacked. Raises Refused: 415 for an encoding that is not served, 413, 400."""
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in WINDOWS:
        raise Refused(415, f"content encoding '{name.decode('latin-1'):.40}' is not served; expected gzip or deflate")
    for bits in WINDOWS[name]:
        unpacker = zlib.decompressobj(bits)
        try:
            found = unpacker.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(found) > limit:
            raise Refused(413, f"the body is larger than {limit} bytes unpacked; send the rows in several requests")
        if unpacker.eof and not unpacker.unused_data:
            return found
    raise Refused(400, f"the body is not whole {name.decode()} data")
