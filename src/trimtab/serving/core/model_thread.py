"""Scores with one bundle in a thread of its own: for models that would hold up the event loop. Made by scheduler.

While a call is under way requests gather, and go together into the next one: batches grow with the load, and
nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trimtab.serving.core.in_flight import RowGroup, fair_share
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.scoring import score

BATCH_ROWS = 1024
"""Rows that one call takes on, when more wait."""

Take = Callable[[Sequence[RowGroup]], None]


class ModelThread:
    """One thread and the groups that wait for it. Lives on one event loop.

    limit_s: groups that are not scored after so long are handed to `overdue`, once, and later to `ended` all the same.
    """

    def __init__(
        self,
        bundle: LoadedBundle,
        loop: asyncio.AbstractEventLoop,
        most_rows: int,
        ended: Take,
        overdue: Take,
        limit_s: float | None = None,
    ) -> None:
        self._bundle: LoadedBundle | None = bundle
        """None when it has ended: whoever still holds this does not keep the bundle from being closed."""
        self._most_rows = most_rows
        self._rows = 0
        self._closing = False
        self._ended = ended
        self._overdue = overdue
        self._limit_s = limit_s
        self._loop = loop
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"score {bundle.id}")
        self._waiting: list[RowGroup] = []
        self._call: Future[None] | None = None
        self._scoring: list[RowGroup] = []

    @property
    def busy(self) -> bool:
        """Whether groups wait or are being scored."""
        return self._call is not None or bool(self._waiting)

    def put(self, groups: list[RowGroup]) -> bool:
        """Score groups as soon as the thread is free; False when too many rows wait for it already."""
        rows = sum([group.rows for group in groups])
        if self._rows >= self._most_rows:
            return False
        self._rows += rows
        self._waiting += groups
        if self._limit_s is not None:
            self._loop.call_later(self._limit_s, self._look_at, groups)
        self._begin()
        return True

    def wait(self, seconds: float) -> None:
        """Block until what is being scored is done, and hand it over; what takes longer than `seconds` fails."""
        call = self._call
        if call is not None:
            try:
                call.exception(seconds)
            except TimeoutError as error:
                call = self._call = Future()
                call.set_exception(error)
            self._collect(call)

    def close(self) -> None:
        """Let the thread end when what it has taken on is scored."""
        self._closing = True
        if not self.busy:
            self._end()

    def _end(self) -> None:
        self._executor.shutdown(wait=False)
        self._bundle = None

    def _begin(self) -> None:
        if self._call is not None:
            return
        if any(group.request.abandoned for group in self._waiting):  # nobody waits for these any more
            self._rows -= sum([group.rows for group in self._waiting if group.request.abandoned])
            self._waiting = [group for group in self._waiting if not group.request.abandoned]
        if not self._waiting or self._bundle is None:
            return
        self._scoring, self._waiting = fair_share(self._waiting, BATCH_ROWS)
        call = self._call = self._executor.submit(_score, self._bundle, self._scoring)
        call.add_done_callback(self._tell)

    def _tell(self, call: Future[None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._collect, call)

    def _collect(self, call: Future[None]) -> None:
        if call is not self._call:
            return
        done, self._scoring, self._call = self._scoring, [], None
        error = call.exception()
        if error is not None:
            for group in done:
                group.fail(500, f"the gateway failed: {type(error).__name__}")
        self._rows -= sum([group.rows for group in done])
        self._begin()
        if self._closing and not self.busy:
            self._end()
        self._ended(done)

    def _look_at(self, groups: Sequence[RowGroup]) -> None:
        late = [group for group in groups if group.served and group.scores is None and group.error is None]
        if late:
            self._overdue(late)


def _score(bundle: LoadedBundle, groups: Sequence[RowGroup]) -> None:
    with np.errstate(over="ignore"):
        score(bundle, groups)
