"""The gateway's process: binds, serves, drains. Called by app.

Raw ASGI on uvicorn with uvloop and httptools; one process, one event loop, one writer of the prediction log.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import uvicorn
import uvloop

from trimtab.clock import Clock, SystemClock
from trimtab.errors import StageError, UsageError
from trimtab.policy import Rollout
from trimtab.serving.asgi import MAX_BODY, Application
from trimtab.serving.gateway import Gateway
from trimtab.serving.revisions import Revisions, Watch
from trimtab.serving.runtime import VectorizerFactory
from trimtab.serving.table import RoutingTable
from trimtab.serving.transport import HoldingProtocol
from trimtab.stores.artifacts import Artifacts
from trimtab.stores.metadata import Metadata
from trimtab.stores.predictions import Predictions

ANNOUNCEMENT = "gateway.json"
KEEP_ALIVE_S = 75
"""Longer than the usual 60 s of clients and load balancers, so that it is they who close an idle connection."""
BACKLOG = 2048

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """Everything a gateway is handed."""

    metadata: Metadata
    artifacts: Artifacts
    predictions: Predictions
    vectorizer_factory: VectorizerFactory
    run_folder: Path
    """Where gateway.json tells host, port and process id while the gateway runs."""
    rollout: Rollout = field(default_factory=Rollout)
    """Which request columns pin a row to a role; the weights come with each revision."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free one."""
    poll_s: float = 0.2
    """Seconds between two looks at the revisions: the bound on how late a rollback takes effect."""
    drain_s: int = 10
    """Seconds that requests under way get when the process is told to stop."""
    max_body: int = MAX_BODY
    clock: Clock = field(default_factory=SystemClock)


class Announcement(msgspec.Struct, frozen=True):
    """gateway.json: where a running gateway is."""

    host: str
    port: int
    pid: int


def serve(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests under way, flush the log and return.

    Raises UsageError (a public address), StageError (the port is taken), StoreError (the log is taken).
    """
    listener = listen(config.host, config.port)
    with listener:
        gateway = Gateway(config.predictions, config.clock)
        gateway.open()
        try:
            with (
                np.errstate(over="ignore"),  # a feature beyond float32 is infinite; not worth a warning
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                runner.run(_serve(config, gateway, listener))
        finally:
            gateway.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind a loopback address. Raises UsageError for a public one, StageError when the port is taken."""
    if not _is_loopback(host):
        raise UsageError(
            f"host '{host}' can be reached from other machines, and the gateway does not check who calls it yet. "
            "Use 127.0.0.1, and put a proxy that authenticates before it"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StageError(
            f"cannot listen on {host}:{port}: {error.strerror}. Stop what listens there, or choose another port "
            "(serving.port in trimtab.yaml; 0 takes a free one)"
        ) from None


async def _serve(config: GatewayConfig, gateway: Gateway, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    revisions = Revisions(config.metadata, config.artifacts, config.vectorizer_factory, sticky=config.rollout.sticky)

    def hand_over(table: RoutingTable) -> None:
        if not gc.get_freeze_count():
            gc.collect()
            gc.freeze()  # what was loaded by now stays: full collections need not walk over it
        loop.call_soon_threadsafe(gateway.swap, table)

    watch = Watch(revisions, hand_over, every_s=config.poll_s)
    server = uvicorn.Server(
        uvicorn.Config(
            Application(gateway, max_body=config.max_body),
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
            timeout_graceful_shutdown=config.drain_s,
        )
    )
    watch.start()
    try:
        with _stopping(server), _announced(config.run_folder, listener):
            await server.serve(sockets=[listener])
    finally:
        await asyncio.to_thread(watch.stop)


@contextmanager
def _announced(folder: Path, listener: socket.socket) -> Iterator[None]:
    host, port = listener.getsockname()[:2]
    content = msgspec.json.encode(Announcement(host, port, os.getpid()))
    path = folder / ANNOUNCEMENT
    folder.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(f".{os.getpid()}")
    whole.write_bytes(content)
    whole.replace(path)
    logger.info("the gateway listens on %s:%d", host, port)
    try:
        yield
    finally:
        if path.is_file() and path.read_bytes() == content:
            path.unlink()


@contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """Drain on SIGTERM and SIGINT, also before uvicorn listens to them and when it raises them again at its end."""

    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
