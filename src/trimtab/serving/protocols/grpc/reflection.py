"""Server reflection: tells gRPC clients what can be called, so that grpcurl and its like need no definition.

The answers are those of grpcio-reflection. It knows v1alpha alone; v1, which newer clients ask for first, has the same
messages under another name. Reflection is open to all, as the OpenAPI document is: every release of the gateway has the
same services.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from trimtab.serving.protocols.grpc.messages import DEFINITION, read
from trimtab.serving.requests import Refused

VERSIONS = ("v1", "v1alpha")


def reflection_handlers(services: Iterable[str], stopping: asyncio.Event) -> list[Any]:
    """Return the handlers of both versions. services: full names of the others. stopping: ends all streams."""
    pool = descriptor_pool.DescriptorPool()
    for file in (DEFINITION, _definition(health_pb2), *(_renamed(version) for version in VERSIONS)):
        pool.AddSerializedFile(file.SerializeToString())
    names = [f"grpc.reflection.{version}.ServerReflection" for version in VERSIONS]
    return [_handler(name, services, Definitions(pool), stopping) for name in names]


class Definitions:
    """A descriptor pool whose search for the file of a symbol finds methods, too."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """Return the descriptor of a file. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


def _definition(generated: Any) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto.FromString(generated.DESCRIPTOR.serialized_pb)


def _renamed(version: str) -> descriptor_pb2.FileDescriptorProto:
    """Return the definition of a version of reflection."""
    text = text_format.MessageToString(_definition(reflection_pb2)).replace("v1alpha", version)
    return text_format.Parse(text, descriptor_pb2.FileDescriptorProto())


def _handler(name: str, services: Iterable[str], pool: Definitions, stopping: asyncio.Event) -> Any:
    servicer = aio.ReflectionServicer((*services, name), pool)

    async def requests(bodies: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for body in _until(stopping, bodies):
            yield read(reflection_pb2.ServerReflectionRequest, body)

    async def run(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        try:
            async for reply in servicer.ServerReflectionInfo(requests(bodies), context):
                yield reply
        except Refused as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))

    method = grpc.stream_stream_rpc_method_handler(
        run, response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})


async def _until(stopping: asyncio.Event, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what comes until the client or the server ends: a client that waits must not hold up a drain."""
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            asked = asyncio.ensure_future(_next(bodies))
            await asyncio.wait((asked, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                asked.cancel()
                return
            if (body := asked.result()) is None:
                return
            yield body
    finally:
        stopped.cancel()


async def _next(bodies: AsyncIterator[bytes]) -> bytes | None:
    return await anext(bodies, None)
