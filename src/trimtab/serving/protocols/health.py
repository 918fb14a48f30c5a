"""Is it alive, is it ready, which version, what did it count: asked by whoever runs the gateway. Run by asgi."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any

import msgspec

from trimtab.serving.gateway import Gateway
from trimtab.serving.http import TEXT, Answer, Call, Route

VERSION = package_version("trimtab")
METRICS = b"text/plain; version=0.0.4; charset=utf-8"

_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes about the gateway itself."""

    async def live(call: Call) -> Answer:
        return Answer(200, b'{"live":true}')

    async def ready(call: Call) -> Answer:
        table = gateway.table
        state: dict[str, Any] = {"live": True, "ready": table.complete}
        if table.errors:
            state["errors"] = table.errors
        return Answer(200 if table.complete else 503, _encode(state))

    async def ping(call: Call) -> Answer:
        return Answer(200 if gateway.table.complete else 503, b"\n")

    async def version(call: Call) -> Answer:
        return Answer(200, VERSION.encode(), TEXT)

    async def metrics(call: Call) -> Answer:
        return Answer(200, gateway.metrics.text().encode(), METRICS)

    return [
        Route("GET", "/v2/health/live", "open", live, encode_error, "Tell that the process runs."),
        Route("GET", "/v2/health/ready", "open", ready, encode_error, "Tell whether every model serves."),
        Route("GET", "/ping", "open", ping, encode_error, "Tell whether every model serves (MLflow, SageMaker)."),
        Route("GET", "/health", "open", ping, encode_error, "Tell whether every model serves (MLflow)."),
        Route("GET", "/version", "open", version, encode_error, "Return the version of Trimtab."),
        Route("GET", "/metrics", "read", metrics, encode_error, "Return the counts in Prometheus' text form."),
    ]


def encode_error(status: int, message: str) -> bytes:
    """Write an error."""
    return _encode({"error": message})
