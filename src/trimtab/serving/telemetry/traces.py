"""Whether requests are traced, and what a traced request tells. Opened by worker; called by asgi, gRPC and gateway.

OpenTelemetry is imported only when a collector is set. Spans are made when a request has been answered, from the
moments that were noted on its way, so nothing of it runs while rows are scored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import NamedTuple, Protocol

from trimtab import settings
from trimtab.clock import Clock
from trimtab.serving.endpoints import Headers
from trimtab.serving.requests import InferenceResponse

logger = logging.getLogger(__name__)


class Stage(NamedTuple):
    """A part of a request's way: "features", "score" or "log"; times of time.perf_counter_ns."""

    name: str
    start_ns: int
    end_ns: int


class RequestTrace(Protocol):
    """One request on its way."""

    def note(self, response: InferenceResponse, stages: Sequence[Stage] = ()) -> None:
        """Note what a prediction came to, and when its stages began and ended."""
        ...

    def end(self, method: str, route: str, path: str, status: int) -> None:
        """Make the spans of an HTTP request that was answered. route: the path with its names in braces."""
        ...

    def end_rpc(self, service: str, method: str, status: int) -> None:
        """Make the spans of a gRPC call that was answered. status: the HTTP status that its own is like."""
        ...


class Traces(Protocol):
    """Makes spans of requests and sends them to a collector."""

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace:
        """Begin to trace a request, which is `current` in its task from now on."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


current: ContextVar[RequestTrace | None] = ContextVar("current", default=None)
"""The trace of the request that this task answers; None when requests are not traced."""


def open_traces(clock: Clock, *, worker: str = "0") -> Traces | None:
    """Return the tracing that the settings ask for, None for none.

    A collector may be set for all programs of a machine: without the extra, that is a warning and no error.
    """
    endpoint = settings.read().otlp_endpoint
    if endpoint is None:
        return None
    try:
        spans = import_module("trimtab.serving.telemetry.spans")
    except ImportError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but requests are not traced: %s is not installed. "
            "Install it with: pip install 'trimtab[otel]'",
            error.name,
        )
        return None
    traces: Traces = spans.SpanTraces(endpoint, clock, worker=worker)
    return traces
