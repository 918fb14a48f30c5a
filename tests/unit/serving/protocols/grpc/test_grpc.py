"""The gRPC service, called over a socket by stubs that Triton's client brings."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

from trimtab.clock import SystemClock
from trimtab.errors import MissingExtra, StageError
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.orders import Grant
from trimtab.serving.protocols.grpc import tensors
from trimtab.serving.protocols.grpc.messages import MESSAGES
from trimtab.serving.protocols.grpc.server import reserve, serve_grpc
from trimtab.serving.protocols.v2.binary import DTYPES
from trimtab.serving.requests import InferenceRequest, Refused
from unit.serving.protocols.grpc.caller import ROW, Caller, certificate, column

if TYPE_CHECKING:
    from unit.serving.conftest import Served


# --- health and metadata


def test_health(call: Caller, delay: Served) -> None:
    assert call("ServerLive").live
    assert call("ServerReady").ready
    assert call("ModelReady", name="delay").ready
    assert call("ModelReady", name="delay", version="1").ready
    assert call.refusal("ModelReady", name="delay", version="9")[0] is grpc.StatusCode.NOT_FOUND
    delay.gateway.swap(RoutingTable(errors={"delay": "damaged"}))
    assert not call("ServerReady").ready
    assert not call("ModelReady", name="delay").ready


def test_metadata_is_what_http_says(call: Caller) -> None:
    server = call("ServerMetadata")
    assert (server.name, bool(server.version)) == ("trimtab", True)
    found = call("ModelMetadata", name="delay")
    assert (found.name, list(found.versions)) == ("delay", ["1", "2", "3"])
    assert {"probability": "FP64", "label": "INT64"}.items() <= {o.name: o.datatype for o in found.outputs}.items()
    assert {tensor.name: list(tensor.shape) for tensor in found.inputs}.items() >= {"row": [-1], "X": [-1, 1]}.items()


# --- inference


@pytest.mark.parametrize(
    ("datatype", "contents"),
    [
        ("INT8", {"int_contents": [1, 0]}),
        ("INT16", {"int_contents": [1, 0]}),
        ("INT32", {"int_contents": [1, 0]}),
        ("INT64", {"int64_contents": [1, 0]}),
        ("UINT8", {"uint_contents": [1, 0]}),
        ("UINT16", {"uint_contents": [1, 0]}),
        ("UINT32", {"uint_contents": [1, 0]}),
        ("UINT64", {"uint64_contents": [1, 0]}),
        ("FP32", {"fp32_contents": [1, 0]}),
        ("FP64", {"fp64_contents": [1, 0]}),
        ("BOOL", {"bool_contents": [True, False]}),
    ],
)
@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_typed_tensors_are_answered_in_kind(
    call: Caller, datatype: str, contents: dict[str, Any], shape: list[int]
) -> None:
    found = call("ModelInfer", model_name="delay", id="a", inputs=[column("row", datatype, shape, **contents)])
    assert (found.model_name, found.model_version, found.id) == ("delay", "2", "a")
    assert tensors.parameters(found.parameters) == {"role": "champion", "revision": 7}
    outputs = {output.name: output for output in found.outputs}
    assert list(outputs["probability"].contents.fp64_contents) == pytest.approx([0.8, 0.1], abs=1e-6)
    assert list(outputs["label"].contents.int64_contents) == [1, 0]
    assert not found.raw_output_contents


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BOOL"])
@pytest.mark.parametrize("name", ["row", "X"])
def test_raw_tensors_are_answered_raw(call: Caller, datatype: str, name: str) -> None:
    raw = np.array([1, 0], dtype=DTYPES[datatype]).tobytes()
    found = call(
        "ModelInfer",
        model_name="delay",
        inputs=[column(name, datatype, [2, 1])],
        raw_input_contents=[raw],
        outputs=[{"name": "label"}, {"name": "probability"}],
    )
    assert [output.name for output in found.outputs] == ["label", "probability"]
    assert np.frombuffer(found.raw_output_contents[0], "<i8").tolist() == [1, 0]
    assert np.frombuffer(found.raw_output_contents[1], "<f8") == pytest.approx([0.8, 0.1], abs=1e-6)


def test_brain_floats_and_texts_are_read() -> None:
    message = MESSAGES["ModelInferRequest"](
        inputs=[column("half", "BF16", [2]), column("carrier", "BYTES", [2]), column("late", "BOOL", [2])],
        raw_input_contents=[
            (np.array([1.5, -2], dtype=np.float32).view(np.uint32) >> 16).astype("<u2").tobytes(),
            b"".join(struct.pack("<I", len(text)) + text for text in (b"UA", "É".encode())),
            b"\1\0",
        ],
    )
    request, wanted = tensors.decode(message)
    assert request.columns == {"half": [1.5, -2.0], "carrier": ["UA", "É"], "late": [True, False]}
    assert wanted is None
    typed = MESSAGES["ModelInferRequest"](inputs=[column("carrier", "BYTES", [2], bytes_contents=[b"UA", b""])])
    assert tensors.decode(typed)[0].columns == {"carrier": ["UA", ""]}


def test_a_nan_is_a_missing_value() -> None:
    nan = [1.0, float("nan")]
    message = MESSAGES["ModelInferRequest"](inputs=[column("row", "FP64", [2], fp64_contents=nan)])
    assert tensors.decode(message)[0].columns == {"row": [1.0, None]}


def test_parameters_name_the_features_and_ask_for_more() -> None:
    message = MESSAGES["ModelInferRequest"](inputs=[column("dense", "FP32", [2, 2], fp32_contents=[1, 2, 3, 4])])
    message.parameters["features"].string_param = "dense"
    message.parameters["explain"].bool_param = True
    message.parameters["coverage"].double_param = 0.9
    request, _ = tensors.decode(message)
    assert request.features is not None
    assert (request.features.tolist(), request.explain, request.coverage) == ([[1, 2], [3, 4]], True, 0.9)
    message.parameters["coverage"].string_param = "1.5"
    with pytest.raises(Refused, match="expected a share between 0 and 1"):
        tensors.decode(message)


def test_predictions_are_logged_under_the_client_s_id(call: Caller, delay: Served) -> None:
    call("ModelInfer", **ROW, id="flight-1")
    call("ModelInfer", **(ROW | {"model_version": "1"}), id="flight-2")
    call("ModelInfer", **ROW, metadata=[("x-request-id", "flight-3")])
    rows = {row["prediction_id"]: row["version"] for row in delay.rows() if row["served"]}
    assert rows == {"flight-1": 2, "flight-2": 1, "flight-3": 2}


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"inputs": []}, "INVALID_ARGUMENT", "inputs is empty"),
        ({"model_name": "dealy"}, "NOT_FOUND", "Did you mean 'delay'?"),
        ({"model_version": "9"}, "NOT_FOUND", "has no version '9' loaded"),
        ({"outputs": [{"name": "labels"}]}, "INVALID_ARGUMENT", "Did you mean 'label'?"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "raw_input_contents has 2 entries"),
        ({"raw_input_contents": [b"1"]}, "INVALID_ARGUMENT", "contents beside raw_input_contents"),
        (
            {"inputs": [column("row", "FP64", [1])], "raw_input_contents": [b"1"]},
            "INVALID_ARGUMENT",
            "take 8 bytes; it has 1",
        ),
        ({"inputs": [column("row", "FP64", [2], fp64_contents=[1])]}, "INVALID_ARGUMENT", "has 1 values"),
        ({"inputs": [column("row", "FP64", [1], fp32_contents=[1])]}, "INVALID_ARGUMENT", "0 values in fp64_contents"),
        ({"inputs": [column("row", "FP65", [1])]}, "INVALID_ARGUMENT", "unknown datatype 'FP65'"),
        ({"inputs": [column("row", "FP16", [1])]}, "INVALID_ARGUMENT", "has to come raw"),
        ({"inputs": [column("row", "FP64", [-1])]}, "INVALID_ARGUMENT", "has shape [-1]"),
        ({"inputs": [column("row", "FP64", [10**9, 0])]}, "INVALID_ARGUMENT", "expected [n] or [n, d]"),
        ({"inputs": [column("row", "INT8", [1], int_contents=[300])]}, "INVALID_ARGUMENT", "300 is not of datatype"),
        ({"inputs": [column("row", "BYTES", [1], bytes_contents=[b"\xff"])]}, "INVALID_ARGUMENT", "not UTF-8"),
        ({"inputs": [column("line", "FP64", [1], fp64_contents=[1])]}, "INVALID_ARGUMENT", "'row' is missing"),
        ({"inputs": [column("row", "FP64", [1], fp64_contents=[2])]}, "INTERNAL", "failed to score"),
    ],
)
def test_refusals_have_a_status_and_say_why(call: Caller, fields: dict[str, Any], code: str, says: str) -> None:
    found, details = call.refusal("ModelInfer", **(ROW | fields))
    assert (found.name, says in details) == (code, True), details


def test_a_message_that_is_too_large_is_refused(call: Caller) -> None:
    large = column("row", "FP64", [20_000], fp64_contents=[0.5] * 20_000)
    assert call.refusal("ModelInfer", model_name="delay", inputs=[large])[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_explanations_are_outputs(served: Served, pack: Any, table_of: Any, call: Caller) -> None:
    served.serve(table_of(("champion", pack(5, scores=(0.25, 0.75), background=[[0.0], [1.0]]), 100)))
    message = service_pb2.ModelInferRequest(**ROW)
    message.parameters["explain"].bool_param = True
    found = call.send("ModelInfer", message)
    contributions = next(output for output in found.outputs if output.name == "contributions")
    told = tensors.parameters(contributions.parameters)
    assert told is not None
    assert (list(contributions.shape), told["features"], told["unit"]) == ([1, 1], "row", "probability")
    assert told["base"] + contributions.contents.fp64_contents[0] == pytest.approx(0.75, abs=1e-6)


def test_bytes_that_are_no_message_leave_the_server_well(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    async def send(body: bytes, method: str = "/inference.GRPCInferenceService/ModelInfer") -> None:
        await call.channel.unary_unary(method)(body)

    for body in (b"\xff\xff", b"\x0a\x01\xff"):  # no field at all, and a name that is no UTF-8
        with pytest.raises(grpc.aio.AioRpcError, match="the bytes are no inference") as refused:
            call.run(send(body))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for method in ("/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
        with pytest.raises(grpc.aio.AioRpcError, match=r"the bytes are no grpc\.") as refused:
            call.run(send(b"\xff", method))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caplog.messages == []
    assert call("ModelInfer", **ROW).model_version == "2"
    with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
        call.send("ModelConfig", service_pb2.ModelConfigRequest(name="delay"))


# --- tokens


SECRET = "tt_good"
GRANT = Grant(sha256(SECRET.encode()).hexdigest(), "checkout", ("delay",), ("infer",), None)


def test_tokens_are_asked_for(open_caller: Callable[..., Caller]) -> None:
    call = open_caller(access=Access(Grants.of([GRANT]), SystemClock()))
    good = [("authorization", f"Bearer {SECRET}")]
    assert call("ModelInfer", **ROW, metadata=good).model_version == "2"
    assert call("ModelInfer", **(ROW | {"model_name": ""}), metadata=good).model_version == "2"
    assert call("ServerLive").live
    assert call.refusal("ModelInfer", **ROW)[0] is grpc.StatusCode.UNAUTHENTICATED
    assert call.refusal("RepositoryIndex", metadata=good)[0] is grpc.StatusCode.PERMISSION_DENIED
    code, says = call.refusal("RepositoryModelUnload", repository_name="delay", metadata=good)
    assert (code, "does not allow 'admin', only: infer" in says) == (grpc.StatusCode.PERMISSION_DENIED, True)
    code, says = call.refusal("ModelInfer", **(ROW | {"model_name": "noise"}), metadata=good)
    assert (code, "does not open model 'noise'" in says) == (grpc.StatusCode.PERMISSION_DENIED, True)


def test_what_tells_of_all_models_needs_a_token_for_all(open_caller: Callable[..., Caller]) -> None:
    # given one model, and a token that opens all permissions of it
    limited = Grant(GRANT.sha256, "checkout", ("delay",), ("infer", "feedback", "read", "admin"), None)
    call = open_caller(access=Access(Grants.of([limited]), SystemClock()))
    good = [("authorization", f"Bearer {SECRET}")]
    # then it opens what is about the model, named or not, and no list of all
    assert call("ModelMetadata", name="delay", metadata=good).name == "delay"
    assert call("ModelReady", metadata=good).ready
    code, says = call.refusal("RepositoryIndex", metadata=good)
    assert (code, "what concerns all models" in says) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert call.refusal("RepositoryModelUnload", repository_name="price", metadata=good)[0] is (
        grpc.StatusCode.PERMISSION_DENIED
    )
    # and a stranger is asked for a token before what he sends is looked at
    assert call.refusal("RepositoryModelUnload")[0] is grpc.StatusCode.UNAUTHENTICATED


# --- the server


def test_a_call_under_way_is_answered_when_the_server_stops(call: Caller, delay: Served) -> None:
    async def run() -> Any:
        under_way = asyncio.ensure_future(call.stub.ModelInfer(service_pb2.ModelInferRequest(**ROW)))
        while not delay.gateway._scheduler._waiting and not under_way.done():  # until the server has read it
            await asyncio.sleep(0)
        await call.server.stop(grace_s=10)
        return await under_way

    assert call.runner.run(run()).model_version == "2"


def test_calls_are_encrypted(delay: Served, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def run() -> tuple[bool, str]:
            server = await serve_grpc(delay.gateway, host="127.0.0.1", port=0, max_body=1_000, tls=files)
            trusted = grpc.ssl_channel_credentials(Path(files.certificate).read_bytes())
            target = f"127.0.0.1:{server.port}"
            async with grpc.aio.secure_channel(target, trusted) as channel:
                live = await service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerLive(
                    service_pb2.ServerLiveRequest()
                )
            async with grpc.aio.insecure_channel(target) as channel:
                plain = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await plain.ServerLive(service_pb2.ServerLiveRequest())
            await server.stop(grace_s=0)
            return live.live, refused.value.code().name

        assert runner.run(run()) == (True, "UNAVAILABLE")


def test_a_port_that_is_taken_is_named(call: Caller, delay: Served) -> None:
    with pytest.raises(StageError, match=f"127.0.0.1:{call.server.port}"):
        call.runner.run(serve_grpc(delay.gateway, host="127.0.0.1", port=call.server.port, max_body=1))
    with pytest.raises(StageError, match="choose another port"):
        reserve("127.0.0.1", call.server.port)


def test_workers_share_a_reserved_port(delay: Served, open_caller: Callable[..., Caller]) -> None:
    with reserve("127.0.0.1", 0) as kept:
        port = kept.getsockname()[1]
        call = open_caller(port=port, shared=True)
        second = call.runner.run(serve_grpc(delay.gateway, host="127.0.0.1", port=port, max_body=1_000, shared=True))
        assert (call.server.port, second.port) == (port, port)
        assert call("ServerLive").live
        call.runner.run(second.stop(grace_s=0))


@pytest.mark.parametrize(
    ("module", "package"),
    [("grpc", "grpcio"), ("grpc_health", "grpcio-health-checking"), ("grpc_reflection", "grpcio-reflection")],
)
def test_without_a_package_of_grpc_it_and_the_extra_are_named(
    module: str, package: str, delay: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == "grpc.aio" or "protocols.grpc." in name]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not installed\. .*pip install 'trimtab\[grpc\]'"):
        asyncio.run(serve_grpc(delay.gateway, host="127.0.0.1", port=0, max_body=1))


# --- whatever comes

TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["row", "X", ""]),
        "datatype": st.sampled_from([*DTYPES, "BF16", "BYTES", "", "FP8"]),
        "shape": st.lists(st.integers(-2, 4) | st.integers(-(2**63), 2**63 - 1), max_size=3),
    },
    optional={
        "contents": st.fixed_dictionaries(
            {},
            optional={
                "fp32_contents": st.lists(st.floats(width=32), max_size=4),
                "fp64_contents": st.lists(st.floats(), max_size=4),
                "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
                "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
                "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=4),
                "bytes_contents": st.lists(st.binary(max_size=4), max_size=4),
            },
        )
    },
)


@given(
    inputs=st.lists(TENSOR, max_size=3),
    raw=st.just([]) | st.lists(st.binary(max_size=24), max_size=3),
)
def test_whatever_comes_is_rows_or_refused(inputs: list[dict[str, Any]], raw: list[bytes]) -> None:
    message = MESSAGES["ModelInferRequest"](inputs=inputs, raw_input_contents=raw)
    with suppress(Refused):
        request, _ = tensors.decode(message)
        assert isinstance(request, InferenceRequest)
        assert all(len(values) == request.rows for values in request.columns.values())
        assert request.features is None or (request.features.dtype, len(request.features)) == (np.float32, request.rows)


def test_the_repository_is_listed_loaded_and_unloaded(call: Caller, delay: Served) -> None:
    table = delay.gateway.table

    def hold(model: str, held: bool) -> None:  # as the supervisor would, by way of all workers
        delay.gateway.swap(RoutingTable(held=(model,)) if held else table)

    delay.gateway.repository.hold = hold
    listed = [(model.name, model.version, model.state) for model in call("RepositoryIndex").models]
    assert listed == [("delay", version, "READY") for version in "123"]
    call("RepositoryModelUnload", model_name="delay")
    assert [(m.name, m.state, m.reason) for m in call("RepositoryIndex").models] == [
        ("delay", "UNAVAILABLE", "unloaded")
    ]
    assert list(call("RepositoryIndex", ready=True).models) == []
    assert call.refusal("ModelInfer", **ROW)[0] is grpc.StatusCode.NOT_FOUND
    call("RepositoryModelLoad", repository_name="delay")  # where KServe's clients put the name
    assert call("ModelReady", name="delay").ready
    assert call.refusal("RepositoryModelUnload", model_name="x")[0] is grpc.StatusCode.NOT_FOUND
    assert call.refusal("RepositoryModelLoad")[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_calls_are_counted(call: Caller, delay: Served) -> None:
    call("ServerLive")
    call.refusal("ModelInfer", **(ROW | {"model_name": "dealy"}))
    text = delay.gateway.metrics.text()
    lines = [line for line in text.splitlines() if 'protocol="grpc"' in line and "requests_total" in line]
    assert {line.split("{")[1] for line in lines} == {
        'protocol="grpc",status="200"} 1.0',
        'protocol="grpc",status="404"} 1.0',
    }
    assert delay.gateway.metrics.in_progress == 0
