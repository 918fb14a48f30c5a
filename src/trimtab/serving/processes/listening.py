"""The address of a gateway: its configuration, the socket that it binds, and gateway.json."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from trimtab.clock import SystemClock
from trimtab.errors import StageError, UsageError
from trimtab.serving.processes.control_poller import GatewayControl
from trimtab.serving.worker_options import WorkerOptions

ANNOUNCEMENT = "gateway.json"
BACKLOG = 2048
POLL_S = 0.05
TAKEN_S = 5.0
"""How long to retry a port that the workers of a killed gateway may still hold."""


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """The configuration of a gateway."""

    worker_command: Sequence[str]
    """Program of a worker; the file descriptor of its channel is appended."""
    setup: dict[str, str]
    """Passed on to the worker's program."""
    open_control: Callable[[], GatewayControl]
    """Called once, after the workers have been started."""
    run_folder: Path
    """Holds gateway.json (host, port, process id) while the gateway runs."""
    options: WorkerOptions = field(default_factory=WorkerOptions)
    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 8080
    """0 chooses a free port."""
    grpc_port: int | None = None
    poll_s: float = 0.2
    """Seconds between two polls of what should serve: the longest that a rollback waits for it."""
    load_timeout_s: float = 180.0
    """Longest time to open and warm up a bundle. It exceeds the limit for a model in a process of its own."""
    preflights: bool = True
    """Whether a new bundle is first loaded in a process of its own; needless for bundles that hold no code."""
    all_or_nothing: bool = False
    """Whether a model that cannot be loaded ends the gateway; else the gateway serves without it and retries."""
    public: str = ""
    """Why a gateway without tokens may listen on a public address; empty: it may not."""


class Announcement(msgspec.Struct, frozen=True):
    """gateway.json: the address and state of a running gateway."""

    host: str
    port: int
    pid: int
    workers: tuple[int, ...] = ()
    grpc_port: int | None = None
    tls: bool = False
    troubles: dict[str, str] = {}
    """Model -> why a worker cannot serve it as ordered."""
    serving: dict[str, int] = {}
    """Model -> the revision that every worker serves, the oldest one where they differ."""

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


def listen(config: GatewayConfig) -> socket.socket:
    """Bind the address of a gateway. Raises UsageError for a public one without tokens, StageError when it is taken."""
    host, port = config.host, config.port
    if not is_loopback(host) and not config.options.authentication and not config.public:
        raise UsageError(
            f"host '{host}' can be reached from other machines, which could call the gateway without a token. Require "
            "tokens: set serving.authentication to tokens in trimtab.yaml and make one with: trimtab token create"
        )
    return bind_with_retry(config, lambda: _bind(host, port))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StageError(
            f"cannot listen on {host}:{port}: {error.strerror}. Stop what listens there, or choose another port "
            "(serving.port in trimtab.yaml, for one environment environments.NAME.serving.port, or --port; 0 takes a "
            "free one)"
        ) from None


def bind_with_retry(config: GatewayConfig, bind: Callable[[], socket.socket]) -> socket.socket:
    """Call `bind`, and retry for up to TAKEN_S when a killed gateway has left its gateway.json. Raises StageError."""
    deadline = time.monotonic() + (TAKEN_S if (config.run_folder / ANNOUNCEMENT).exists() else 0.0)
    while True:
        try:
            return bind()
        except StageError:
            if time.monotonic() >= deadline:
                raise
            SystemClock().sleep(POLL_S)


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_announcement(path: Path) -> Announcement | None:
    """Return what gateway.json says; None when it is missing or cannot be decoded."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Announcement)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
