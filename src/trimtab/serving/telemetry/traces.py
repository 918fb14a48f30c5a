"""What the gateway records of a traced request: contracts that name no tracing library.

spans.py fulfils them with OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from trimtab.serving.endpoints import Headers
from trimtab.serving.requests import InferenceResponse


class Stage(NamedTuple):
    """A timed part of a request: "features", "score" or "log"; times of time.perf_counter_ns."""

    name: str
    start_ns: int
    end_ns: int


class RequestTrace(Protocol):
    """The trace of one request."""

    def note(self, response: InferenceResponse, stages: Sequence[Stage] = ()) -> None:
        """Record the response of a prediction, and when its stages began and ended."""
        ...

    def end(self, method: str, route: str, path: str, status: int) -> None:
        """Make the spans of an answered HTTP request. route: the path with its names in braces."""
        ...

    def end_rpc(self, service: str, method: str, status: int) -> None:
        """Make the spans of an answered gRPC call. status: the HTTP status that corresponds to its gRPC status."""
        ...


class Traces(Protocol):
    """Makes spans of requests and sends them to a collector."""

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace:
        """Begin the trace of a request and make it the `current` one of this task."""
        ...

    def close(self) -> None:
        """Send the spans that are left."""
        ...


current: ContextVar[RequestTrace | None] = ContextVar("current", default=None)
"""The trace of the request that this task answers; None when requests are not traced."""
