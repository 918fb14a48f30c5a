"""What is told of every HTTP request when it has been answered: counts, spans, a line in the log. Called by asgi."""

from __future__ import annotations

import logging
from typing import Any

from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.endpoints import REQUEST_ID_HEADER, Headers, Route
from trimtab.serving.telemetry.logs import access, log_request
from trimtab.serving.telemetry.traces import RequestTrace, Traces

GONE = 499
"""Status of a request whose client went away before its answer, as nginx has it."""
UNKNOWN = "none"
"""Protocol of requests that no route answers."""


class Observer:
    """Sees each request begin and end. Lives on one event loop."""

    def __init__(self, metrics: Metrics, traces: Traces | None = None) -> None:
        self._metrics = metrics
        self._traces = traces

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace | None:
        """See a request that came in; what is returned goes to `end`."""
        self._metrics.in_progress += 1
        return None if self._traces is None else self._traces.begin(headers, received_ns)

    def end(self, trace: RequestTrace | None, scope: Any, route: Route | None, status: int, received_ns: int) -> None:
        """See a request that was answered, or whose client is gone. scope: its ASGI scope."""
        self._metrics.end(UNKNOWN if route is None else route.protocol, status, received_ns)
        if trace is not None:
            # without a route the path may be anything: it would make a name of a span of its own
            trace.end(scope["method"], "" if route is None else route.path, scope["path"], status)
        if access.isEnabledFor(logging.DEBUG):
            sent = next((value for name, value in scope["headers"] if name == REQUEST_ID_HEADER), None)
            request_id = None if sent is None else sent.decode("latin-1")
            log_request(scope["method"], scope["path"], status, received_ns, request_id=request_id)
