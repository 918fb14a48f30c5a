"""Tells gRPC clients what can be called, so that grpcurl and its like need no definition. Called by grpc_service.

Server reflection, v1 and v1alpha (grpc/reflection/v1/reflection.proto), over the tables of grpc_messages. It is open to
all, as the OpenAPI document is: it tells what any release of the gateway has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pb2

from trimtab.serving.protocols.grpc_messages import HEALTH, INFERENCE, definition, message_classes, read
from trimtab.serving.requests import Refused

PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
NOT_FOUND = 5
"""gRPC's status code."""
REFLECTION: dict[str, str] = {
    "ExtensionRequest": "1 string containing_type, 2 int32 extension_number",
    "ServerReflectionRequest": "1 string host, 3 string file_by_filename, 4 string file_containing_symbol,"
    " 5 ExtensionRequest file_containing_extension, 6 string all_extension_numbers_of_type, 7 string list_services",
    "FileDescriptorResponse": "1 bytes* file_descriptor_proto",
    "ServiceResponse": "1 string name",
    "ListServiceResponse": "1 ServiceResponse* service",
    "ErrorResponse": "1 int32 error_code, 2 string error_message",
    "ServerReflectionResponse": "1 string valid_host, 2 ServerReflectionRequest original_request,"
    " 4 FileDescriptorResponse file_descriptor_response, 6 ListServiceResponse list_services_response,"
    " 7 ErrorResponse error_response",
}
"""Messages as in grpc_messages. Alternatives are plain fields: what is asked for is the one that is not empty."""


class Told(NamedTuple):
    """What is told of a method: the names of its request and its response, and whether many responses come."""

    request: str
    response: str
    streams: bool = False


def reflection_handlers(services: Mapping[str, Mapping[str, Told]], stopping: asyncio.Event) -> list[Any]:
    """Return gRPC's handlers. services: full name -> method -> what it takes and gives. stopping: ends all streams."""
    tables = {"inference": INFERENCE, "grpc.health.v1": HEALTH}
    files = []
    for package, table in tables.items():
        file = definition(package, table)
        for service, methods in services.items():
            if service.rpartition(".")[0] == package:
                _add_service(file, service, methods)
        files.append(file)
    return [_handler(package, files, stopping) for package in PACKAGES]


def _add_service(file: descriptor_pb2.FileDescriptorProto, service: str, methods: Mapping[str, Told]) -> None:
    made = file.service.add(name=service.rpartition(".")[2])
    for name, (request, response, streams) in methods.items():
        made.method.add(
            name=name,
            input_type=f".{file.package}.{request}",
            output_type=f".{file.package}.{response}",
            server_streaming=streams,
        )


def _handler(package: str, files: list[descriptor_pb2.FileDescriptorProto], stopping: asyncio.Event) -> Any:
    messages = message_classes(package, REFLECTION)
    whole = [*files, definition(package, REFLECTION)]
    service = f"{package}.ServerReflection"
    whole[-1].service.add(name="ServerReflection").method.add(
        name="ServerReflectionInfo",
        input_type=f".{package}.ServerReflectionRequest",
        output_type=f".{package}.ServerReflectionResponse",
        client_streaming=True,
        server_streaming=True,
    )
    known = {name: file.SerializeToString() for file in whole for name in (file.name, *_symbols(file))}
    services = sorted([f"{file.package}.{one.name}" for file in files for one in file.service] + [service])

    def answer(question: Any) -> Any:
        reply = messages["ServerReflectionResponse"](valid_host=question.host, original_request=question)
        wanted = question.file_by_filename or question.file_containing_symbol
        if wanted in known:
            reply.file_descriptor_response.file_descriptor_proto.append(known[wanted])
        elif wanted or question.all_extension_numbers_of_type or question.HasField("file_containing_extension"):
            reply.error_response.error_code = NOT_FOUND
            reply.error_response.error_message = f"no '{wanted:.100}' here; the services are {', '.join(services)}"
        else:
            for name in services:
                reply.list_services_response.service.add(name=name)
        return reply

    async def run(questions: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async for body in _until(stopping, questions):
            try:
                question = read(messages["ServerReflectionRequest"], body)
            except Refused as refused:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
            yield answer(question)

    method = grpc.stream_stream_rpc_method_handler(
        run, response_serializer=messages["ServerReflectionResponse"].SerializeToString
    )
    return grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": method})


async def _until(stopping: asyncio.Event, questions: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give what comes until the client or the server is done: one that waits for more must not hold up a drain."""
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            asked = asyncio.ensure_future(_next(questions))
            await asyncio.wait((asked, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                asked.cancel()
                return
            if (question := asked.result()) is None:
                return
            yield question
    finally:
        stopped.cancel()


async def _next(questions: AsyncIterator[bytes]) -> bytes | None:
    return await anext(questions, None)


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    """Return the full names of a file's messages, services and methods."""
    found: list[str] = []
    waiting = [(f"{file.package}.{message.name}", message) for message in file.message_type]
    while waiting:
        name, message = waiting.pop()
        found.append(name)
        waiting += [(f"{name}.{inner.name}", inner) for inner in message.nested_type]
        found += [f"{name}.{inner.name}" for inner in message.enum_type]
    for service in file.service:
        found.append(f"{file.package}.{service.name}")
        found += [f"{file.package}.{service.name}.{method.name}" for method in service.method]
    return found
