"""What the gateway records of a traced request: contracts that name no tracing library.

spans.py fulfils them with OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from trimtab.serving.endpoints import Headers
from trimtab.serving.requests import InferenceResponse


class Stage(NamedTuple):
    """A timed part of a request: "features", "score" or "log"; times of time.perf_counter_ns."""

    name: str
    start_ns: int
    end_ns: int


Attributes = Mapping[str, str | int | float | bool | Sequence[str]]


class CallSpan(NamedTuple):
    """A timed call of another service, such as an endpoint of a language model; times as those of Stage."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""
    """Class of the failure; empty: it succeeded."""


class RequestTrace(Protocol):
    """The trace of one request."""

    def note(self, response: InferenceResponse, stages: Sequence[Stage] = ()) -> None:
        """Record the response of a prediction, and when its stages began and ended."""
        ...

    def note_calls(self, attributes: Attributes, calls: Sequence[CallSpan]) -> None:
        """Record what a request did by calls of other services, and attributes of its own span."""
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
