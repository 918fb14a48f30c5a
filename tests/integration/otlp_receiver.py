"""A collector for tests: takes OpenTelemetry spans by OTLP over HTTP."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service


class Receiver(http.server.ThreadingHTTPServer):
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[Any] = []
        self.paths: set[str] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, name: str) -> Any:
        (span,) = [span for span in self.spans if span.name == name]
        return span


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = trace_service.ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            self.server.resources.append(resource.resource)
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.server.paths.add(self.path)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Take spans as long as the block lasts."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder.attributes}
