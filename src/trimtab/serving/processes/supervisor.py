"""The process that keeps a gateway up: binds, starts workers, tells them what to serve, restarts them. Called by app.

It answers no request itself. What should serve, who is admitted and what the guard does comes from a `Control`
(asking); where it listens comes from its configuration (listening).
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
from trimtab.serving.processes.control_poller import Asking
from trimtab.serving.processes.listening import (
    ANNOUNCEMENT,
    LOOK_S,
    Announcement,
    GatewayConfig,
    listen,
    patiently,
    read_announcement,
)
from trimtab.serving.processes.preflights import Trials, Trying, ending
from trimtab.serving.processes.releases import Key, Releases
from trimtab.serving.processes.spawning import early, hand_over, spawn
from trimtab.serving.protocols.grpc_server import reserve
from trimtab.serving.web.tls import server_context

RESTART_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pauses before a worker that keeps dying is started again; the last one goes on."""
STEADY_S = 30.0
"""A worker that lived so long starts again at once."""
GRACE_S = 5.0
"""How long beyond its drain a worker that was told to end is waited for."""
SEND_S = 2.0
"""A worker that takes no message for so long is stuck: another takes its place."""

logger = logging.getLogger(__name__)

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
            reserved = stack.enter_context(patiently(config, lambda: reserve(config.host, config.grpc_port or 0)))
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
        """The bundle that it opens just now."""
        self.patience = 0.0
        """Until when it may do so."""
        self.told_to_end = False
        self.troubles: dict[str, str] = {}
        """By model: why it does not serve as told."""
        self.serving: dict[str, int] = {}
        """By model: the revision that it confirmed."""

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
        self._address = listener.getsockname()[:2]
        self._grpc = grpc
        self._workers: dict[str, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._deaths: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        self._serve: Serve | None = None
        """What the workers were told last."""
        self._has_orders = False
        self._admit = Admit(())
        self._held: set[str] = set()
        self._asking = Asking(admit=self._let_in, serve=self._obey, every_s=config.poll_s, stop=self._stop)
        self._releases = Releases()
        self._trials = Trials(config.worker_command, self._configure, self._selector, limit_s=config.load_timeout_s)
        self._came_up = False

    def run(self) -> None:
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        path = self._config.run_folder / ANNOUNCEMENT
        try:
            for number in range(self._config.workers):
                self._start(str(number))
            self._asking.begin(self._config.open_control())
            while not self._stop.is_set():
                self._look()
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
        worker.send(self._configure(name))
        with self._mutex:
            self._hand_out()
            worker.send(self._admit)
            if self._serve is not None:
                worker.send(self._serve)
            self._workers[name] = worker
        self._selector.register(channel, selectors.EVENT_READ, worker)

    def _configure(self, name: str) -> Configure:
        config = self._config
        return Configure(name, config.options, str(config.run_folder), config.setup, self._grpc)

    def _look(self) -> None:
        """Take messages, notice deaths, start again what is due, try what is to be tried."""
        for key, _ in self._selector.select(LOOK_S):
            if isinstance(key.data, Trying):
                key.data.read()
                continue
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
        self._end_stuck(now)
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            self._start(name)
        self._try_bundles()

    def _end_stuck(self, now: float) -> None:
        """End workers that load one bundle for ever; one that serves may finish what is under way."""
        for worker in self._workers.values():
            if worker.loading is None or now < worker.patience:
                continue
            if worker.ready and not worker.told_to_end:
                worker.process.terminate()
                worker.patience = now + self._config.options.drain_s + GRACE_S
            else:
                worker.process.kill()
            worker.told_to_end = True

    def _try_bundles(self) -> None:
        """Try what is due, and hand out what the trials that ended allow."""
        with self._mutex:
            due = self._releases.due(time.monotonic())
        ended = self._trials.step(due)
        if not ended:
            return
        with self._mutex:
            for bundle, error, died in ended:
                if error:
                    self._releases.refuse(bundle, error, died=died, now=time.monotonic())
                else:
                    self._releases.clear(bundle)
            self._hand_out()

    def _take(self, worker: _Worker, message: Up) -> None:
        if isinstance(message, Ready):
            worker.ready = True
            found = self._announce()
            logger.info("the gateway listens on %s:%d with %d workers", found.host, found.port, len(found.workers))
            if not self._came_up and not self._stop.is_set():  # last words are no news
                self._came_up = True
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
            if self._came_up:
                self._announce()
        elif isinstance(message, Serving):
            worker.serving = message.revisions
            if self._came_up:
                self._announce()
        elif isinstance(message, Gap):
            self._asking.note(worker.name, message)
        elif isinstance(message, Hold):
            (self._held.add if message.held else self._held.discard)(message.model)
            with self._mutex:
                if self._serve is not None:
                    self._hand_out()
        elif isinstance(message, Loading):
            if worker.loading is not None and not message.id:
                with self._mutex:
                    self._releases.outlived(worker.loading)
            worker.loading = (message.id, message.digest) if message.id else None
            worker.patience = time.monotonic() + self._config.load_timeout_s

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
        if worker.loading is not None and self._suspect(worker, worker.loading):
            self._due[worker.name] = time.monotonic()
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

    def _suspect(self, worker: _Worker, key: Key) -> bool:
        """Keep a bundle from the workers with which one of them has died; False: load it again as if nothing were."""
        how = f"did not load it within {self._config.load_timeout_s:g} s (serving.load_timeout)"
        if not worker.told_to_end:
            how = f"{ending(worker.process)} while it loaded it"
        if self._config.all_or_nothing:
            if not self._came_up:
                raise StageError(f"bundle {key[0]}: the process {how}")
            return False
        error = (
            f"bundle {key[0]}: worker {worker.name} {how}; it is tried in a process of its own before any worker "
            "loads it again"
        )
        with self._mutex:
            self._releases.suspect(key, error, now=time.monotonic())
            self._hand_out()
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
        except OSError as error:  # a full disk stops no gateway that is known already
            logger.error("%s cannot be written: %s", path, error)
        return found

    def _let_in(self, admit: Admit) -> None:
        with self._mutex:
            self._admit = admit
            for worker in list(self._workers.values()):
                worker.send(admit)

    def _obey(self, orders: tuple[ModelOrder, ...]) -> None:
        with self._mutex:
            self._releases.want(orders)
            self._has_orders = True
            self._hand_out()

    def _hand_out(self) -> None:
        """Tell the workers what changed of what they may serve. Called with the mutex held."""
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
        """Let the workers finish what is under way; those that do not are killed."""
        self._listener.close()  # whoever comes now is refused, not queued where nobody takes it and reset at the end
        self._trials.close()
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
                self._take(worker, message)
            worker.channel.close()
        self._workers.clear()
        self._asking.finish()


def _confirmed(workers: Iterable[_Worker]) -> dict[str, int]:
    """Return the revision by model that every worker that answers has confirmed, the oldest one where they differ."""
    ready = [worker.serving for worker in workers if worker.ready]
    shared = set.intersection(*(set(serving) for serving in ready)) if ready else set()
    return {model: min(serving[model] for serving in ready) for model in sorted(shared)}
