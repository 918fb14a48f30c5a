"""The gateway as a raw ASGI callable: paths, bodies, statuses. Run by server.

GET  /v2, /v2/health/live, /v2/health/ready, /v2/models, /v2/models/{m}[/versions/{v}][/ready]
POST /v2/models/{m}[/versions/{v}]/infer, /v2/models/{m}/feedback
GET  /ping, /health, /version; POST /invocations        MLflow's scoring server
GET  /metrics                                           Prometheus' text form
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import version as package_version
from typing import Any, NamedTuple

import msgspec

from trimtab.serving import feedback
from trimtab.serving.gateway import Gateway
from trimtab.serving.protocols import mlflow, open_inference
from trimtab.serving.requests import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 16 * 2**20
"""Largest request body in bytes."""
KNOWN_PATHS = 512
"""Paths of models whose handlers are remembered."""
MODEL_HEADER = b"x-trimtab-model"
VERSION = package_version("trimtab")
JSON, TEXT = b"application/json", b"text/plain; version=0.0.4; charset=utf-8"

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A status, a body and its content type."""

    status: int
    body: bytes
    content_type: bytes = JSON


class Call(NamedTuple):
    """One HTTP request with its body."""

    scope: Scope
    body: bytes
    received_ns: int

    def header(self, name: bytes) -> str | None:
        """Return a header's value; `name` in lower case."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)


Handler = Callable[[Call], Awaitable[Answer]]
EncodeError = Callable[[int, str], bytes]


class Application:
    """Routes HTTP requests to a gateway, which the server opens and closes."""

    def __init__(self, gateway: Gateway, *, max_body: int = MAX_BODY) -> None:
        self._gateway = gateway
        self._max_body = max_body
        self._get: dict[str, Handler] = {
            "/v2": self._server_metadata,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/v2/models": self._models,
            "/ping": self._ping,
            "/health": self._ping,
            "/version": self._version,
            "/metrics": self._metrics,
        }
        self._post: dict[str, Handler] = {"/invocations": self._invocations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received_ns = time.perf_counter_ns()
        path = scope["path"]
        encode_error = mlflow.encode_error if path == "/invocations" else open_inference.encode_error
        try:
            body = await self._body(scope, receive) if scope["method"] == "POST" else b""
            handler = self._handler(scope["method"], path)
            answer = await handler(Call(scope, body, received_ns))
        except Refused as refused:
            self._gateway.metrics.refuse(refused.status)
            answer = Answer(refused.status, encode_error(refused.status, str(refused)))
        except Exception:  # the border of the worker: a client gets an answer whatever happens
            logger.exception("%s %s failed", scope["method"], path)
            answer = Answer(500, encode_error(500, "the gateway failed; its log says why"))
        headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
        if answer.status == 405:
            headers.append((b"allow", b"GET, HEAD" if scope["method"] == "POST" else b"POST"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > self._max_body:
                raise self._too_large()
            return body
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max_body:
                raise self._too_large()
        chunks, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_body:
                raise self._too_large()
        return b"".join(chunks)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self._max_body} bytes; send the rows in several requests")

    def _handler(self, method: str, path: str) -> Handler:
        found, other = (self._post, self._get) if method == "POST" else (self._get, self._post)
        if method not in ("GET", "HEAD", "POST"):
            raise Refused(405, f"method {method} is not served; expected GET or POST")
        handler = found.get(path)
        if handler is not None:
            return handler
        handler = self._of_model(method, path)
        if handler is not None:
            if len(found) < KNOWN_PATHS and len(path) < 200:
                found[path] = handler
            return handler
        if path in other or self._of_model("POST" if method != "POST" else "GET", path) is not None:
            raise Refused(405, f"{method} is not served at {path:.200}")
        raise Refused(404, f"nothing is served at {path:.200}; see GET /v2/models")

    def _of_model(self, method: str, path: str) -> Handler | None:
        """Return the handler of /v2/models/{m}[/versions/{v}][/infer | /ready | /feedback]."""
        match path.split("/"):
            case ["", "v2", "models", model, *rest] if model:
                pass
            case _:
                return None
        if len(rest) > 1 and rest[0] == "versions":
            return self._verb(method, model, rest[1], rest[2:])
        return self._verb(method, model, None, rest)

    def _verb(self, method: str, model: str, version: str | None, verb: list[str]) -> Handler | None:
        if method == "POST":
            if verb == ["infer"]:
                return lambda call: self._infer(call, model, version)
            if verb == ["feedback"] and version is None:
                return lambda call: self._feedback(call, model)
            return None
        if not verb:
            return lambda call: self._model_metadata(model, version)
        if verb == ["ready"]:
            return lambda call: self._model_ready(model, version)
        return None

    async def _infer(self, call: Call, model: str, version: str | None) -> Answer:
        request, wanted = open_inference.decode(call.body)
        if wanted is not None:
            open_inference.check_outputs(wanted, self._gateway.table.model(model))
        response = await self._gateway.infer(model, version, request, call.received_ns)
        return Answer(200, open_inference.encode(response, wanted))

    async def _invocations(self, call: Call) -> Answer:
        request = mlflow.decode(call.body, call.header(b"content-type") or "")
        response = await self._gateway.infer(call.header(MODEL_HEADER), None, request, call.received_ns)
        return Answer(200, mlflow.encode(response))

    async def _feedback(self, call: Call, model: str) -> Answer:
        accepted = self._gateway.feedback(model, feedback.decode(call.body))
        return Answer(200, msgspec.json.encode({"accepted": accepted}))

    async def _server_metadata(self, call: Call) -> Answer:
        return Answer(200, open_inference.server_metadata(VERSION))

    async def _live(self, call: Call) -> Answer:
        return Answer(200, b'{"live":true}')

    async def _ready(self, call: Call) -> Answer:
        table = self._gateway.table
        state: dict[str, Any] = {"live": True, "ready": table.complete}
        if table.errors:
            state["errors"] = table.errors
        return Answer(200 if table.complete else 503, msgspec.json.encode(state))

    async def _models(self, call: Call) -> Answer:
        return Answer(200, msgspec.json.encode({"models": sorted(self._gateway.table.models)}))

    async def _model_metadata(self, model: str, version: str | None) -> Answer:
        return Answer(200, open_inference.model_metadata(self._gateway.table.model(model), version))

    async def _model_ready(self, model: str, version: str | None) -> Answer:
        self._gateway.table.model(model).lane(version)
        return Answer(200, msgspec.json.encode({"name": model, "ready": True}))

    async def _ping(self, call: Call) -> Answer:
        return Answer(200 if self._gateway.table.complete else 503, b"\n")

    async def _version(self, call: Call) -> Answer:
        return Answer(200, VERSION.encode(), TEXT)

    async def _metrics(self, call: Call) -> Answer:
        return Answer(200, self._gateway.metrics.text().encode(), TEXT)
