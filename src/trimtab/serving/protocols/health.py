"""Liveness, readiness, version and metrics of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as package_version

import msgspec

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import TEXT, Answer, Call, Content, Description, Route, encode_error

VERSION = package_version("trimtab")
EMPTY = Content({"type": "string"}, content_type="text/plain")

_encode = msgspec.json.Encoder().encode


class Live(msgspec.Struct):
    """The answer of GET /v2/health/live."""

    live: bool


class Readiness(msgspec.Struct, omit_defaults=True):
    """The answer of GET /v2/health/ready. errors: model -> why its newest revision does not serve."""

    live: bool
    ready: bool
    errors: Mapping[str, str] = {}


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes about the gateway itself."""

    async def live(call: Call) -> Answer:
        return Answer(200, _encode(Live(True)))

    async def ready(call: Call) -> Answer:
        table, is_ready = gateway.table, gateway.is_ready
        reasons = table.reasons if is_ready else {**dict.fromkeys(table.held, "unloaded"), **table.reasons}
        return Answer(200 if is_ready else 503, _encode(Readiness(True, is_ready, reasons)))

    async def ping(call: Call) -> Answer:
        return Answer(200 if gateway.is_ready else 503, b"\n", TEXT)

    async def version(call: Call) -> Answer:
        return Answer(200, VERSION.encode(), TEXT)

    async def metrics(call: Call) -> Answer:
        body, content_type = gateway.metrics.expose(call.header(b"accept"))
        return Answer(200, body, content_type)

    waiting = Content(Readiness, Readiness(True, False, {"delay": "revision 7: the graph is damaged"}))
    of_live = Description(gives=[Content(Live, Live(True))])
    of_ready = Description(gives=[Content(Readiness, Readiness(True, True))], also={503: waiting})
    of_ping = Description(gives=[EMPTY], also={503: EMPTY})
    of_version = Description(gives=[Content({"type": "string"}, VERSION, "text/plain")])
    of_metrics = Description(gives=[Content({"type": "string"}, content_type="text/plain")])
    return [
        Route("GET", "/v2/health/live", "open", live, encode_error, "Answer while the process runs.", of_live),
        Route("GET", "/v2/health/ready", "open", ready, encode_error, "Return whether every model serves.", of_ready),
        Route("GET", "/ping", "open", ping, encode_error, "Return whether every model serves (MLflow).", of_ping),
        Route("GET", "/health", "open", ping, encode_error, "Return whether every model serves (MLflow).", of_ping),
        Route("GET", "/version", "open", version, encode_error, "Return the version of Trimtab.", of_version),
        Route("GET", "/metrics", "read", metrics, encode_error, "Return the counts (Prometheus).", of_metrics),
    ]
