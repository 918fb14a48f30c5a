"""Where a gateway is reached: its configuration, the socket it binds, and gateway.json. Called by supervisor."""

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
from trimtab.serving.processes.control_poller import Control
from trimtab.serving.worker_options import WorkerOptions

ANNOUNCEMENT = "gateway.json"
BACKLOG = 2048
LOOK_S = 0.05
TAKEN_S = 5.0
"""How long the port of a gateway that was killed is waited for: its workers are ending."""


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """Everything a gateway is handed."""

    worker_command: Sequence[str]
    """Program of a worker; the number of its channel's file is appended."""
    setup: dict[str, str]
    """For the worker's program."""
    open_control: Callable[[], Control]
    """Called once, after the workers were started."""
    run_folder: Path
    """Where gateway.json tells host, port and process id while the gateway runs."""
    options: WorkerOptions = field(default_factory=WorkerOptions)
    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free one."""
    grpc_port: int | None = None
    poll_s: float = 0.2
    """Seconds between two looks at what should serve: the bound on how late a rollback takes effect."""
    load_timeout_s: float = 180.0
    """Longest a bundle may take to be opened and warm. Longer than a model in a process of its own is waited for."""
    all_or_nothing: bool = False
    """Whether a model that cannot be loaded ends the gateway, rather than wait for what mends it."""
    public: str = ""
    """Why other machines may reach the gateway although it asks for no tokens; empty: they may not."""


class Announcement(msgspec.Struct, frozen=True):
    """gateway.json: where a running gateway is."""

    host: str
    port: int
    pid: int
    workers: tuple[int, ...] = ()
    grpc_port: int | None = None
    tls: bool = False
    troubles: dict[str, str] = {}
    """By model: why it does not serve as it was told to, as a worker says."""
    serving: dict[str, int] = {}
    """By model: the revision that every worker answers by."""


def listen(config: GatewayConfig) -> socket.socket:
    """Bind the address of a gateway. Raises UsageError for a public one without tokens, StageError when it is taken."""
    host, port = config.host, config.port
    if not is_loopback(host) and not config.options.authentication and not config.public:
        raise UsageError(
            f"host '{host}' can be reached from other machines, and anybody there could call the gateway. Let it ask "
            "for tokens: set serving.authentication to tokens in trimtab.yaml and make one with: trimtab token create"
        )
    return patiently(config, lambda: _bind(host, port))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StageError(
            f"cannot listen on {host}:{port}: {error.strerror}. Stop what listens there, or choose another port "
            "(serving.port in trimtab.yaml, or --port; 0 takes a free one)"
        ) from None


def patiently(config: GatewayConfig, bind: Callable[[], socket.socket]) -> socket.socket:
    """Bind; after a gateway that was killed, wait until its workers have let go. Raises StageError."""
    deadline = time.monotonic() + (TAKEN_S if (config.run_folder / ANNOUNCEMENT).exists() else 0.0)
    while True:
        try:
            return bind()
        except StageError:
            if time.monotonic() >= deadline:
                raise
            SystemClock().sleep(LOOK_S)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_announcement(path: Path) -> Announcement | None:
    """Return where a gateway is; None when the file tells nothing."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Announcement)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
