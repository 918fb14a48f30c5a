"""The process that answers requests: event loop, protocols, models, and one writer of the prediction log.

It opens no metadata store and reads no policy: orders, tokens and options come over the channel, so that it stays small
and starts quickly. When the supervisor is gone, a worker finishes its requests and ends.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import uvloop

from trimtab import settings
from trimtab.bundle.spec import Spec
from trimtab.clock import Clock, SystemClock
from trimtab.errors import DataError, StoreError, TrimtabError
from trimtab.serving.core.bundle_loading import Load, Loader
from trimtab.serving.core.feature_reader import FeatureReader
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.loaded_bundle import LoadedBundle, Vectorizer, VectorizerFactory, load_bundle
from trimtab.serving.core.pushing import Pushes
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.endpoints import Access, Elsewhere, Grants, Route
from trimtab.serving.inbox import KPIS, RETRAININGS, TRIGGERS, Inbox, inbox
from trimtab.serving.orders import (
    COUNTS,
    Admit,
    BundleOrder,
    Configure,
    Down,
    End,
    Failed,
    Hold,
    Loading,
    Ready,
    Serve,
    Serving,
    Trouble,
    Up,
)
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.preflight import run_preflight
from trimtab.serving.processes.spawning import take_over
from trimtab.serving.protocols.grpc.server import GrpcServer, serve_grpc
from trimtab.serving.protocols.platforms.containers import container_contract
from trimtab.serving.protocols.standard import contract_routes, standard_routes
from trimtab.serving.requests import Refused
from trimtab.serving.telemetry.logs import configure_logging
from trimtab.serving.telemetry.spans import open_traces
from trimtab.serving.telemetry.traces import Traces
from trimtab.serving.web.server import ServerSetup, Shutdown, serve, settle_memory
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

RETRY_S = 5.0
"""Pause before bundles that could not be loaded are loaded again."""
LOADING_ENDS_S = 1.0
"""How long a shutdown waits for a bundle that is being loaded."""
WRITER_S = 5.0
"""How long, beyond the drain, a worker waits until its predecessor has released the prediction log."""

logger = logging.getLogger(__name__)


class Service(Protocol):
    """What a worker answers with in place of trained models and their protocols."""

    def load(self, order: BundleOrder) -> LoadedBundle:
        """Verify and open a bundle, in a thread. Raises TrimtabError."""
        ...

    def routes(self, gateway: Gateway, access: Access | None) -> list[Route]:
        """Return all routes. Runs on the event loop."""
        ...

    async def close(self) -> None:
        """End what was begun. Runs on the event loop, after the last request."""
        ...


def no_vectors(folder: Path, spec: Spec) -> Vectorizer:
    """Raise DataError: a worker with a service of its own scores no rows."""
    raise DataError(f"{folder}: model '{spec.model}' is no prompt; trimtab serve serves it")


@dataclass(frozen=True, kw_only=True)
class WorkerResources:
    """The stores and the clock that the worker's program opens for it."""

    predictions: Predictions
    vectorizer_factory: VectorizerFactory = no_vectors
    service: Service | None = None
    """None: trained models are served."""
    features: FeatureReader | None = None
    clock: Clock = field(default_factory=SystemClock)
    view_ages: Callable[[], dict[str, float]] = dict
    """Returns how old the online values of each view in service are, in seconds."""
    is_steered: Callable[[Path], bool] = lambda _: False
    """Returns True while a loop runs in the project of a run folder."""
    elsewhere: Elsewhere | None = None


Open = Callable[[Configure], WorkerResources]


def run_worker(open_resources: Open) -> None:
    """Serve until the supervisor says so or is gone; or run one preflight, when the first message holds one.

    sys.argv[1]: the file descriptor of the channel.
    """
    end = socket.socket(fileno=int(sys.argv[1]))
    listener = take_over(end)
    channel: Channel[Down, Up] = Channel(end, Down)  # type: ignore[arg-type]  # a union
    first = channel.receive()
    if not isinstance(first, Configure):
        return
    if first.preflight is not None:
        configure_logging(worker=first.worker)
        run_preflight(first.preflight, lambda: _loading(open_resources(first), first), channel)
    if first.preflight is not None or listener is None:
        return
    try:
        configure_logging(worker=first.worker)
        resources = open_resources(first)
        metrics = Metrics(
            Path(first.run_folder) / COUNTS,
            worker=first.worker,
            clock=resources.clock,
            tell_inputs=first.options.tell_inputs,
        )
        metrics.view_ages = resources.view_ages
        gateway = Gateway(resources.predictions, resources.clock, first.options, metrics)
        run_folder, options = Path(first.run_folder), first.options
        gateway.kpis = Inbox(inbox(run_folder, KPIS), first.worker, options.kpis)
        gateway.pushes = Pushes(options.sources)
        gateway.features = resources.features
        gateway.retrainings = Inbox(inbox(run_folder, RETRAININGS), first.worker, options.models)
        names = [trigger.name for trigger in options.triggers]
        gateway.triggers = Inbox(inbox(run_folder, TRIGGERS), first.worker, names)
        gateway.is_steered = lambda: resources.is_steered(run_folder)
        _become_writer(gateway, first.options.drain_s + WRITER_S)
        metrics.resume()  # the predecessor may have saved its last counts only now
        traces = open_traces(resources.clock, worker=first.worker)
    except TrimtabError as error:
        channel.send(Failed(str(error)))
        sys.exit(error.exit_code)
    worker = _Worker(first, resources, gateway, channel, traces)
    try:
        with (
            np.errstate(over="ignore"),  # a feature beyond float32 becomes infinite, as in training
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(worker.run(listener))
    finally:
        gateway.settle()
        metrics.close()  # before the log is released to a successor, which reads these counts
        gateway.close()
        worker.close()
        if traces is not None:
            traces.close()


def _become_writer(gateway: Gateway, patience_s: float) -> None:
    """Become the writer of the log, once a predecessor has released it. Raises StoreError after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return gateway.open()
        except StoreError:
            if time.monotonic() > deadline:
                raise
            SystemClock().sleep(0.02)


class _Worker:
    def __init__(
        self,
        first: Configure,
        resources: WorkerResources,
        gateway: Gateway,
        channel: Channel[Down, Up],
        traces: Traces | None,
    ) -> None:
        self._first = first
        self._traces = traces
        self._gateway = gateway
        self._channel = channel
        self._elsewhere = resources.elsewhere
        self._access = Access(Grants(), resources.clock) if first.options.authentication else None
        self._service = resources.service
        self._load_bundle = _loading(resources, first)
        self._loader = Loader(self._open)
        self._orders: queue.SimpleQueue[Serve | None] = queue.SimpleQueue()
        self._errors: dict[str, str] = {}
        self._serving: dict[str, int] = {}
        self._loading: threading.Thread | None = None

    async def run(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        shutdown, loaded = Shutdown(), asyncio.Event()
        stop = shutdown.started
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gateway, first = self._gateway, self._first
        gateway.journal.on_gap = self._send
        gateway.repository.hold = self._hold
        threading.Thread(target=self._receive, args=(loop, shutdown), name="orders", daemon=True).start()
        self._loading = threading.Thread(target=self._load, args=(loop, loaded), name="loading", daemon=True)
        self._loading.start()
        if not await _first_of(loaded, stop):
            return
        settle_memory()
        setup = ServerSetup(
            http=listener,
            access=self._access,
            routes=_routes(gateway) if self._service is None else self._service.routes(gateway, self._access),
            traces=self._traces,
            elsewhere=self._elsewhere,
        )
        saving = asyncio.create_task(gateway.metrics.keep_saving())
        grpc = None if first.grpc is None else await self._serve_grpc(first, *first.grpc)
        try:
            await asyncio.gather(
                serve(gateway, setup, shutdown, listening=lambda: self._send(Ready())),
                _stop_grpc(grpc, shutdown, first.options),
            )
        finally:
            saving.cancel()
            self._orders.put(None)
            if self._service is not None:
                await self._service.close()

    def close(self) -> None:
        """Close what was loaded: the processes of models end, and requests that wait for one fail."""
        self._orders.put(None)
        if self._loading is not None:
            self._loading.join(LOADING_ENDS_S)
        self._loader.close()

    def _hold(self, model: str, held: bool) -> None:
        if not self._send(Hold(model, held)):
            raise Refused(503, "the supervisor of this gateway is away")

    async def _serve_grpc(self, first: Configure, host: str, port: int) -> GrpcServer:
        options = first.options
        return await serve_grpc(
            self._gateway,
            host=host,
            port=port,
            max_body=options.max_body,
            access=self._access,
            tls=options.tls,
            timeout_s=options.timeout_s,
            shared=True,
            traces=self._traces,
        )

    def _send(self, message: Up) -> bool:
        try:
            self._channel.send(message)
            return True
        except OSError:  # the supervisor is gone; `_receive` ends this worker
            logger.warning("the supervisor is gone: %s was not told", message)
            return False

    def _receive(self, loop: asyncio.AbstractEventLoop, shutdown: Shutdown) -> None:
        """Handle messages until the supervisor is gone. Runs in a thread."""
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Serve):
                self._orders.put(message)
            elif isinstance(message, Admit) and self._access is not None:
                self._access.grants = Grants.of(message.grants)
            elif isinstance(message, End):
                shutdown.whole_gateway = True
                loop.call_soon_threadsafe(shutdown.started.set)
        if shutdown.whole_gateway:
            return
        if not loop.is_closed():
            logger.warning("the supervisor is gone; this worker finishes its requests and ends")
            shutdown.immediate = True
            loop.call_soon_threadsafe(shutdown.started.set)

    def _load(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Event) -> None:
        """Load what the newest orders name. Runs in a thread."""
        serve: Serve | None = None
        while True:
            try:
                serve = self._orders.get(timeout=RETRY_S)
                while serve is not None and not self._orders.empty():
                    serve = self._orders.get()
            except queue.Empty:
                self._loader.close_dropped()
                if not self._loader.errors:
                    continue
            if serve is None:
                return
            try:
                self._follow(serve, loop)
            except Exception:  # the border of the thread: it must go on to the next orders
                if loop.is_closed():
                    return  # this process ends
                logger.exception("the orders could not be followed")
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(loaded.set)

    def _open(self, order: BundleOrder, aside: bool) -> LoadedBundle:
        """Load a bundle, and tell the supervisor which one it is before this process may die of it."""
        self._send(Loading(*order.key))
        try:
            return self._load_bundle(order, aside)
        finally:
            self._send(Loading())

    def _follow(self, serve: Serve, loop: asyncio.AbstractEventLoop) -> None:
        for table in self._loader.follow(serve):
            loop.call_soon_threadsafe(self._swap, table)
            self._report(table)
            if not self._orders.empty():
                return  # newer orders, perhaps a rollback, go first

    def _swap(self, table: RoutingTable) -> None:
        """Route by a new table, then confirm its revisions to the supervisor. Runs on the event loop."""
        self._gateway.swap(table)
        serving = {name: model.revision for name, model in table.models.items() if name not in table.errors}
        if serving != self._serving:
            self._serving = serving
            self._send(Serving(serving))

    def _report(self, table: RoutingTable) -> None:
        """Tell the supervisor which models do not serve as ordered, and which do again."""
        errors = dict(table.errors)
        self._gateway.metrics.troubles = {model: int(model in errors) for model in {*table.models, *errors}}
        for model in self._errors.keys() | errors.keys():
            if self._errors.get(model) != errors.get(model):
                self._send(Trouble(model, errors.get(model, "")))
        self._errors = errors


def _loading(resources: WorkerResources, first: Configure) -> Load:
    """Return what loads bundles."""
    service = resources.service
    if service is not None:
        return lambda order, aside: service.load(order)
    trust = first.options.trust
    return lambda order, aside: load_bundle(order, resources.vectorizer_factory, trust=trust, aside=aside)


def _routes(gateway: Gateway) -> list[Route]:
    """Return all routes; inside a platform's container, also those that the platform calls."""
    contract = container_contract(settings.read())
    standard = standard_routes(gateway)
    return standard if contract is None else contract_routes(contract, gateway, standard)


async def _stop_grpc(server: GrpcServer | None, shutdown: Shutdown, options: WorkerOptions) -> None:
    """Stop the gRPC server when the HTTP server stops, so that both drain together."""
    if server is not None:
        await shutdown.started.wait()
        server.service.drain()  # health checks now answer NOT_SERVING
        await asyncio.sleep(0.0 if shutdown.immediate else options.drain_delay_s)
        await server.stop(grace_s=options.drain_s)


async def _first_of(wanted: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for either event; return True if it was the wanted one."""
    waits = [asyncio.ensure_future(event.wait()) for event in (wanted, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return wanted.is_set() and not stop.is_set()
