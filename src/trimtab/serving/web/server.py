"""The HTTP server of a worker, on an inherited socket.

A shutdown loses no request. First the gateway reports that it is not ready, and serves on for `drain_delay_s`, so that
load balancers stop sending; each answer says `Connection: close`. Then the server refuses new connections, accepts
those that the kernel has queued, and closes the listening socket. Idle connections have LINGER_S for one more request;
requests in progress have `drain_s`.
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
from trimtab.serving.endpoints import Access, Elsewhere, Route, encode_error
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
CHECK_S = 5.0
"""Interval of the search for overdue connections."""
DRAIN_CHECK_S = 0.02
LINGER_S = 0.5
"""How long an idle connection stays open for one more request during a shutdown."""
EMPTY_S = 1.0
"""How long a shutdown waits until the connections that the kernel has queued are accepted."""
SO_ATTACH_FILTER, BPF_RETURN = 26, 0x06
"""Linux: constant of linux/socket.h, and the instruction of a packet filter that drops a packet."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerSetup:
    """The listening socket of a worker, its routes, and its checks of tokens."""

    http: socket.socket
    access: Access | None
    routes: Sequence[Route]
    traces: Traces | None = None
    elsewhere: Elsewhere | None = None


@dataclass
class Shutdown:
    """The shutdown of a worker. Belongs to one event loop."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    whole_gateway: bool = False
    """Whether all workers end, so that the socket which they share may refuse connections."""
    immediate: bool = False
    """Whether to skip the drain delay, since the supervisor is gone."""


async def serve(gateway: Gateway, setup: ServerSetup, shutdown: Shutdown, *, listening: Callable[[], object]) -> None:
    """Serve until `shutdown` has started; then finish the requests in progress, within the times of the options.

    listening: called when the server accepts connections.
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
        elsewhere=setup.elsewhere,
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
        own = setup.http.dup()
        return await loop.create_server(connect, sock=own, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=wait_s)

    files = None if options.tls is None else PemWatch(options.tls)
    server = await listen()
    listening()
    try:
        while not await _wait_for(shutdown.started, CHECK_S):
            _expire(connections, loop.time())
            if files is not None and files.changed():
                server = await _renew(server, listen)
        gateway.draining = True
        for connection in list(connections):
            connection.retire()
        await _serve_on(connections, 0.0 if shutdown.immediate else options.drain_delay_s)
        if shutdown.whole_gateway:
            refuse_new(setup.http)
        await _accept_queued(setup.http)
    finally:
        server.close()
        setup.http.close()
        await _drain(connections, options.drain_s)


def _browsers(options: WorkerOptions) -> BrowserCheck | None:
    """Return the check of web pages; None where the gateway requires a token, which no page has.

    A client certificate is no such protection: browsers present it for every page.
    """
    has_client_ca = options.tls is not None and options.tls.client_ca is not None
    if options.allowed_hosts is None and not options.allowed_origins and not has_client_ca:
        return None
    return BrowserCheck(options.allowed_hosts, options.allowed_origins)


def settle_memory() -> None:
    """Exclude everything loaded so far from garbage collection, so that full collections are short."""
    gc.collect()
    gc.freeze()


def _raise_limit() -> None:
    """Raise the soft limit of open files, usually 1,024, to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the system has a lower limit, as on macOS
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for at most `seconds`; return True if it is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def _renew(server: asyncio.Server, listen: Callable[[], Awaitable[asyncio.Server]]) -> asyncio.Server:
    """Listen with the new certificate; open connections keep theirs."""
    try:
        fresh = await listen()
    except PolicyError as error:
        logger.error("the new certificate cannot be used, the old one stays: %s", error)
        return server
    server.close()
    logger.info("new connections get the new certificate")
    return fresh


async def _serve_on(connections: set[Connection], seconds: float) -> None:
    """Serve on for `seconds`, the drain delay."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        await asyncio.sleep(min(left, CHECK_S))
        _expire(connections, loop.time())


def refuse_new(listener: socket.socket) -> None:
    """Refuse new connections of a listening socket; queued ones can still be accepted.

    No-op except on Linux: elsewhere, a connection that arrives just before the close is reset.
    """
    if sys.platform == "linux":
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
        with suppress(OSError):
            program = struct.pack("HL", 1, ctypes.addressof(drop_all))
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


async def _accept_queued(listener: socket.socket) -> None:
    """Wait until the event loop has accepted all connections that the kernel has queued."""
    loop = asyncio.get_running_loop()
    until = loop.time() + EMPTY_S
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll(0) and loop.time() < until:
        await asyncio.sleep(0)


def _expire(connections: set[Connection], now: float) -> None:
    for connection in [one for one in connections if one.overdue(now)]:
        connection.expire()


async def _drain(connections: set[Connection], seconds: float) -> None:
    """Finish the requests in progress; those that take longer than `seconds` end without an answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    for connection in list(connections):
        connection.retire()
    while connections and loop.time() < deadline - seconds + min(LINGER_S, seconds):
        await asyncio.sleep(DRAIN_CHECK_S)
        _expire(connections, loop.time())
    for connection in list(connections):
        connection.finish()
    while connections and loop.time() < deadline:
        await asyncio.sleep(DRAIN_CHECK_S)
        _expire(connections, loop.time())
    if connections:
        logger.warning("%d connections were cut: their requests took longer than %g s", len(connections), seconds)
    for connection in list(connections):
        connection.cancel()
    await asyncio.sleep(0)
