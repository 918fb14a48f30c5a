"""Micro-batches on the event loop: all requests of one batch are scored together, logged together, then answered.

The requests that arrive during one pass of the event loop are one batch: one call for each bundle, and one append to
the prediction log. Only then is any of them answered, so an answer that a client has seen is in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup, fair_share
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import Variant
from trimtab.serving.core.settling import Settler
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.requests import SHORT_ROWS, Refused
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

BATCH_ROWS = SHORT_ROWS
"""Rows of one batch; more wait for the next one, so that short requests are not held up."""
GATHER_S = 0.0002
"""Where answers wait for the disk, a batch with fewer requests than the one before is held back for so long: requests
that come meanwhile share its call of the model, its append and its flush. The loop sleeps, since one that polls wakes
for each of them. A single client is not held back."""
LONG = 2
"""How many requests of the largest size may be under way at once."""
RETRY_AFTER_S = 1


class Admission:
    """Rows that wait. Those of long requests are counted apart, so that short requests are taken meanwhile."""

    def __init__(self, metrics: Metrics, *, most_rows: int, most_request_rows: int) -> None:
        self._metrics = metrics
        self._most_rows = most_rows
        self._most_long_rows = LONG * max(most_request_rows, most_rows)
        self._rows = self._long_rows = 0

    def reserve(self, rows: int) -> None:
        """Count rows of a short request as waiting. Raises Refused (503) when too many wait already."""
        if self._rows >= self._most_rows:
            raise self._shed(self._rows)
        self._rows += rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def release(self, rows: int) -> None:
        """Count rows of a short request as waiting no more."""
        self._rows -= rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def reserve_long(self, rows: int) -> None:
        """Count the rows of a long request as waiting. Raises Refused (503) when too many wait already."""
        if self._long_rows + rows > self._most_long_rows:
            raise self._shed(self._long_rows)
        self._long_rows += rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def release_long(self, rows: int) -> None:
        """Count the rows of a long request as waiting no more."""
        self._long_rows -= rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def _shed(self, rows: int) -> Refused:
        self._metrics.counts.shed += 1
        return Refused(503, f"{rows} rows wait already; try again later", retry_after=RETRY_AFTER_S)


class BatchScheduler:
    """Collects requests and settles them in batches. Lives on one event loop."""

    def __init__(self, predictions: Predictions, clock: Clock, metrics: Metrics, options: WorkerOptions) -> None:
        self.admission = Admission(metrics, most_rows=options.max_waiting_rows, most_request_rows=options.max_rows)
        self._settler = Settler(predictions, clock, metrics, options, self.admission.release)
        self.journal = self._settler.journal
        self._clock = clock
        self._waiting: list[InFlightRequest] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now = 0
        self._gathers = options.durability == "acknowledged"
        self._previous_batch_size = 0
        """Requests of the batch before."""

    def now(self) -> int:
        """Return the time in microseconds since the epoch: one for all requests of a batch."""
        if not self._waiting:
            self._now = to_micros(self._clock.now())
        return self._now

    def submit(self, request: InFlightRequest) -> asyncio.Future[None]:
        """Take a request on; the future is done when it is scored and logged, or has failed.

        The rows of a chunk are not reserved: those of its long request are. Raises Refused (503).
        """
        reserved_rows = 0 if request.is_chunk else request.rows
        if reserved_rows:
            self.admission.reserve(reserved_rows)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            self._settler.live_on(loop)
        done = request.outcome.submit(loop, reserved_rows)
        self._waiting.append(request)
        if len(self._waiting) == 1:
            loop.call_soon(self._gather if self._gathers and self._previous_batch_size > 1 else self._run_batch)
        return done

    async def log(self, request: InFlightRequest) -> None:
        """Log the rows of a long request whose chunks are scored; return when it may be answered."""
        assert self._loop is not None  # its chunks came through submit
        outcome = request.outcome
        outcome.join(request.chunks)
        done = outcome.submit(self._loop)
        groups = [group for chunk in request.chunks for group in chunk.outcome.take_scored()]
        _count_once(groups)
        await self.journal.write_long(request, outcome.to_log(groups))
        await done
        outcome.join_failures(request.chunks)

    def abandon(self, request: InFlightRequest) -> None:
        """Give up a request whose client has left: log what is scored as not served, drop the rest.

        Rows that were handed to the log as served by now stay so.
        """
        if request.outcome.logged:
            return
        scored: list[RowGroup] = []
        for piece in (request, *request.chunks):
            piece.outcome.abandon()
            scored += piece.outcome.take_scored()
        _count_once(scored)
        for group in scored:
            group.mark_late()
        self.admission.release(request.outcome.take_reserved())
        self.journal.write_unwanted([group for group in scored if group.status != 400])

    def keep(self, bundles: Iterable[LoadedBundle]) -> None:
        """Let the threads of all other bundles end, which serve no more."""
        self._settler.keep(bundles)

    def flush(self) -> None:
        """Settle everything that waits, comparisons included. For the end, and for tests."""
        while self._waiting or self._settler.busy:
            self._settle(self._take())
            self._settler.wait()
        self._settler.flush()

    def close(self) -> None:
        """Settle everything and stop the threads."""
        self.flush()
        self._settler.close()

    def _gather(self) -> None:
        if self._loop is not None and len(self._waiting) < self._previous_batch_size:
            SystemClock().sleep(GATHER_S)
            self._loop.call_soon(self._loop.call_soon, self._run_batch)  # behind those that came meanwhile
        else:
            self._run_batch()

    def _run_batch(self) -> None:
        requests = self._take()
        self._previous_batch_size = len(requests)
        if requests:
            self._settle(requests)
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._run_batch)

    def _take(self) -> list[InFlightRequest]:
        requests, self._waiting = fair_share(self._waiting, BATCH_ROWS)
        return [request for request in requests if not request.outcome.unwanted]

    def _settle(self, requests: Sequence[InFlightRequest]) -> None:
        groups: list[RowGroup] = []
        for request in requests:
            own = request.groups()
            request.outcome.expect(len(own))
            groups += own
        self._settler.settle(groups)


def _count_once(groups: Sequence[RowGroup]) -> None:
    """Let the groups of one request count as one request a variant, which took as long as the last of them."""
    counted: dict[Variant, RowGroup] = {}
    for group in sorted(groups, key=lambda group: group.error is None):
        counted.setdefault(group.variant, group)
    took_us = max([group.latency_us for group in groups], default=0)
    for group in groups:
        group.count(took_us, is_request=counted[group.variant] is group)
