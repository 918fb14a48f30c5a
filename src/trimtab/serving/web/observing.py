"""Counts, traces and logs every HTTP request."""

from __future__ import annotations

import logging
from typing import Any

from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.endpoints import REQUEST_ID_HEADER, Headers, Route
from trimtab.serving.telemetry.logs import access, log_request
from trimtab.serving.telemetry.traces import RequestTrace, Traces

GONE = 499
"""Status of a request whose client disconnected before its answer, as in nginx."""
UNKNOWN = "none"
"""Protocol of requests without a route."""


class Observer:
    """Records the begin and end of each request. Belongs to one event loop."""

    def __init__(self, metrics: Metrics, traces: Traces | None = None) -> None:
        self._metrics = metrics
        self._traces = traces

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace | None:
        """Record the arrival of a request. Returns its trace, for `end`."""
        self._metrics.in_progress += 1
        return None if self._traces is None else self._traces.begin(headers, received_ns)

    def end(self, trace: RequestTrace | None, scope: Any, route: Route | None, status: int, received_ns: int) -> None:
        """Record the end of a request. scope: its ASGI scope; status: GONE if the client disconnected."""
        self._metrics.end(UNKNOWN if route is None else route.protocol, status, received_ns)
        if trace is not None:
            # a path without a route may be anything, and must not become the name of a span
            trace.end(scope["method"], "" if route is None else route.path, scope["path"], status)
        if access.isEnabledFor(logging.DEBUG):
            sent = next((value for name, value in scope["headers"] if name == REQUEST_ID_HEADER), None)
            request_id = None if sent is None else sent.decode("latin-1")
            log_request(scope["method"], scope["path"], status, received_ns, request_id=request_id)
