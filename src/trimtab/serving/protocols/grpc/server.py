"""Opens the gRPC port of a gateway, and imports gRPC when it does.

Several workers may share a port (`shared`): the kernel divides the connections among them. `reserve` binds the port
before the first worker starts, and raises an error when it is taken.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab.errors import MissingExtra, StageError
from trimtab.serving.web.tls import PemFiles, grpc_credentials

if TYPE_CHECKING:  # the supervisor reserves the port, and loads no gateway
    from trimtab.serving.core.gateway import Gateway
    from trimtab.serving.protocols.grpc.service import InferenceService
    from trimtab.serving.telemetry.traces import Traces
    from trimtab.serving.web.asgi import Access

_SERVICE = "trimtab.serving.protocols.grpc.service"
PACKAGES = {
    "google": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
}
"""By the name of the module: the packages of the extra that the service imports."""
MOST_CALLS = 1_000
"""Calls at once on one connection, as many as HTTP takes pipelined; a client makes further ones wait."""
PING_S, ANSWER_S = 60, 20
"""Seconds of silence after which the server pings a client, and seconds in which the client must answer."""
MANNERS = (
    ("grpc.max_concurrent_streams", MOST_CALLS),
    ("grpc.keepalive_time_ms", PING_S * 1000),
    ("grpc.keepalive_timeout_ms", ANSWER_S * 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),  # clients may ping as often as they like: gRPC cuts those with less than 5 min
    ("grpc.max_send_message_length", -1),
)
"""Options of the server beyond those that its caller chooses."""


@dataclass(frozen=True)
class GrpcServer:
    """A server that answers calls until it is stopped."""

    port: int
    server: Any
    """A grpc.aio.Server."""
    service: InferenceService

    async def stop(self, *, grace_s: float) -> None:
        """Take no more calls; wait for those under way, at most so long, and end the rest."""
        self.service.drain()
        await self.server.stop(grace_s)
        self.service.close()


async def serve_grpc(
    gateway: Gateway,
    *,
    host: str,
    port: int,
    max_body: int,
    access: Access | None = None,
    tls: PemFiles | None = None,
    timeout_s: float | None = None,
    shared: bool = False,
    traces: Traces | None = None,
) -> GrpcServer:
    """Answer the Open Inference Protocol's gRPC calls on the running event loop; port 0 takes a free one.

    access: checks tokens; None admits every client. max_body: largest message in bytes.
    Raises MissingExtra without gRPC, StageError when the port is taken, PolicyError for PEM files that cannot be used.
    """
    try:
        grpc_aio = import_module("grpc.aio")
        service = import_module(_SERVICE)
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").split(".")[0])
        if package is None:
            raise
        raise MissingExtra(package, "grpc") from error
    server = grpc_aio.server(
        options=[
            ("grpc.max_receive_message_length", max_body),
            ("grpc.so_reuseport", int(shared)),
            *MANNERS,
        ]
    )
    inference = service.InferenceService(gateway, access=access, timeout_s=timeout_s, traces=traces)
    server.add_generic_rpc_handlers(inference.handlers())
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        secret = None if tls is None else grpc_credentials(tls)
        bound = server.add_insecure_port(address) if secret is None else server.add_secure_port(address, secret)
    except RuntimeError as error:
        raise _taken(address, str(error)) from None
    if not bound:
        raise _taken(address, "the address cannot be used")
    await server.start()
    inference.open()
    return GrpcServer(bound, server, inference)


def reserve(host: str, port: int) -> socket.socket:
    """Bind a port that servers with `shared` take while the socket is open. Raises StageError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, host, port)  # without SO_REUSEPORT this fails when a gateway is there already
        port = probe.getsockname()[1]
    kept = socket.socket(family)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(kept, host, port)
    except StageError:
        kept.close()
        raise
    return kept


def _bind(one: socket.socket, host: str, port: int) -> None:
    try:
        one.bind((host, port))
    except OSError as error:
        raise _taken(f"{host}:{port}", error.strerror or errno.errorcode.get(error.errno or 0, "error")) from None


def _taken(address: str, why: str) -> StageError:
    return StageError(
        f"cannot listen for gRPC on {address}: {why}. Stop what listens there, or choose another port "
        "(serving.grpc_port in trimtab.yaml; 0 takes a free one)"
    )
