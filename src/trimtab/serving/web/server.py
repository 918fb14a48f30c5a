"""The network face of a worker: HTTP on an inherited socket, until it is told to end.

The end loses no request. First the gateway is not ready any more, and goes on for `drain_delay_s`, so that load
balancers send nothing new; each answer from then on says `Connection: close`. Then no new connection is let in, those
that the kernel has accepted are taken, and the listening socket is closed. Kept connections have LINGER_S for one more
request; what is under way has `drain_s`.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import resource
import select
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from trimtab.errors import PolicyError
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Access, Route, encode_error
from trimtab.serving.http1.connection import STALLED_S, Connection
from trimtab.serving.http1.exchange import DateHeader
from trimtab.serving.http1.targets import Targets
from trimtab.serving.telemetry.traces import Traces
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.browsers import BrowserCheck
from trimtab.serving.web.observing import Observer
from trimtab.serving.web.tls import PemWatch, server_context
from trimtab.serving.worker_options import WorkerOptions

BACKLOG = 2048
LOOK_S = 5.0
"""Between two looks for connections whose clients say nothing."""
DRAIN_LOOK_S = 0.02
LINGER_S = 0.5
"""So long a kept connection waits for one more request when the worker ends."""
EMPTY_S = 1.0
"""Longest that the end waits for connections that the kernel has accepted to be taken."""
SO_ATTACH_FILTER, BPF_RETURN = 26, 0x06
"""Linux: linux/socket.h, and a program for packet filters that takes none of a packet."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerSetup:
    """Where a worker takes requests, and from whom."""

    http: socket.socket
    access: Access | None
    routes: Sequence[Route]
    traces: Traces | None = None


@dataclass
class Shutdown:
    """How a worker ends. Belongs to one event loop."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    whole_gateway: bool = False
    """Whether all workers of the gateway end, so that the socket which they share may be shut for all."""
    immediate: bool = False
    """Whether nobody waits for load balancers, since the supervisor is gone."""


async def serve(gateway: Gateway, setup: ServerSetup, shutdown: Shutdown, *, listening: Callable[[], object]) -> None:
    """Serve until `shutdown` has begun; then finish the requests under way, for as long as the options say.

    listening is called when the first request can come.
    """
    options = gateway.options
    application = Application(
        gateway,
        setup.routes,
        access=setup.access,
        max_body=options.max_body,
        timeout_s=options.timeout_s,
        observer=Observer(gateway.metrics, setup.traces),
        browsers=_browsers(options),
    )
    _raise_limit()
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    targets, date = Targets(), DateHeader(gateway.clock)

    def connect() -> Connection:
        connection = Connection(application, loop, connections, targets, date, encode_error)
        if shutdown.started.is_set():
            connection.retire()
        return connection

    async def listen() -> asyncio.Server:
        context = None if options.tls is None else server_context(options.tls)
        wait_s = None if context is None else STALLED_S
        door = setup.http.dup()
        return await loop.create_server(connect, sock=door, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=wait_s)

    files = None if options.tls is None else PemWatch(options.tls)
    server = await listen()
    listening()
    try:
        while not await _is_over(shutdown.started, LOOK_S):
            _cut(connections, loop.time())
            if files is not None and files.changed():
                server = await _renew(server, listen)
        gateway.draining = True
        for connection in list(connections):
            connection.retire()
        await _go_on(connections, 0.0 if shutdown.immediate else options.drain_delay_s)
        if shutdown.whole_gateway:
            refuse_new(setup.http)
        await _empty(setup.http)
    finally:
        server.close()
        setup.http.close()
        await _drain(connections, options.drain_s)


def _browsers(options: WorkerOptions) -> BrowserCheck | None:
    """Return what refuses requests of web pages; None where only a token opens the gateway, which no page has.

    A certificate of a client does not: browsers show it for every page.
    """
    shown_by_browsers = options.tls is not None and options.tls.client_ca is not None
    if options.allowed_hosts is None and not options.allowed_origins and not shown_by_browsers:
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


async def _is_over(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, so long at most; return whether it has come."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _renew(server: asyncio.Server, listen: Callable[[], Awaitable[asyncio.Server]]) -> asyncio.Server:
    """Listen with the new certificate, while the connections that are open go on with theirs."""
    try:
        fresh = await listen()
    except PolicyError as error:
        logger.error("the certificate goes on as it was: %s", error)
        return server
    server.close()
    logger.info("new connections get the new certificate")
    return fresh


async def _go_on(connections: set[Connection], seconds: float) -> None:
    """Serve on for some time, in which nothing new should come."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        await asyncio.sleep(min(left, LOOK_S))
        _cut(connections, loop.time())


def refuse_new(listener: socket.socket) -> None:
    """Let no new connection into the queue of a listening socket; those that are in it can still be taken.

    Where that is not known, as on macOS, one that comes between the last look and the close is reset.
    """
    if sys.platform == "linux":
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
        with suppress(OSError):
            program = struct.pack("HL", 1, ctypes.addressof(drop_all))
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


async def _empty(listener: socket.socket) -> None:
    """Wait until the event loop has taken all connections that the kernel has accepted."""
    loop = asyncio.get_running_loop()
    until = loop.time() + EMPTY_S
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll(0) and loop.time() < until:
        await asyncio.sleep(0)


def _cut(connections: set[Connection], now: float) -> None:
    for connection in [one for one in connections if one.overdue(now)]:
        connection.expire()


async def _drain(connections: set[Connection], seconds: float) -> None:
    """Let requests under way be answered; those that take longer end without an answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    for connection in list(connections):
        connection.retire()
    while connections and loop.time() < deadline - seconds + min(LINGER_S, seconds):
        await asyncio.sleep(DRAIN_LOOK_S)
        _cut(connections, loop.time())
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
