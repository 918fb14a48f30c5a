"""The network face of a worker: HTTP on an inherited socket, until it is told to drain. Called by worker."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.options import WorkerOptions
from trimtab.serving.telemetry.observing import Observer
from trimtab.serving.telemetry.traces import Traces
from trimtab.serving.web.access import Access
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.browsers import BrowserCheck
from trimtab.serving.web.connection import STALLED_S, Connection
from trimtab.serving.web.dates import Dates
from trimtab.serving.web.http import Route
from trimtab.serving.web.targets import Targets
from trimtab.serving.web.tls import server_context

BACKLOG = 2048
LOOK_S = 5.0
"""Between two looks for connections whose clients say nothing."""
DRAIN_LOOK_S = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Where a worker takes requests, and from whom."""

    http: socket.socket
    access: Access | None
    routes: Sequence[Route]
    traces: Traces | None = None


async def serve(gateway: Gateway, doors: Doors, stop: asyncio.Event, *, listening: Callable[[], object]) -> None:
    """Serve until `stop`; then finish the requests under way, for as long as the options say.

    listening is called when the first request can come.
    """
    options = gateway.options
    application = Application(
        gateway,
        doors.routes,
        access=doors.access,
        max_body=options.max_body,
        timeout_s=options.timeout_s,
        observer=Observer(gateway.metrics, doors.traces),
        browsers=_browsers(options),
    )
    _raise_limit()
    context = None if options.tls is None else server_context(options.tls)
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    targets, dates = Targets(), Dates(gateway.clock)

    def connect() -> Connection:
        return Connection(application, loop, connections, targets, dates)

    handshake_s = None if context is None else STALLED_S
    server = await loop.create_server(
        connect, sock=doors.http, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=handshake_s
    )
    listening()
    try:
        await _until(stop, connections)
    finally:
        server.close()
        await _drain(connections, options.drain_s)


def _browsers(options: WorkerOptions) -> BrowserCheck | None:
    """Return what refuses requests of web pages; None where only a token opens the gateway, which no page has."""
    if options.allowed_hosts is None and not options.allowed_origins:
        return None
    return BrowserCheck(options.allowed_hosts, options.allowed_origins)


def settle_memory() -> None:
    """Tell the garbage collector that what is loaded by now stays: full collections need not walk over it."""
    gc.collect()
    gc.freeze()


def _raise_limit() -> None:
    """Take as many connections as the system allows: the usual soft limit is 1,024 files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the system's own limit is lower, as on macOS
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _until(stop: asyncio.Event, connections: set[Connection]) -> None:
    """Wait for `stop`; meanwhile close connections whose clients keep them waiting."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_S)
        _cut(connections, loop.time())


def _cut(connections: set[Connection], now: float) -> None:
    for connection in [one for one in connections if one.overdue(now)]:
        connection.expire()


async def _drain(connections: set[Connection], seconds: float) -> None:
    """Let requests under way be answered; those that take longer end without an answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    for connection in list(connections):
        connection.finish()
    while connections and loop.time() < deadline:
        await asyncio.sleep(DRAIN_LOOK_S)
        _cut(connections, loop.time())
    if connections:
        logger.warning("%d connections were cut: their requests took longer than %g s", len(connections), seconds)
    for connection in list(connections):
        connection.cancel()
    await asyncio.sleep(0)
