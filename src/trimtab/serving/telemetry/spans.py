"""OpenTelemetry spans of answered requests, sent to a collector by OTLP over HTTP.

Names and attributes are those of OpenTelemetry's semantic conventions for HTTP, RPC and generative AI; our own begin
with `trimtab.`.
OpenTelemetry is an extra, and slow to import, so it is imported only when a collector is set. A span is made after its
request was answered, from the times that were recorded on the way: no OpenTelemetry code runs while rows are scored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from trimtab import settings
from trimtab.clock import Clock, to_micros
from trimtab.serving.endpoints import Headers
from trimtab.serving.requests import InferenceResponse
from trimtab.serving.telemetry.traces import Attributes, CallSpan, RequestTrace, Stage, Traces, current

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

CARRIED = (b"traceparent", b"tracestate")
MOST_IDS = 16
"""Prediction ids that one span names."""
TIMEOUT_S = 5.0
"""How long a collector may take; then its spans are dropped."""
CLOSE_S = 3.0
"""How long a worker that ends waits for the last spans to be sent."""

logger = logging.getLogger(__name__)


def open_traces(clock: Clock, *, worker: str = "0") -> Traces | None:
    """Return the tracing that the settings ask for; None when they name no collector.

    The variable may be set for all programs of a machine, so a missing extra is a warning and no error.
    """
    endpoint = settings.read().otlp_endpoint
    if endpoint is None:
        return None
    try:
        return SpanTraces(endpoint, clock, worker=worker)
    except ImportError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but requests are not traced: %s is not installed. "
            "Install it with: pip install 'trimtab[otel]'",
            error.name,
        )
        return None


class SpanTraces:
    """Makes spans and sends them from a thread.

    endpoint: base URL of the collector; spans go to `endpoint`/v1/traces. Raises ImportError without the extra.
    """

    def __init__(self, endpoint: str, clock: Clock, *, worker: str) -> None:
        from opentelemetry.context import Context
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        own = Resource(
            {"service.name": "trimtab", "service.version": version("trimtab"), "service.instance.id": worker}
        )
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("trimtab.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._no_parent = Context()
        self._clock = clock

    def begin(self, headers: Headers, received_ns: int) -> RequestTrace:
        """Begin the trace of a request and make it the `current` one of this task."""
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in CARRIED}
        parent = self._propagator.extract(carrier, context=self._no_parent) if carrier else self._no_parent
        epoch_ns = to_micros(self._clock.now()) * 1000 - time.perf_counter_ns()
        trace = _RequestSpans(self._tracer, parent, epoch_ns, received_ns)
        current.set(trace)
        return trace

    def close(self) -> None:
        """Send the spans that are left, for CLOSE_S at most."""
        sending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(CLOSE_S)


class _RequestSpans:
    def __init__(self, tracer: Tracer, parent: Context, epoch_ns: int, received_ns: int) -> None:
        self._tracer = tracer
        self._parent = parent
        self._epoch_ns = epoch_ns
        self._received_ns = received_ns
        self._attributes: Attributes = {}
        self._stages: Sequence[Stage] = ()
        self._calls: Sequence[CallSpan] = ()

    def note(self, response: InferenceResponse, stages: Sequence[Stage] = ()) -> None:
        ids = response.prediction_ids
        noted: dict[str, str | int | Sequence[str]] = {
            "trimtab.model": response.model,
            "trimtab.version": response.version,
            "trimtab.role": response.role,
            "trimtab.revision": response.revision,
            "trimtab.rows": len(response.scores),
            "trimtab.prediction_id": ids[0] if len(ids) == 1 else ids[:MOST_IDS],
        }
        if response.fallback is not None:
            noted["trimtab.fallback"] = response.fallback
        self._attributes, self._stages = noted, stages

    def note_calls(self, attributes: Attributes, calls: Sequence[CallSpan]) -> None:
        self._attributes, self._calls = attributes, calls

    def end(self, method: str, route: str, path: str, status: int) -> None:
        own: dict[str, str | int | Sequence[str]] = {
            "http.request.method": method,
            "url.path": path,
            "http.response.status_code": status,
        }
        if route:
            own["http.route"] = route
        self._make(f"{method} {route}".strip(), own, status)

    def end_rpc(self, service: str, method: str, status: int) -> None:
        own: Attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        self._make(f"{service}/{method}", own, status)

    def _make(self, name: str, own: Attributes, status: int) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        epoch_ns, start = self._epoch_ns, self._tracer.start_span
        span = start(
            name,
            context=self._parent,
            kind=SpanKind.SERVER,
            attributes={**own, **self._attributes},
            start_time=epoch_ns + self._received_ns,
        )
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        if span.is_recording():
            inside = set_span_in_context(span, self._parent)
            for stage in self._stages:
                child = start(stage.name, context=inside, start_time=epoch_ns + stage.start_ns)
                child.end(end_time=epoch_ns + stage.end_ns)
            for call in self._calls:
                child = start(
                    call.name,
                    context=inside,
                    kind=SpanKind.CLIENT,
                    attributes=call.attributes,
                    start_time=epoch_ns + call.start_ns,
                )
                if call.error:
                    child.set_attribute("error.type", call.error)
                    child.set_status(Status(StatusCode.ERROR))
                child.end(end_time=epoch_ns + call.end_ns)
        span.end(end_time=epoch_ns + time.perf_counter_ns())
