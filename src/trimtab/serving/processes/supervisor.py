"""The process that keeps a gateway up: binds its ports, starts and restarts workers, and sends them their orders.

It answers no request. A `GatewayControl` decides what serves, which tokens are valid and what the guard does
(control_poller); the configuration says where the gateway listens (listening).
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from types import FrameType

import msgspec

from trimtab.errors import StageError
from trimtab.serving.orders import (
    Admit,
    Configure,
    Down,
    End,
    Failed,
    Gap,
    Hold,
    Loading,
    ModelOrder,
    Ready,
    Serve,
    Serving,
    Trouble,
    Up,
)
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.control_poller import ControlPoller
from trimtab.serving.processes.listening import (
    ANNOUNCEMENT,
    POLL_S,
    Announcement,
    GatewayConfig,
    bind_with_retry,
    listen,
    read_announcement,
)
from trimtab.serving.processes.preflights import Preflights, RunningPreflight, ending
from trimtab.serving.processes.releases import Key, Releases
from trimtab.serving.processes.spawning import early, hand_over, spawn
from trimtab.serving.protocols.grpc.server import reserve
from trimtab.serving.web.tls import server_context

RESTART_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pauses before a worker that keeps dying is started again; the last one is repeated."""
STEADY_S = 30.0
"""A worker that lived longer than this is started again without a pause."""
GRACE_S = 5.0
"""How long after its drain a worker may take to end before it is killed."""
SEND_S = 2.0
"""A worker that reads no message for so long is stuck, and is replaced."""

logger = logging.getLogger(__name__)

Listening = Callable[[Announcement], None]


def serve(config: GatewayConfig, *, listening: Listening = lambda found: None) -> None:
    """Serve until SIGTERM or SIGINT; then let the workers finish the requests in progress, and return.

    listening: called when the first worker is ready.

    Raises UsageError (a public address without tokens), StageError (the port is taken, no worker starts),
    PolicyError (certificate or key cannot be used).
    """
    if config.options.tls is not None:
        server_context(config.options.tls)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(config))
        grpc = None
        if config.grpc_port is not None:
            reserved = stack.enter_context(bind_with_retry(config, lambda: reserve(config.host, config.grpc_port or 0)))
            grpc = (config.host, int(reserved.getsockname()[1]))
        _Supervisor(config, listener, grpc, listening).run()


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
        self.loading: Key | None = None
        """The bundle that it is loading."""
        self.load_deadline = 0.0
        """Monotonic time by which that bundle has to be loaded."""
        self.stopping = False
        self.troubles: dict[str, str] = {}
        """Model -> why it does not serve as ordered."""
        self.serving: dict[str, int] = {}
        """Model -> the revision that it confirmed."""

    def send(self, message: Down) -> None:
        """Send a message; a failure marks the worker as dead."""
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
        self._address = listener.getsockname()[:2]
        self._grpc = grpc
        self._workers: dict[str, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._deaths: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        self._serve: Serve | None = None
        """The last orders that the workers were sent."""
        self._has_orders = False
        self._tokens = Admit(())
        self._held: set[str] = set()
        self._control_poller = ControlPoller(
            admit=self._set_tokens, serve=self._set_orders, every_s=config.poll_s, stop=self._stop
        )
        self._releases = Releases(trusting=not config.preflights)
        self._preflights = Preflights(
            config.worker_command, self._configure, self._selector, limit_s=config.load_timeout_s
        )
        self._is_up = False

    def run(self) -> None:
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        path = self._config.run_folder / ANNOUNCEMENT
        try:
            for number in range(self._config.workers):
                self._start(str(number))
            self._control_poller.begin(self._config.open_control())
            while not self._stop.is_set():
                self._step()
        finally:
            self._stop.set()
            self._end()
            if path.is_file() and (found := read_announcement(path)) and found.pid == os.getpid():
                path.unlink()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self, name: str) -> None:
        try:
            spawned = early.take(self._config.worker_command) or spawn(self._config.worker_command)
        except OSError as error:  # out of memory or processes: a later attempt may succeed
            logger.error("worker %s cannot be started: %s", name, error)
            self._due[name] = time.monotonic() + RESTART_S[-1]
            return
        spawned.end.settimeout(SEND_S)
        channel: Channel[Up, Down] = Channel(spawned.end, Up)  # type: ignore[arg-type]  # a union
        worker = _Worker(name, spawned.process, channel)
        with suppress(OSError):  # a worker that is already gone is seen by the next step
            hand_over(spawned.end, self._listener)
        worker.send(self._configure(name))
        with self._mutex:
            self._send_orders()
            worker.send(self._tokens)
            if self._serve is not None:
                worker.send(self._serve)
            self._workers[name] = worker
        self._selector.register(channel, selectors.EVENT_READ, worker)

    def _configure(self, name: str) -> Configure:
        config = self._config
        return Configure(name, config.options, str(config.run_folder), config.setup, self._grpc)

    def _step(self) -> None:
        """Handle messages, replace dead and stuck workers, run preflights."""
        for key, _ in self._selector.select(POLL_S):
            if isinstance(key.data, RunningPreflight):
                key.data.read()
                continue
            worker: _Worker = key.data
            messages, alive = worker.channel.pending()
            for message in messages:
                self._handle(worker, message)
            worker.alive = worker.alive and alive
        for worker in [
            worker for worker in self._workers.values() if not worker.alive or worker.process.poll() is not None
        ]:
            self._remove(worker)
        now = time.monotonic()
        self._stop_stuck(now)
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            self._start(name)
        self._run_preflights()

    def _stop_stuck(self, now: float) -> None:
        """Stop workers whose load deadline has passed; one that serves may finish its requests first."""
        for worker in self._workers.values():
            if worker.loading is None or now < worker.load_deadline:
                continue
            if worker.ready and not worker.stopping:
                worker.process.terminate()
                worker.load_deadline = now + self._config.options.drain_s + GRACE_S
            else:
                worker.process.kill()
            worker.stopping = True

    def _run_preflights(self) -> None:
        """Start the preflights that are due, and send the orders that finished ones allow."""
        with self._mutex:
            due = self._releases.due(time.monotonic())
        ended = self._preflights.step(due)
        if not ended:
            return
        with self._mutex:
            for bundle, error, died in ended:
                if error:
                    self._releases.refuse(bundle, error, died=died, now=time.monotonic())
                else:
                    self._releases.clear(bundle)
            self._send_orders()

    def _handle(self, worker: _Worker, message: Up) -> None:
        if isinstance(message, Ready):
            worker.ready = True
            found = self._announce()
            logger.info("the gateway listens on %s:%d with %d workers", found.host, found.port, len(found.workers))
            if not self._is_up and not self._stop.is_set():  # else this is a late message of a worker that ends
                self._is_up = True
                self._listening(found)
        elif isinstance(message, Failed):
            worker.error = message.error
        elif isinstance(message, Trouble):
            if message.error and self._config.all_or_nothing:
                raise StageError(message.error)
            if message.error:
                logger.error("worker %s: model %s: %s", worker.name, message.model, message.error)
                worker.troubles[message.model] = message.error
            else:
                worker.troubles.pop(message.model, None)
                logger.warning("worker %s: model %s serves as it should again", worker.name, message.model)
            if self._is_up:
                self._announce()
        elif isinstance(message, Serving):
            worker.serving = message.revisions
            if self._is_up:
                self._announce()
        elif isinstance(message, Gap):
            self._control_poller.note(worker.name, message)
        elif isinstance(message, Hold):
            (self._held.add if message.held else self._held.discard)(message.model)
            with self._mutex:
                if self._serve is not None:
                    self._send_orders()
        elif isinstance(message, Loading):
            if worker.loading is not None and not message.id:
                with self._mutex:
                    self._releases.outlived(worker.loading)
            worker.loading = (message.id, message.digest) if message.id else None
            worker.load_deadline = time.monotonic() + self._config.load_timeout_s

    def _remove(self, worker: _Worker) -> None:
        """Remove a dead worker, and schedule its replacement."""
        worker.process.kill()  # it may have closed its channel and live on
        code = worker.process.wait()
        for message in worker.channel.pending()[0]:  # sent before it died
            self._handle(worker, message)
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.name]
        if self._stop.is_set():
            return
        if worker.loading is not None and self._suspect(worker, worker.loading):
            self._due[worker.name] = time.monotonic()
            return
        if not self._is_up and worker.error:
            raise StageError(worker.error)
        steady = time.monotonic() - worker.started > STEADY_S
        deaths = self._deaths[worker.name] = 0 if steady else self._deaths.get(worker.name, 0) + 1
        if not self._is_up and deaths >= len(RESTART_S):
            raise StageError(f"no worker starts: the last one ended with code {code}; its log is above")
        pause = RESTART_S[min(deaths, len(RESTART_S)) - 1] if deaths else 0.0
        logger.error("worker %s has died (%s); another starts in %g s", worker.name, worker.error or code, pause)
        self._due[worker.name] = time.monotonic() + pause

    def _suspect(self, worker: _Worker, key: Key) -> bool:
        """Withhold a bundle that a worker was loading when it died; False where the policy is to load it again."""
        how = f"did not load it within {self._config.load_timeout_s:g} s (serving.load_timeout)"
        if not worker.stopping:
            how = f"{ending(worker.process)} while it loaded it"
        if self._config.all_or_nothing:
            if not self._is_up:
                raise StageError(f"bundle {key[0]}: the process {how}")
            return False
        error = (
            f"bundle {key[0]}: worker {worker.name} {how}; it is tried in a process of its own before any worker "
            "loads it again"
        )
        with self._mutex:
            self._releases.suspect(key, error, now=time.monotonic())
            self._send_orders()
        return True

    def _announce(self) -> Announcement:
        host, port = self._address
        pids = tuple(worker.process.pid for worker in self._workers.values() if worker.ready)
        grpc_port = None if self._grpc is None else self._grpc[1]
        troubles: dict[str, str] = {}
        for worker in self._workers.values():
            troubles |= worker.troubles
        tls, serving = self._config.options.tls is not None, _confirmed(self._workers.values())
        found = Announcement(host, port, os.getpid(), pids, grpc_port, tls, troubles, serving)
        path = self._config.run_folder / ANNOUNCEMENT
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{os.getpid()}")
        try:
            whole.write_bytes(msgspec.json.encode(found))
            whole.replace(path)
        except OSError as error:  # a full disk is no reason to stop
            logger.error("%s cannot be written: %s", path, error)
        return found

    def _set_tokens(self, admit: Admit) -> None:
        with self._mutex:
            self._tokens = admit
            for worker in list(self._workers.values()):
                worker.send(admit)

    def _set_orders(self, orders: tuple[ModelOrder, ...]) -> None:
        with self._mutex:
            self._releases.want(orders)
            self._has_orders = True
            self._send_orders()

    def _send_orders(self) -> None:
        """Send the workers their orders if these have changed. The caller holds the mutex."""
        if not self._has_orders:
            return
        serving = any(worker.ready for worker in self._workers.values())
        serve = Serve(self._releases.orders(serving=serving), tuple(sorted(self._held)))
        if serve == self._serve:
            return
        self._serve = serve
        for worker in list(self._workers.values()):
            worker.send(serve)

    def _end(self) -> None:
        """Let the workers finish their requests; kill those that exceed their time."""
        self._listener.close()  # refuses new connections, which would queue here and be reset at the end
        self._preflights.close()
        for worker in self._workers.values():
            if worker.ready:
                worker.send(End())
            if not (worker.ready and worker.alive):
                worker.process.terminate()
        options = self._config.options
        deadline = time.monotonic() + options.drain_delay_s + options.drain_s + GRACE_S
        for worker in list(self._workers.values()):
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.error("worker %s does not end; it is killed", worker.name)
                worker.process.kill()
                worker.process.wait()
            messages, _ = worker.channel.pending()
            for message in messages:
                self._handle(worker, message)
            worker.channel.close()
        self._workers.clear()
        self._control_poller.finish()


def _confirmed(workers: Iterable[_Worker]) -> dict[str, int]:
    """Return model -> the revision that every ready worker has confirmed, the oldest one where they differ."""
    ready = [worker.serving for worker in workers if worker.ready]
    shared = set.intersection(*(set(serving) for serving in ready)) if ready else set()
    return {model: min(serving[model] for serving in ready) for model in sorted(shared)}
