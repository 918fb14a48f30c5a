"""Where the loopback provider is: a process that a run folder announces, else a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.definitions.llm.model_endpoints import LOOPBACK
from trimtab.llm.loopback.announcement import announced
from trimtab.llm.loopback.loopback_bill import Bill
from trimtab.llm.loopback.loopback_server import LoopbackProvider

_own = threading.Lock()
_thread: _ProviderThread | None = None


def resolved(endpoint: EndpointSpec, run_folder: Path | None = None) -> str:
    """Return the URL of an endpoint; for "loopback" that of the provider on this machine.

    It is the process that the run folder announces. Without one that answers, a thread of this process is started, and
    serves until the process ends.
    """
    if endpoint.url != LOOPBACK:
        return endpoint.url
    if run_folder is not None and (found := announced(run_folder)) is not None:
        return found.url
    return _of_this_process()


class OpenLoopback:
    """A loopback provider in a thread. url: base URL of its interface. bill: what it charges for."""

    def __init__(self, url: str, bill: Bill) -> None:
        self.url = url
        self.bill = bill


@contextmanager
def running(seed: int = 0, *, port: int = 0) -> Iterator[OpenLoopback]:
    """Run the loopback provider in a thread of this process."""
    thread = _ProviderThread(seed, port)
    try:
        yield OpenLoopback(thread.url, thread.bill)
    finally:
        thread.stop()


def _of_this_process() -> str:
    global _thread
    with _own:
        if _thread is None or not _thread.is_alive():
            _thread = _ProviderThread(0, 0)
        return _thread.url


class _ProviderThread(threading.Thread):
    """An event loop with a provider. It has begun to listen when the constructor returns."""

    def __init__(self, seed: int, port: int) -> None:
        super().__init__(name="loopback", daemon=True)
        self._ready = threading.Event()
        self._seed, self._port = seed, port
        self._failure: OSError | None = None
        self.url = ""
        self.bill = Bill()
        self.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        provider = LoopbackProvider(self._seed)
        self.bill = provider.bill
        try:
            server = await provider.listen(self._port)
        except OSError as error:
            self._failure = error
            self._ready.set()
            return
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._end.wait()
        server.close()
        for connection in list(provider.connections):
            connection.close()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self.join()
