"""What becomes of a gRPC call beside its answer: its span, and the log when its client leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from integration.otlp_receiver import attributes, receiving
from kit.waiting import PATIENCE_S
from trimtab.clock import SystemClock
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.grpc.server import serve_grpc
from trimtab.serving.telemetry.spans import open_traces
from trimtab.serving.telemetry.traces import Traces

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def request() -> Any:
    column = {"name": "row", "datatype": "FP64", "shape": [1], "contents": {"fp64_contents": [1]}}
    return service_pb2.ModelInferRequest(model_name="delay", id="abc", inputs=[column])


def calling(
    served: Served,
    call: Callable[[Any], Awaitable[None]],
    traces: Traces | None = None,
    timeout_s: float | None = None,
) -> None:
    """Do something with a stub of a server over a gateway."""

    async def run() -> None:
        server = await serve_grpc(
            served.gateway, host="127.0.0.1", port=0, max_body=100_000, traces=traces, timeout_s=timeout_s
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            await call(service_pb2_grpc.GRPCInferenceServiceStub(channel))
        await server.stop(grace_s=5)

    asyncio.run(run())


def test_a_call_is_a_span_on_its_caller_s_trace(
    served: Served, pack: Packer, table_of: TableOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.serve(table_of(("champion", pack(3), 100)))

    async def call(stub: Any) -> None:
        await stub.ModelInfer(request(), metadata=[("traceparent", PARENT)])
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ModelReady(service_pb2.ModelReadyRequest(name="none"))

    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        traces = open_traces(SystemClock(), worker="0")
        assert traces is not None
        calling(served, call, traces)
        traces.close()
        span = receiver.named("inference.GRPCInferenceService/ModelInfer")
        told = attributes(span)
        assert span.trace_id.hex() == TRACE
        assert (told["rpc.system"], told["rpc.method"]) == ("grpc", "ModelInfer")
        assert (told["trimtab.version"], told["trimtab.prediction_id"]) == (3, "abc")
        assert {receiver.named(stage).parent_span_id for stage in ("features", "score", "log")} == {span.span_id}
        missing = receiver.named("inference.GRPCInferenceService/ModelReady")
        assert missing.trace_id.hex() != TRACE


class Stuck:
    """A scorer that waits until it is let go."""

    task: Literal["binary"] = "binary"
    in_process = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.begun, self.free = threading.Event(), threading.Event()

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.begun.set()
        assert self.free.wait(PATIENCE_S)
        found: np.ndarray[Any, Any] = self._inner.score(X)
        return found

    def close(self) -> None:
        self._inner.close()


def test_a_call_that_takes_too_long_is_ended_and_not_logged_as_served(
    served: Served, pack: Packer, table_of: TableOf
) -> None:
    bundle = pack(1)
    stuck = Stuck(bundle.scorer)
    served.serve(table_of(("champion", replace(bundle, scorer=stuck, inline=False, quick=False), 100)))

    async def call(stub: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError, match=r"took longer than 0\.2 s") as refused:
            await stub.ModelInfer(request())
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        stuck.free.set()

    calling(served, call, timeout_s=0.2)
    # on a slow machine it may end before it is scored, and leaves no row then
    assert {(row["served"], row["route"]) for row in served.rows()} <= {(False, "abandoned")}
    assert served.gateway.metrics.rows_waiting == 0


def test_a_call_that_its_client_cancels_is_not_logged_as_served(
    served: Served, pack: Packer, table_of: TableOf
) -> None:
    bundle = pack(1)
    stuck = Stuck(bundle.scorer)
    served.serve(table_of(("champion", replace(bundle, scorer=stuck, inline=False, quick=False), 100)))

    async def call(stub: Any) -> None:
        calls = [stub.ModelInfer(request()), stub.ModelInfer(request(), timeout=0.2)]
        assert await asyncio.to_thread(stuck.begun.wait, PATIENCE_S)
        assert calls[0].cancel()
        assert await calls[1].code() is grpc.StatusCode.DEADLINE_EXCEEDED
        while served.gateway.metrics.in_progress:
            await asyncio.sleep(0.01)
        stuck.free.set()

    calling(served, call)
    assert {(row["served"], row["route"]) for row in served.rows()} == {(False, "abandoned")}
    assert served.gateway.metrics.rows_waiting == 0
