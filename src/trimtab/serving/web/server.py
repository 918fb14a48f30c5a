"""The network face of a worker: HTTP on an inherited socket, gRPC beside it, both drained at the end. Called by worker.

Raw ASGI on uvicorn with uvloop and httptools.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.telemetry.observing import Observer
from trimtab.serving.telemetry.traces import Traces
from trimtab.serving.web.access import Access
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.http import Route
from trimtab.serving.web.tls import server_context
from trimtab.serving.web.transport import HoldingProtocol

KEEP_ALIVE_S = 75
"""Longer than the usual 60 s of clients and load balancers, so that it is they who close an idle connection."""
BACKLOG = 2048

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
    )
    config = uvicorn.Config(
        application,
        interface="asgi3",
        http=HoldingProtocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(options.drain_s)),
    )
    if options.tls is not None:
        config.ssl_context_factory = _context_factory(server_context(options.tls))
    server = _Server(config)
    server.listening = listening
    stopping = asyncio.create_task(_stop(server, stop))
    try:
        await server.serve(sockets=[doors.http])
    finally:
        stopping.cancel()


def settle_memory() -> None:
    """Tell the garbage collector that what is loaded by now stays: full collections need not walk over it."""
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the worker has its own."""

    listening: Callable[[], object]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _context_factory(context: ssl.SSLContext) -> Callable[..., ssl.SSLContext]:
    return lambda config, default: context


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
