"""The gRPC service of the Open Inference Protocol over the gateway, with Triton's repository, health and reflection.

It lives on the gateway's event loop. A refusal becomes a status code.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import version as package_version
from typing import Any, NamedTuple

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.offloading import SMALL
from trimtab.serving.endpoints import REQUEST_ID_HEADER, Permission
from trimtab.serving.protocols.grpc import tensors
from trimtab.serving.protocols.grpc.messages import MESSAGES, read
from trimtab.serving.protocols.grpc.readiness import Health
from trimtab.serving.protocols.grpc.reflection import reflection_handlers
from trimtab.serving.protocols.grpc.tensors import Message
from trimtab.serving.protocols.v2.model_metadata import EXTENSIONS, TensorMetadata, check_load_parameters, describe
from trimtab.serving.protocols.v2.response import check_outputs
from trimtab.serving.requests import MAX_ID, Refused
from trimtab.serving.telemetry.traces import Traces
from trimtab.serving.web.asgi import Access

SERVICE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"
VERSION = package_version("trimtab")
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status of a refusal -> gRPC's; INTERNAL for all others."""
REQUEST_ID = REQUEST_ID_HEADER.decode()
CANCELLED = 499
"""Status in the metrics when the client has left before its answer."""
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a client's retry policy how long to wait."""

MOST_DETAILS = 1_300
"""Bytes of a refusal's text: it goes as a header, where each may take three, and clients take no more than 8 KB."""

logger = logging.getLogger(__name__)

Handle = Callable[[Message, int], Awaitable[Message]]
"""Answers a message that was received at a time (perf_counter_ns)."""


class Method(NamedTuple):
    """One method of a service."""

    request: Any
    response: Any
    permission: Permission
    handle: Handle
    names_model: str = ""
    """Field of the request that holds a model's name."""


class InferenceService:
    """Answers the calls of one server. access: checks tokens; None admits every client.

    timeout_s: how long a call may take; None leaves that to the deadlines of clients. traces: records every call.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        access: Access | None = None,
        timeout_s: float | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._gateway = gateway
        self._access = access
        self._timeout_s = timeout_s
        self._traces = traces
        self._health = Health(gateway, (SERVICE,))
        self._stopping = asyncio.Event()

    def handlers(self) -> list[Any]:
        """Return gRPC's handlers of all services."""
        check = Method(HealthCheckRequest, HealthCheckResponse, "open", self._health.check)
        watch = grpc.unary_stream_rpc_method_handler(
            self._health.watch, response_serializer=HealthCheckResponse.SerializeToString
        )
        inference = {name: self._handler(SERVICE, name, method) for name, method in self._methods().items()}
        health = {"Check": self._handler(HEALTH, "Check", check), "Watch": watch}
        return [
            grpc.method_handlers_generic_handler(SERVICE, inference),
            grpc.method_handlers_generic_handler(HEALTH, health),
            *reflection_handlers((SERVICE, HEALTH), self._stopping),
        ]

    def open(self) -> None:
        """Follow what the gateway serves."""
        self._health.open()

    def drain(self) -> None:
        """Report NOT_SERVING from now on, and end the streams of watchers and of reflection."""
        self._stopping.set()
        self._health.drain()

    def close(self) -> None:
        """Stop following the gateway."""
        self._health.close()

    def _methods(self) -> dict[str, Method]:
        def method(name: str, permission: Permission, handle: Handle, names_model: str = "") -> Method:
            return Method(MESSAGES[f"{name}Request"], MESSAGES[f"{name}Response"], permission, handle, names_model)

        return {
            "ServerLive": method("ServerLive", "open", self._server_live),
            "ServerReady": method("ServerReady", "open", self._server_ready),
            "ModelReady": method("ModelReady", "read", self._model_ready, "name"),
            "ServerMetadata": method("ServerMetadata", "open", self._server_metadata),
            "ModelMetadata": method("ModelMetadata", "read", self._model_metadata, "name"),
            "ModelInfer": method("ModelInfer", "infer", self._model_infer, "model_name"),
            "RepositoryIndex": method("RepositoryIndex", "read", self._index),
            "RepositoryModelLoad": method("RepositoryModelLoad", "admin", self._load, "model_name"),
            "RepositoryModelUnload": method("RepositoryModelUnload", "admin", self._unload, "model_name"),
        }

    def _handler(self, service: str, name: str, method: Method) -> Any:
        parse = partial(read, method.request)

        async def run(body: bytes, context: Any) -> Message:
            received_ns = time.perf_counter_ns()
            metrics, status = self._gateway.metrics, CANCELLED
            metrics.begin()
            trace = None if self._traces is None else self._traces.begin(_headers(context), received_ns)
            try:
                message = await self._gateway.decoding.read(parse, body)
                answer = await self._answer(method, message, context, received_ns)
                status = 200
                return answer
            except Refused as error:
                refused, status = error, error.status
            except Exception:  # the border of the worker: a client gets an answer whatever happens
                logger.exception("%s failed", name)
                refused, status = Refused(500, "the gateway failed; its log says why"), 500
            finally:
                metrics.end("grpc", status, received_ns)
                if trace is not None:
                    trace.end_rpc(service, name, status)
            metrics.refuse(status)
            await context.abort(CODES.get(status, grpc.StatusCode.INTERNAL), _details(refused), _trailers(refused))
            raise refused  # not reached: abort raises

        return grpc.unary_unary_rpc_method_handler(run, response_serializer=method.response.SerializeToString)

    async def _answer(self, method: Method, message: Message, context: Any, received_ns: int) -> Message:
        if self._access is not None and method.permission != "open":
            self._access.check(_headers(context), method.permission, self._model(message, method))
        if method.permission == "infer" and not message.id:
            message.id = _request_id(context)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await method.handle(message, received_ns)
        except TimeoutError:
            raise Refused(504, f"the request took longer than {self._timeout_s} s") from None

    def _model(self, message: Message, method: Method) -> str | None:
        """Return the model that a call is about, which it names or is the only one; None when it is about all."""
        if not method.names_model:
            return None
        name: str = getattr(message, method.names_model)
        if method.permission == "admin":
            return name or message.repository_name or None
        return name or self._gateway.table.only

    async def _server_live(self, message: Message, received_ns: int) -> Message:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _server_ready(self, message: Message, received_ns: int) -> Message:
        return MESSAGES["ServerReadyResponse"](ready=self._gateway.is_ready)

    async def _model_ready(self, message: Message, received_ns: int) -> Message:
        try:
            self._gateway.table.model(message.name or None).variant(message.version or None)
        except Refused as refused:
            if refused.status != 503:
                raise
            return MESSAGES["ModelReadyResponse"](ready=False)
        return MESSAGES["ModelReadyResponse"](ready=True)

    async def _server_metadata(self, message: Message, received_ns: int) -> Message:
        return MESSAGES["ServerMetadataResponse"](name="trimtab", version=VERSION, extensions=EXTENSIONS)

    async def _model_metadata(self, message: Message, received_ns: int) -> Message:
        found = describe(self._gateway.table.model(message.name or None), message.version or None)
        return MESSAGES["ModelMetadataResponse"](
            name=found.name,
            versions=found.versions,
            platform=found.platform,
            inputs=[_tensor(tensor) for tensor in found.inputs],
            outputs=[_tensor(tensor) for tensor in found.outputs],
        )

    async def _model_infer(self, message: Message, received_ns: int) -> Message:
        model = message.model_name or None
        self._gateway.table.model(model)
        if message.ByteSize() <= SMALL:
            request, wanted = tensors.decode(message)
        else:
            request, wanted = await self._gateway.decoding.run(tensors.decode, message)
        if wanted is not None:
            check_outputs(wanted.names, self._gateway.table.model(model), request)
        response = await self._gateway.infer(model, message.model_version or None, request, received_ns)
        raw = bool(message.raw_input_contents)
        return await self._gateway.decoding.write(tensors.encode, response, wanted, raw=raw)

    async def _index(self, message: Message, received_ns: int) -> Message:
        states = self._gateway.repository.index()
        make = MESSAGES["RepositoryIndexResponse"].ModelIndex
        return MESSAGES["RepositoryIndexResponse"](
            models=[
                make(name=state.name, version=state.version, state=state.state, reason=state.reason)
                for state in states
                if state.state == "READY" or not message.ready
            ]
        )

    async def _load(self, message: Message, received_ns: int) -> Message:
        model = _repository_model(message)
        check_load_parameters(message.parameters)
        await self._gateway.repository.load(model)
        return MESSAGES["RepositoryModelLoadResponse"](model_name=model, isLoaded=True)

    async def _unload(self, message: Message, received_ns: int) -> Message:
        model = _repository_model(message)
        await self._gateway.repository.unload(model)
        return MESSAGES["RepositoryModelUnloadResponse"](model_name=model, isUnloaded=True)


def _repository_model(message: Message) -> str:
    """KServe's clients put the model's name where Triton's put the repository's; there is one repository."""
    name: str = message.model_name or message.repository_name
    if not name:
        raise Refused(400, "model_name is empty; expected the name of a model")
    return name


def _tensor(found: TensorMetadata) -> Message:
    make = MESSAGES["ModelMetadataResponse"].TensorMetadata
    return make(name=found.name, datatype=found.datatype, shape=found.shape)


def _headers(context: Any) -> list[tuple[bytes, bytes]]:
    """Return a call's metadata as HTTP headers are given."""
    return [
        (key.encode(), value if isinstance(value, bytes) else value.encode())
        for key, value in context.invocation_metadata() or ()
    ]


def _request_id(context: Any) -> str:
    """Return the id that a client gave as it would over HTTP; empty without one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and 0 < len(value) <= MAX_ID:
            return str(value)
    return ""


def _details(refused: Refused) -> str:
    text = str(refused).encode("utf-8", "replace")
    return text.decode() if len(text) <= MOST_DETAILS else text[:MOST_DETAILS].decode(errors="ignore") + " ..."


def _trailers(refused: Refused) -> Sequence[tuple[str, str]]:
    return () if refused.retry_after is None else ((PUSHBACK, str(1000 * refused.retry_after)),)
