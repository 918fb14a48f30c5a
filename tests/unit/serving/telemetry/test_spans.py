"""Spans, received by a real OTLP receiver over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from integration.otlp_receiver import Receiver, attributes, receiving
from trimtab import settings
from trimtab.clock import SystemClock, to_micros
from trimtab.serving.requests import InferenceResponse
from trimtab.serving.telemetry.spans import open_traces
from trimtab.serving.telemetry.traces import RequestTrace, Stage, Traces, current

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_current_trace() -> None:
    current.set(None)


@pytest.fixture
def traces(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Traces:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    opened = open_traces(SystemClock(), worker="3")
    assert opened is not None
    return opened


def response(**changed: Any) -> InferenceResponse:
    values: dict[str, Any] = {
        "model": "delay",
        "version": 3,
        "role": "champion",
        "revision": 7,
        "request_id": "abc",
        "prediction_ids": ["abc"],
        "task": "binary",
        "scores": [0.4],
        "labels": [0],
    }
    return InferenceResponse(**values | changed)


def test_a_request_is_a_span_with_its_stages_as_children(traces: Traces, receiver: Receiver) -> None:
    start = time.perf_counter_ns()
    began_at = to_micros(SystemClock().now())
    trace = traces.begin([(b"host", b"x")], start)
    stages = [
        Stage("features", start + 10_000, start + 30_000),
        Stage("score", start + 30_000, start + 90_000),
        Stage("log", start + 90_000, start + 95_000),
    ]
    trace.note(response(), stages)
    trace.end("POST", "/v2/models/{model}/infer", "/v2/models/delay/infer", 200)
    traces.close()
    assert receiver.paths == {"/v1/traces"}
    request = receiver.named("POST /v2/models/{model}/infer")
    assert request.kind == request.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "url.path": "/v2/models/delay/infer",
        "http.response.status_code": 200,
        "trimtab.model": "delay",
        "trimtab.version": 3,
        "trimtab.role": "champion",
        "trimtab.revision": 7,
        "trimtab.rows": 1,
        "trimtab.prediction_id": "abc",
    }
    assert abs(request.start_time_unix_nano // 1000 - began_at) < 60_000_000
    for stage in stages:
        child = receiver.named(stage.name)
        assert child.parent_span_id == request.span_id
        assert child.trace_id == request.trace_id
        assert child.start_time_unix_nano - request.start_time_unix_nano == stage.start_ns - start
        assert child.end_time_unix_nano - child.start_time_unix_nano == stage.end_ns - stage.start_ns
    resource = attributes(receiver.resources[0])
    assert (resource["service.name"], resource["service.instance.id"]) == ("trimtab", "3")


def test_the_caller_s_trace_goes_on(traces: Traces, receiver: Receiver) -> None:
    headers = [(b"traceparent", PARENT), (b"tracestate", b"vendor=1")]
    traces.begin(headers, time.perf_counter_ns()).end("GET", "/v2", "/v2", 200)
    traces.close()
    span = receiver.named("GET /v2")
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert span.trace_state == "vendor=1"


def test_a_caller_that_does_not_sample_is_not_traced(traces: Traces, receiver: Receiver) -> None:
    trace = traces.begin([(b"traceparent", PARENT[:-2] + b"00")], time.perf_counter_ns())
    trace.note(response(), [Stage("score", 1, 2)])
    trace.end("GET", "/v2", "/v2", 200)
    traces.close()
    assert receiver.spans == []


@pytest.mark.parametrize("value", [b"", b"nonsense", b"\xff", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_header_that_is_none_begins_a_new_trace(traces: Traces, receiver: Receiver, value: bytes) -> None:
    traces.begin([(b"traceparent", value)], time.perf_counter_ns()).end("GET", "/v2", "/v2", 200)
    traces.close()
    span = receiver.named("GET /v2")
    assert span.parent_span_id == b""
    assert any(span.trace_id)


def test_what_the_gateway_failed_at_is_an_error_and_what_it_refused_is_none(traces: Traces, receiver: Receiver) -> None:
    for status in (503, 400):
        traces.begin([], time.perf_counter_ns()).end("POST", f"/{status}", "/x", status)
    traces.close()
    failed, refused = receiver.named("POST /503"), receiver.named("POST /400")
    assert attributes(failed)["error.type"] == "503"
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert "error.type" not in attributes(refused)
    assert refused.status.code == refused.status.STATUS_CODE_UNSET


def test_many_rows_and_a_fallback(traces: Traces, receiver: Receiver) -> None:
    trace = traces.begin([], time.perf_counter_ns())
    ids = [f"abc/{row}" for row in range(500)]
    trace.note(response(prediction_ids=ids, scores=[0.1] * 500, labels=[0] * 500, fallback="slow"))
    trace.end_rpc("inference.GRPCInferenceService", "ModelInfer", 200)
    traces.close()
    found = attributes(receiver.named("inference.GRPCInferenceService/ModelInfer"))
    assert found["trimtab.rows"] == 500
    assert found["trimtab.fallback"] == "slow"
    assert [each.string_value for each in found["trimtab.prediction_id"].values] == ids[:16]
    assert (found["rpc.system"], found["rpc.method"]) == ("grpc", "ModelInfer")


def test_each_task_has_its_own_current_trace(traces: Traces) -> None:
    async def request(number: int) -> tuple[RequestTrace | None, RequestTrace]:
        trace = traces.begin([], number)
        await asyncio.sleep(0)
        return current.get(), trace

    async def run() -> list[tuple[RequestTrace | None, RequestTrace]]:
        return await asyncio.gather(*[request(number) for number in range(5)])

    found = asyncio.run(run())
    assert all(seen is own for seen, own in found)
    assert current.get() is None
    traces.close()


def test_a_worker_without_a_collector_traces_nothing_and_loads_no_opentelemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert open_traces(SystemClock()) is None
    program = (
        "import sys\n"
        "from trimtab.clock import SystemClock\n"
        "from trimtab.serving.processes.worker import open_traces\n"
        "assert open_traces(SystemClock()) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    environment = settings.child_environment(OTEL_EXPORTER_OTLP_ENDPOINT="")
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_without_the_extra_the_gateway_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    assert open_traces(SystemClock()) is None
    assert "pip install 'trimtab[otel]'" in caplog.text
