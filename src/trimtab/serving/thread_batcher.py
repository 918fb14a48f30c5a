"""One thread that takes what gathered in a batch, while the next batch gathers.

Used where a call may block: a slow model, the comparison with other bundles, the flush of the prediction log. All
methods run on one event loop; only `run` is called in the thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class ThreadBatcher(Generic[Batch]):
    """Runs one batch at a time, in the thread or at once.

    take: removes the next batch from what waits; returns it, and whether it is run at once on the event loop, or None
        when nothing waits.
    run: does the work of a batch. May raise.
    ended: gets each batch and what `run` raised, on the event loop. TimeoutError stands for a call that `wait` gave up.
    """

    def __init__(
        self,
        name: str,
        *,
        take: Callable[[], tuple[Batch, bool] | None],
        run: Callable[[Batch], None],
        ended: Callable[[Batch, BaseException | None], None],
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """Set by the owner before the first batch; without one, only `begin` and `wait` start and end batches."""
        self._take, self._run, self._ended = take, run, ended
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._call: Future[None] | None = None
        self._batch: Batch
        self._due = self._armed = False

    @property
    def busy(self) -> bool:
        """Whether a batch is in the thread."""
        return self._call is not None

    @property
    def pending(self) -> bool:
        """Whether a batch is in the thread, or will begin by `soon` or `later`."""
        return self._call is not None or self._due or self._armed

    def soon(self) -> None:
        """Begin a batch behind everything that is ready on the event loop now."""
        if self._call is None and not self._due and self.loop is not None and not self.loop.is_closed():
            self._due = True
            self.loop.call_soon(self.begin)

    def later(self, seconds: float) -> None:
        """Begin a batch in so many seconds, unless one is under way or about to begin."""
        if not self.pending and self.loop is not None and not self.loop.is_closed():
            self._armed = True
            self.loop.call_later(seconds, self.begin)

    def begin(self) -> None:
        """Begin the next batch now, unless one is under way."""
        self._due = self._armed = False
        taken = self._take() if self._call is None else None
        if taken is None:
            return
        batch, at_once = taken
        if at_once:
            self._ended(batch, self._error_of(batch))
        else:
            self._batch = batch
            call = self._call = self._thread.submit(self._run, batch)
            call.add_done_callback(self._tell)

    def wait(self, seconds: float | None = None) -> None:
        """Block until the batch under way has ended; one that takes longer than `seconds` ends with TimeoutError."""
        call = self._call
        if call is None:
            return
        try:
            call.exception(seconds)
        except TimeoutError as error:
            self._end(error)
        else:
            self._collect(call)

    def close(self, *, wait: bool = False) -> None:
        """Let the thread end when its batch is done."""
        self._thread.shutdown(wait=wait)

    def _error_of(self, batch: Batch) -> Exception | None:
        try:
            self._run(batch)
        except Exception as error:  # handed to `ended`, like what the thread raises
            return error
        return None

    def _tell(self, call: Future[None]) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._collect, call)

    def _collect(self, call: Future[None]) -> None:
        if call is self._call:  # else `wait` was quicker, or gave it up
            self._end(call.exception())

    def _end(self, error: BaseException | None) -> None:
        batch, self._call = self._batch, None
        del self._batch
        self._ended(batch, error)
