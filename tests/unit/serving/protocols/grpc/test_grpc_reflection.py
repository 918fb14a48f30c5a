"""What a client can call, told by the server itself: enough for one that has no definition to get a prediction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from trimtab.clock import SystemClock
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.protocols.grpc.server import serve_grpc

if TYPE_CHECKING:
    from unit.serving.conftest import Served

SERVICE = "inference.GRPCInferenceService"
PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


@pytest.fixture
def calling(delay: Served) -> Callable[[Callable[[Any], Any]], Any]:
    """Return a function that calls another with a channel to a server that asks for tokens."""

    def run(call: Callable[[Any], Any]) -> Any:
        async def serve() -> Any:
            nobody = Access(Grants({}), SystemClock())
            server = await serve_grpc(delay.gateway, host="127.0.0.1", port=0, max_body=100_000, access=nobody)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                found = await call(channel)
            await server.stop(grace_s=5)
            return found

        return asyncio.run(serve())

    return run


async def ask(channel: Any, package: str, *questions: dict[str, Any]) -> list[Any]:
    stream = channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    return [reply async for reply in stream(iter([ServerReflectionRequest(**one) for one in questions]))]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("star", ["", "*"])
def test_the_services_are_listed_without_a_token(calling: Any, package: str, star: str) -> None:
    (reply,) = calling(lambda channel: ask(channel, package, {"list_services": star}))
    names = [one.name for one in reply.list_services_response.service]
    assert names == sorted([SERVICE, "grpc.health.v1.Health", f"{package}.ServerReflection"])


def pool_of(files: Sequence[bytes]) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file)
    return pool


def test_a_client_without_a_definition_gets_a_prediction(delay: Served) -> None:
    async def run() -> Any:
        server = await serve_grpc(delay.gateway, host="127.0.0.1", port=0, max_body=100_000)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            (reply,) = await ask(channel, PACKAGES[0], {"file_containing_symbol": SERVICE})
            pool = pool_of(reply.file_descriptor_response.file_descriptor_proto)
            method = pool.FindServiceByName(SERVICE).methods_by_name["ModelInfer"]
            request, response = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
            text = '{"name": "row", "shape": [1], "datatype": "FP64", "contents": {"fp64_contents": [1]}}'
            message = json_format.Parse(f'{{"model_name": "delay", "inputs": [{text}]}}', request())
            infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", request.SerializeToString, response.FromString)
            answer = await infer(message)
        await server.stop(grace_s=5)
        return answer

    assert asyncio.run(run()).outputs[0].name == "probability"


def test_files_are_found_by_name_and_by_what_they_hold(calling: Any) -> None:
    found = calling(
        lambda channel: ask(
            channel,
            PACKAGES[0],
            {"file_by_filename": "inference.proto"},
            {"file_containing_symbol": "inference.ModelInferRequest.InferInputTensor"},
            {"file_containing_symbol": f"{SERVICE}.ModelInfer"},
            {"file_containing_symbol": "grpc.health.v1.HealthCheckRequest"},
            {"file_containing_symbol": f"{PACKAGES[0]}.ServerReflection"},
        )
    )
    files = [list(reply.file_descriptor_response.file_descriptor_proto) for reply in found]
    assert files[0] == files[1] == files[2]
    assert pool_of(files[0] + files[3] + files[4]).FindServiceByName("grpc.health.v1.Health").methods[0].name == "Check"


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "other.proto"},
        {"file_containing_symbol": "inference.Other"},
        {"all_extension_numbers_of_type": SERVICE},
        {"file_containing_extension": {"containing_type": SERVICE, "extension_number": 1}},
    ],
)
def test_what_is_not_there_is_told(calling: Any, question: dict[str, Any]) -> None:
    (reply,) = calling(lambda channel: ask(channel, PACKAGES[0], question))
    assert reply.error_response.error_code == 5  # not found
