"""The process that keeps a gateway up: binds, starts workers, tells them what to serve, restarts them. Called by app.

It answers no request itself. What should serve, who is admitted and what the guard does comes from a `Control`,
polled by a thread of its own, so that a slow metadata store never keeps a dead worker down.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

import msgspec

from trimtab.clock import SystemClock
from trimtab.errors import StageError, TrimtabError, UsageError
from trimtab.serving.options import WorkerOptions
from trimtab.serving.orders import (
    Admit,
    Configure,
    Down,
    Failed,
    Gap,
    Grant,
    Hold,
    ModelOrder,
    Ready,
    Serve,
    Trouble,
    Up,
)
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.spawning import early, hand_over, spawn
from trimtab.serving.protocols.grpc_server import reserve
from trimtab.serving.web.tls import server_context

ANNOUNCEMENT = "gateway.json"
BACKLOG = 2048
LOOK_S = 0.05
RESTART_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pauses before a worker that keeps dying is started again; the last one goes on."""
STEADY_S = 30.0
"""A worker that lived so long starts again at once."""
SEND_S = 2.0
"""A worker that takes no message for so long is stuck: another takes its place."""
TAKEN_S = 5.0
"""How long the port of a gateway that was killed is waited for: its workers are ending."""

logger = logging.getLogger(__name__)


class Control(Protocol):
    """What the supervisor obeys. Called from one thread, over and over (at the end from the main one); raises
    TrimtabError when a store is away."""

    def orders(self) -> tuple[ModelOrder, ...] | None:
        """Return what should serve, when it has changed."""
        ...

    def grants(self) -> tuple[Grant, ...] | None:
        """Return who is admitted, when it has changed."""
        ...

    def guard(self) -> None:
        """Look at what the workers counted, and act on it."""
        ...

    def gap(self, worker: str, gap: Gap) -> None:
        """Record that answers could not be logged."""
        ...


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


Listening = Callable[[Announcement], None]


def serve(config: GatewayConfig, *, listening: Listening = lambda found: None) -> None:
    """Serve until SIGTERM or SIGINT; then let the workers finish what is under way, and return.

    listening is called when the first worker answers.

    Raises UsageError (a public address without tokens), StageError (the port is taken, no worker comes up),
    PolicyError (certificate or key cannot be used).
    """
    if config.options.tls is not None:
        server_context(config.options.tls)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(config))
        grpc = None
        if config.grpc_port is not None:
            reserved = stack.enter_context(_patiently(config, lambda: reserve(config.host, config.grpc_port or 0)))
            grpc = (config.host, int(reserved.getsockname()[1]))
        _Supervisor(config, listener, grpc, listening).run()


def listen(config: GatewayConfig) -> socket.socket:
    """Bind the address of a gateway. Raises UsageError for a public one without tokens, StageError when it is taken."""
    host, port = config.host, config.port
    if not is_loopback(host) and not config.options.authentication and not config.public:
        raise UsageError(
            f"host '{host}' can be reached from other machines, and anybody there could call the gateway. Let it ask "
            "for tokens: set serving.authentication to tokens in trimtab.yaml and make one with: trimtab token create"
        )
    return _patiently(config, lambda: _bind(host, port))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StageError(
            f"cannot listen on {host}:{port}: {error.strerror}. Stop what listens there, or choose another port "
            "(serving.port in trimtab.yaml, or --port; 0 takes a free one)"
        ) from None


def _patiently(config: GatewayConfig, bind: Callable[[], socket.socket]) -> socket.socket:
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


class _Worker:
    """One worker process and the channel to it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], channel: Channel[Up, Down]) -> None:
        self.name = name
        self.process = process
        self.channel = channel
        self.started = time.monotonic()
        self.ready = False
        self.alive = True
        self.error = ""

    def send(self, message: Down) -> None:
        """Send; a worker that is gone is noticed elsewhere."""
        try:
            self.channel.send(message)
        except OSError:
            self.alive = False


class _Supervisor:
    def __init__(
        self, config: GatewayConfig, listener: socket.socket, grpc: tuple[str, int] | None, listening: Listening
    ) -> None:
        self._config = config
        self._listening = listening
        self._listener = listener
        self._grpc = grpc
        self._workers: dict[str, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._deaths: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        self._serve: Serve | None = None
        self._admit = Admit(())
        self._held: set[str] = set()
        self._control: Control | None = None
        self._came_up = False
        self._gaps: deque[tuple[str, Gap]] = deque()

    def run(self) -> None:
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        path = self._config.run_folder / ANNOUNCEMENT
        try:
            for number in range(self._config.workers):
                self._start(str(number))
            self._control = self._config.open_control()
            polling = threading.Thread(target=self._poll, name="control", daemon=True)
            polling.start()
            while not self._stop.is_set():
                self._look()
        finally:
            self._stop.set()
            self._end()
            if path.is_file() and (found := _read(path)) and found.pid == os.getpid():
                path.unlink()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self, name: str) -> None:
        try:
            spawned = early.take() or spawn(self._config.worker_command)
        except OSError as error:  # no memory, no processes: perhaps later
            logger.error("worker %s cannot be started: %s", name, error)
            self._due[name] = time.monotonic() + RESTART_S[-1]
            return
        spawned.end.settimeout(SEND_S)
        channel: Channel[Up, Down] = Channel(spawned.end, Up)  # type: ignore[arg-type]  # a union
        worker = _Worker(name, spawned.process, channel)
        with suppress(OSError):  # a worker that is gone already is noticed soon
            hand_over(spawned.end, self._listener)
        worker.send(
            Configure(
                name,
                self._config.options,
                str(self._config.run_folder),
                self._config.setup,
                self._grpc,
            )
        )
        with self._mutex:
            worker.send(self._admit)
            if self._serve is not None:
                worker.send(self._serve)
            self._workers[name] = worker
        self._selector.register(channel, selectors.EVENT_READ, worker)

    def _look(self) -> None:
        """Take messages, notice deaths, start again what is due."""
        for key, _ in self._selector.select(LOOK_S):
            worker: _Worker = key.data
            messages, alive = worker.channel.pending()
            for message in messages:
                self._take(worker, message)
            worker.alive = worker.alive and alive
        for worker in [
            worker for worker in self._workers.values() if not worker.alive or worker.process.poll() is not None
        ]:
            self._bury(worker)
        now = time.monotonic()
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            self._start(name)

    def _take(self, worker: _Worker, message: Up) -> None:
        if isinstance(message, Ready):
            worker.ready = True
            found = self._announce()
            if not self._came_up:
                self._came_up = True
                self._listening(found)
        elif isinstance(message, Failed):
            worker.error = message.error
        elif isinstance(message, Trouble):
            if message.error and self._config.all_or_nothing:
                raise StageError(message.error)
            if message.error:
                logger.error("worker %s: model %s: %s", worker.name, message.model, message.error)
            else:
                logger.warning("worker %s: model %s serves as it should again", worker.name, message.model)
        elif isinstance(message, Gap):
            self._gaps.append((worker.name, message))
        elif isinstance(message, Hold):
            (self._held.add if message.held else self._held.discard)(message.model)
            with self._mutex:
                if self._serve is not None:
                    self._tell(Serve(self._serve.models, tuple(sorted(self._held))))

    def _bury(self, worker: _Worker) -> None:
        """Take leave of a worker that is gone, and note when to start another."""
        worker.process.kill()  # one that closed its channel but lives on
        code = worker.process.wait()
        for message in worker.channel.pending()[0]:  # its last words
            self._take(worker, message)
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.name]
        if self._stop.is_set():
            return
        if not self._came_up and worker.error:
            raise StageError(worker.error)
        steady = time.monotonic() - worker.started > STEADY_S
        deaths = self._deaths[worker.name] = 0 if steady else self._deaths.get(worker.name, 0) + 1
        if not self._came_up and deaths >= len(RESTART_S):
            raise StageError(f"no worker comes up: the last one ended with code {code}; what it said stands above")
        pause = RESTART_S[min(deaths, len(RESTART_S)) - 1] if deaths else 0.0
        logger.error("worker %s has died (%s); another starts in %g s", worker.name, worker.error or code, pause)
        self._due[worker.name] = time.monotonic() + pause

    def _announce(self) -> Announcement:
        host, port = self._listener.getsockname()[:2]
        pids = tuple(worker.process.pid for worker in self._workers.values() if worker.ready)
        grpc_port = None if self._grpc is None else self._grpc[1]
        found = Announcement(host, port, os.getpid(), pids, grpc_port, self._config.options.tls is not None)
        path = self._config.run_folder / ANNOUNCEMENT
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{os.getpid()}")
        try:
            whole.write_bytes(msgspec.json.encode(found))
            whole.replace(path)
        except OSError as error:  # a full disk stops no gateway that is known already
            logger.error("%s cannot be written: %s", path, error)
        logger.info("the gateway listens on %s:%d with %d workers", host, port, len(pids))
        return found

    def _poll(self) -> None:
        """Ask the control what changed until told to stop. Runs in a thread."""
        failing = False
        while not self._stop.is_set():
            assert self._control is not None
            try:
                self._ask(self._control)
                failing = False
            except Exception as error:  # the border of the loop: the store may be away for a while
                if not failing:
                    logger.error("what should serve cannot be read, what serves goes on: %s", error)
                failing = True
            self._stop.wait(self._config.poll_s)

    def _ask(self, control: Control) -> None:
        grants = control.grants()
        if grants is not None:
            with self._mutex:
                self._admit = Admit(grants)
                for worker in list(self._workers.values()):
                    worker.send(self._admit)
        orders = control.orders()
        if orders is not None:
            with self._mutex:
                self._tell(Serve(orders, tuple(sorted(self._held))))
        self._tell_gaps(control)
        control.guard()

    def _tell_gaps(self, control: Control) -> None:
        """Record gaps of the log; what the store does not take now is tried again."""
        while self._gaps:
            control.gap(*self._gaps[0])
            self._gaps.popleft()

    def _tell(self, serve: Serve) -> None:
        self._serve = serve
        for worker in list(self._workers.values()):
            worker.send(serve)

    def _end(self) -> None:
        """Let the workers finish what is under way; those that do not are killed."""
        for worker in self._workers.values():
            worker.process.terminate()
        deadline = time.monotonic() + self._config.options.drain_s + 5.0
        for worker in list(self._workers.values()):
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.error("worker %s does not end; it is killed", worker.name)
                worker.process.kill()
                worker.process.wait()
            messages, _ = worker.channel.pending()
            for message in messages:
                self._take(worker, message)
            worker.channel.close()
        self._workers.clear()
        if self._gaps and self._control is not None:
            try:
                self._tell_gaps(self._control)
            except TrimtabError as error:
                logger.error("%d gaps of the prediction log were not recorded: %s", len(self._gaps), error)


def _read(path: Path) -> Announcement | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Announcement)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
