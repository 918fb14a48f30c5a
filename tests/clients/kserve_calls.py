"""KServe's own clients ask a gateway: run by with_kserve in an environment that holds kserve, not ours.

Arguments: the HTTP port, the gRPC port. Prints what was asked and answered; fails where the answer is not as expected.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    ModelMetadataRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
    ServerMetadataRequest,
)

MODEL = "delay"


def show(what: str, answer: object) -> None:
    """Print one line of the transcript."""
    print(f"{what}\n    -> {str(answer).strip()}")


def request(*, raw: bool = True) -> InferRequest:
    """Return a request with one tensor a column."""
    columns: list[tuple[str, str, Any]] = [
        ("row", "INT64", np.array([0, 1])),
        ("wind", "FP64", np.array([7.5, 8.5])),
        ("carrier", "BYTES", np.array([b"UA", b"AA"], dtype=object)),
    ]
    inputs = [InferInput(name, [2], datatype) for name, datatype, _ in columns]
    for tensor, (_, _, values) in zip(inputs, columns, strict=True):
        tensor.set_data_from_numpy(values, binary_data=raw)
    return InferRequest(MODEL, inputs, request_id=f"kserve-{raw}", parameters={"binary_data_output": raw})


def output(response: InferResponse, name: str) -> Any:
    """Return the values of one output."""
    return next(found for found in response.outputs if found.name == name).as_numpy().tolist()


def summary(response: InferResponse) -> str:
    """Return a response in one line."""
    return (
        f"{response.model_name} {response.id} {[(o.name, o.datatype, o.as_numpy().tolist()) for o in response.outputs]}"
    )


async def failed(call: Awaitable[Any]) -> BaseException:
    """Return what a call raised."""
    results: list[object] = await asyncio.gather(call, return_exceptions=True)
    assert isinstance(results[0], BaseException), f"it was answered: {results[0]}"
    return results[0]


async def rest_v1(url: str) -> None:
    """The first protocol over HTTP."""
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    show("v1 is_model_ready", await client.is_model_ready(url, MODEL))
    for instances in ([[0, 7.5], [1, 8.5]], [{"row": 0, "wind": 7.5}, {"row": 1, "wind": 8.5}]):
        found = await client.infer(url, {"instances": instances}, model_name=MODEL)
        show(f"v1 infer {instances}", found)
        assert found == {"predictions": [0.125, 0.75]}
    failure = await failed(client.infer(url, {"instance": [0]}, model_name=MODEL))
    assert isinstance(failure, httpx.HTTPStatusError)
    show("v1 infer, misspelt", f"{failure.response.status_code} {failure.response.text}")
    assert failure.response.status_code == 400
    await client.close()


async def rest_v2(url: str) -> None:
    """The Open Inference Protocol over HTTP, as JSON and with binary tensors."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    show("v2 is_server_live", await client.is_server_live(url))
    show("v2 is_server_ready", await client.is_server_ready(url))
    show("v2 is_model_ready", await client.is_model_ready(url, MODEL))
    for raw in (False, True):
        found = await client.infer(url, request(raw=raw), model_name=MODEL)
        show(f"v2 infer, {'binary' if raw else 'JSON'} tensors", summary(found))
        assert found.id == f"kserve-{raw}"
        assert output(found, "probability") == [0.125, 0.75]
    await client.close()


async def grpc_v2(port: int) -> None:
    """The Open Inference Protocol over gRPC."""
    client = InferenceGRPCClient(f"127.0.0.1:{port}")
    show("gRPC is_server_live", await client.is_server_live())
    show("gRPC is_server_ready", await client.is_server_ready())
    show("gRPC is_model_ready", await client.is_model_ready(MODEL))
    for raw in (False, True):
        found = await client.infer(request(raw=raw))
        show(f"gRPC infer, {'raw' if raw else 'typed'} contents", summary(found))
        assert output(found, "label") == [0, 1]
    stub = client._client_stub  # for calls that the client has no method for
    server = await stub.ServerMetadata(ServerMetadataRequest())
    show("gRPC ServerMetadata", f"{server.name} {server.version} {list(server.extensions)}")
    metadata = await stub.ModelMetadata(ModelMetadataRequest(name=MODEL))
    show("gRPC ModelMetadata", f"{metadata.name} {list(metadata.versions)} {[i.name for i in metadata.inputs]}")
    unloaded = await stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name=MODEL))
    show("gRPC RepositoryModelUnload", f"isUnloaded {unloaded.isUnloaded}")
    assert unloaded.isUnloaded
    loaded = await stub.RepositoryModelLoad(RepositoryModelLoadRequest(model_name=MODEL))
    show("gRPC RepositoryModelLoad", f"isLoaded {loaded.isLoaded}")
    assert loaded.isLoaded
    failure = await failed(client.is_model_ready("dealy"))
    assert isinstance(failure, grpc.aio.AioRpcError)
    show("gRPC is_model_ready, misspelt", f"{failure.code()} {failure.details()}")
    assert failure.code() is grpc.StatusCode.NOT_FOUND
    await client.close()


async def main() -> None:
    """Ask over every protocol."""
    logging.disable()  # the clients log what they raise
    print(f"kserve {version('kserve')}, grpcio {version('grpcio')}, protobuf {version('protobuf')}")
    url = f"http://127.0.0.1:{sys.argv[1]}"
    await rest_v1(url)
    await rest_v2(url)
    await grpc_v2(int(sys.argv[2]))


if __name__ == "__main__":
    asyncio.run(main())
