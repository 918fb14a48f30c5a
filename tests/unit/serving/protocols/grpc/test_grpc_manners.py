"""How the gRPC server treats clients: sizes, compression, pings, retries, and what Triton's own client does with it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from kit.waiting import PATIENCE_S
from trimtab.clock import SystemClock
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.orders import Grant
from trimtab.serving.requests import InferenceRequest, Refused
from unit.serving.protocols.grpc.caller import ROW, SERVICE, Caller, certificate

if TYPE_CHECKING:
    from unit.serving.conftest import Served

LIMIT = 100_000
"""Largest message of the servers of these tests."""
SECRET = "tt_good"
GRANT = Grant(sha256(SECRET.encode()).hexdigest(), "checkout", ("delay",), ("infer",), None)


def column_of(rows: int) -> Any:
    tensor = {"name": "row", "datatype": "FP64", "shape": [rows]}
    return service_pb2.ModelInferRequest(
        model_name="delay", inputs=[tensor], raw_input_contents=[np.ones(rows).tobytes()]
    )


async def infer(call: Caller, message: Any, **options: Any) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{call.server.port}", **options) as channel:
        return await service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message)


# --- sizes


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_compressed_messages_are_read(call: Caller, compression: Any) -> None:
    found = call.run(infer(call, column_of(10_000), compression=compression))
    assert list(found.outputs[1].shape) == [10_000]


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_the_limit_is_of_unpacked_bytes(call: Caller, compression: Any) -> None:
    message = column_of(1_000_000)  # 8 MB, some KB when compressed
    with pytest.raises(grpc.aio.AioRpcError, match=f"larger than max .* vs. {LIMIT}") as refused:
        call.run(infer(call, message, compression=compression))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_refusal_is_short_enough_for_every_client(call: Caller, delay: Served) -> None:
    # given so many models that their names are more than a header holds
    names = [f"modèle-{number:04}" for number in range(2_000)]
    delay.gateway.swap(RoutingTable(errors=dict.fromkeys(names, "damaged")))
    # when one asks for none of them
    code, says = call.refusal("ModelInfer", inputs=ROW["inputs"])
    # then the client hears why, and not that an answer was too large
    assert (code, says[:23]) == (grpc.StatusCode.INVALID_ARGUMENT, "2000 models are served;")
    assert says.endswith(" ...")


# --- connections


def frame(kind: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame of the connection itself."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + bytes(4) + payload


def ping(port: int, count: int) -> list[tuple[int, bytes]]:
    """Send pings all at once, then another; return the frames that come until that is answered, or the end."""
    settings, pinged, goodbye = 4, 6, 7
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(60)
        pings = [frame(pinged, number.to_bytes(8, "big")) for number in range(count)]
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, b"") + b"".join(pings))
        with client.makefile("rb") as stream:
            found: list[tuple[int, bytes]] = []
            answers = 0
            while answers <= count and (head := stream.read(9)):
                found.append((head[3], stream.read(int.from_bytes(head[:3], "big"))))
                answers += head[3] == pinged
                if head[3] == goodbye:
                    break
                if head[3] == pinged and answers == count:
                    client.sendall(frame(pinged, bytes(8)))
    return found


def test_pings_that_keep_a_connection_alive_are_not_punished(call: Caller) -> None:
    found = call.run(asyncio.to_thread(ping, call.server.port, 50))
    kinds = [kind for kind, _ in found]
    assert (kinds.count(6), kinds.count(7)) == (51, 0)
    # and a client is told how many calls it may make at once, so that it keeps the others back
    told = dict(struct.iter_unpack(">HI", found[0][1]))
    assert (found[0][0], told[3]) == (4, 1_000)


# --- too much at once


def test_a_call_that_is_shed_is_repeated_by_a_client_with_a_retry_policy(
    call: Caller, delay: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a gateway that is full when the first call comes, and has room for the second
    answered, gateway = delay.gateway.infer, delay.gateway
    came: list[str] = []

    async def full_at_first(model: Any, version: Any, request: InferenceRequest, received_ns: int) -> Any:
        came.append(request.request_id or "")
        if len(came) == 1:
            gateway._scheduler.admission.reserve(gateway.options.max_waiting_rows)
            try:
                return await answered(model, version, request, received_ns)
            finally:
                gateway._scheduler.admission.release(gateway.options.max_waiting_rows)
        return await answered(model, version, request, received_ns)

    monkeypatch.setattr(gateway, "infer", full_at_first)
    retrying = {
        "name": [{"service": SERVICE}],
        "retryPolicy": {
            "maxAttempts": 2,
            "initialBackoff": "600s",  # so that only what the server says brings the call again
            "maxBackoff": "600s",
            "backoffMultiplier": 1,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
    # when a client without a retry policy comes, it is told when to come again
    with pytest.raises(grpc.aio.AioRpcError, match="rows wait already") as refused:
        call("ModelInfer", **ROW)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ("grpc-retry-pushback-ms", "1000") in list(refused.value.trailing_metadata())
    # and one with a policy does so by itself
    came.clear()
    options = [("grpc.service_config", json.dumps({"methodConfig": [retrying]}))]
    message = service_pb2.ModelInferRequest(**ROW, id="again")
    assert call.run(infer(call, message, options=options)).id == "again"
    assert came == ["again", "again"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (409, "FAILED_PRECONDITION"),
        (413, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_every_refusal_has_its_status(
    call: Caller, delay: Served, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    async def refuse(*given: Any) -> Any:
        raise Refused(status, "because\nof 100 % ünd\x00")

    monkeypatch.setattr(delay.gateway, "infer", refuse)
    found, says = call.refusal("ModelInfer", **ROW)
    assert (found.name, says) == (code, "because\nof 100 % ünd\x00")


# --- Triton's client


def with_triton(call: Caller, use: Callable[[Any], Any], **options: Any) -> Any:
    """Use Triton's client in a thread, while the loop serves."""

    def run() -> Any:
        with triton.InferenceServerClient(f"127.0.0.1:{call.server.port}", **options) as client:
            return use(client)

    return call.run(asyncio.to_thread(run))


def inputs(datatype: str, values: Any) -> list[Any]:
    made = triton.InferInput("row", list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return [made]


def test_triton_s_client_over_tls_with_a_token_and_compression(
    open_caller: Callable[..., Caller], tmp_path: Path
) -> None:
    files = certificate(tmp_path)
    call = open_caller(tls=files, access=Access(Grants.of([GRANT]), SystemClock()), max_body=LIMIT)
    secure = {"ssl": True, "root_certificates": files.certificate}

    def use(client: Any) -> Any:
        values = np.ones(5_000)
        with pytest.raises(InferenceServerException, match="asks for a token") as refused:
            client.infer("delay", inputs("FP64", values))
        assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
        headers = {"authorization": f"Bearer {SECRET}"}
        with pytest.raises(InferenceServerException, match="does not open model 'price'") as refused:
            client.infer("price", inputs("FP64", values), headers=headers)
        assert refused.value.status() == "StatusCode.PERMISSION_DENIED"
        return client.infer(
            "delay",
            inputs("FP64", values),
            headers=headers,
            compression_algorithm="gzip",
            request_id="flight-1",
            client_timeout=PATIENCE_S,
            outputs=[triton.InferRequestedOutput("label")],
        )

    found = with_triton(call, use, **secure)
    assert found.get_response().id == "flight-1"
    assert found.as_numpy("label").tolist() == [1] * 5_000


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "UINT8", "INT64", "FP64"])
def test_triton_s_client_with_datatypes(call: Caller, datatype: str) -> None:
    values = np.array([1, 0, 1], triton_to_np_dtype(datatype))
    found = with_triton(call, lambda client: client.infer("delay", inputs(datatype, values)))
    assert found.as_numpy("label").tolist() == [1, 0, 1]
    assert found.as_numpy("probability") == pytest.approx([0.8, 0.1, 0.8], abs=1e-6)
