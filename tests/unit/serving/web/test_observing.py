"""What is told of a request when it has been answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest

from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.endpoints import Answer, Call, Headers, Route
from trimtab.serving.requests import InferenceResponse
from trimtab.serving.telemetry.traces import Attributes, CallSpan, RequestTrace, Stage
from trimtab.serving.web.observing import GONE, Observer


async def handle(call: Call) -> Answer:
    return Answer(200, b"")


ROUTE = Route("POST", "/v2/models/{model}/infer", "infer", handle, lambda status, text: b"", "Predict.").of(
    "open_inference"
)
SCOPE: dict[str, Any] = {
    "method": "POST",
    "path": "/v2/models/delay/infer",
    "headers": [(b"x-request-id", b"abc")],
}


class Kept:
    """Traces that keep what they are told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace:
        return self

    def note(self, response: InferenceResponse, stages: Sequence[Stage] = ()) -> None: ...

    def end(self, method: str, route: str, path: str, status: int) -> None:
        self.told.append((method, route, path, status))

    def note_calls(self, attributes: Attributes, calls: Sequence[CallSpan]) -> None: ...

    def end_rpc(self, service: str, method: str, status: int) -> None: ...

    def close(self) -> None: ...


def test_requests_are_counted_by_protocol_and_status() -> None:
    metrics = Metrics()
    observer = Observer(metrics)
    for route, status in ((ROUTE, 200), (ROUTE, 200), (ROUTE, 400), (None, 404), (ROUTE, GONE)):
        trace = observer.begin(SCOPE["headers"], time.perf_counter_ns())
        assert metrics.in_progress == 1
        observer.end(trace, SCOPE, route, status, time.perf_counter_ns())
    found = metrics.snapshot()
    assert found.requests == {
        ("open_inference", 200): 2,
        ("open_inference", 400): 1,
        ("open_inference", GONE): 1,
        ("none", 404): 1,
    }
    assert metrics.in_progress == 0
    assert sum(found.durations["open_inference"].counts) == 4


def test_requests_are_traced_by_their_route() -> None:
    kept = Kept()
    observer = Observer(Metrics(), kept)
    trace = observer.begin(SCOPE["headers"], 0)
    observer.end(trace, SCOPE, ROUTE, 200, 0)
    observer.end(trace, SCOPE, None, 404, 0)
    assert kept.told == [
        ("POST", "/v2/models/{model}/infer", "/v2/models/delay/infer", 200),
        ("POST", "", "/v2/models/delay/infer", 404),
    ]


def test_requests_are_lines_of_the_log_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    observer = Observer(Metrics())
    with caplog.at_level(logging.DEBUG, "trimtab.access"):
        observer.end(observer.begin([], 0), SCOPE, ROUTE, 200, 0)
    (record,) = caplog.records
    assert record.__dict__["request_id"] == "abc"
    assert record.getMessage().startswith("POST /v2/models/delay/infer 200 ")
