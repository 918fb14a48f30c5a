"""Writes groups to the prediction log and says when their requests may be answered. Called by scheduler and comparison.

A group commit: the rows of a batch are one append; while the disk flushes one group, the next one gathers. With
durability "interval" answers leave after the append and the flush follows within the interval.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trimtab.clock import Clock, to_micros
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup
from trimtab.serving.core.log_rows import log_columns
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.orders import Gap
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

INLINE_NS = 1_000_000
"""A disk that flushes quicker than this is flushed on the event loop: waking a thread would cost more."""
SMOOTHED_OVER = 8
"""Flushes over which their duration is averaged."""

logger = logging.getLogger(__name__)

Answer = Callable[[Sequence[InFlightRequest]], None]


class Journal:
    """The prediction log of a worker. Lives on one event loop; the disk is flushed by a thread."""

    def __init__(
        self, predictions: Predictions, clock: Clock, metrics: Metrics, options: WorkerOptions, answer: Answer
    ) -> None:
        self._predictions = predictions
        self._clock = clock
        self._metrics = metrics
        self._options = options
        self._answer = answer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self.loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[InFlightRequest] = []
        self._flushing: list[InFlightRequest] = []
        self._labels: list[asyncio.Future[None]] = []
        self._flushing_labels: list[asyncio.Future[None]] = []
        self._unsafe_rows = self._flushing_rows = 0
        """Served rows that were appended since the last flush began, and before."""
        self._call: Future[None] | None = None
        self._dirty_since_ns: int | None = None
        self._since_ns = 0
        self._armed = False
        self._due = False
        self._took_ns = 0
        self._cpu_ns = time.process_time_ns()
        self._gap: Gap | None = None
        self._refused = False
        """Whether the last append failed."""
        self.on_gap: Callable[[Gap], object] = lambda gap: None
        """Called with a gap of the log when it has ended."""

    def write(
        self, groups: Sequence[RowGroup], finished: Sequence[InFlightRequest], *, logged_at: int | None = None
    ) -> None:
        """Append the rows of groups; answer the finished requests as soon as their rows are safe.

        logged_at: microseconds since the epoch; one for all rows of a request. Left out: now.
        """
        if not finished and not groups:
            return
        if not self._append(groups, logged_at):
            self._answer(finished)
        elif self._options.durability == "acknowledged" and finished:
            self._waiting += finished
            self._flush_soon()
        else:
            self._answer(finished)
            self._flush_later()

    async def labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append labels; return when they are as safe as the policy asks. Raises what the log raises."""
        self.loop = self.loop or asyncio.get_running_loop()
        self._predictions.append_labels(columns)
        self._dirty_since_ns = self._dirty_since_ns or time.perf_counter_ns()
        if self._options.durability != "acknowledged":
            self._flush_later()
            return
        safe: asyncio.Future[None] = self.loop.create_future()
        self._labels.append(safe)
        self._flush_soon()
        await safe

    def flush(self) -> None:
        """Flush the disk now and answer what waited for it."""
        if self._call is not None:
            call = self._call
            call.exception()
            self._collect(call)
        while self._waiting or self._labels or self._dirty_since_ns is not None:
            self._begin()
            if self._call is None:
                break
            call = self._call
            call.exception()
            self._collect(call)

    def close(self) -> None:
        """Let the thread end, and tell of a gap that is still open."""
        self._end_gap()
        self._thread.shutdown(wait=True)

    def _append(self, groups: Sequence[RowGroup], logged_at: int | None) -> bool:
        """Append the rows of groups; tell whether the log took them."""
        if not groups:
            return True
        rows = sum([group.rows for group in groups])
        cpu_ns = time.process_time_ns()
        cpu_us = max(0, cpu_ns - self._cpu_ns) // (1000 * rows)
        self._cpu_ns = cpu_ns
        now = logged_at or to_micros(self._clock.now())
        taken = True
        try:
            self._predictions.append(log_columns(groups, logged_at=now, cpu_us=cpu_us))
        except Exception as error:  # a backend wrapper: whatever it is, these rows are not logged
            taken = False
            self._refused = True
            self._miss([group for group in groups if group.served], error)
        else:
            self._refused = False
            self._dirty_since_ns = self._dirty_since_ns or time.perf_counter_ns()
            self._unsafe_rows += sum([group.rows for group in groups if group.served])
        self._metrics.count_groups(groups)
        return taken

    def _miss(self, groups: Sequence[RowGroup], error: Exception) -> None:
        """Note rows that the log did not take; where the policy says so their requests fail."""
        if self._options.when_full == "refuse":
            self._note_gap(0, error)
            text = f"the prediction could not be logged, so it is not given: {error}"
            for group in groups:
                group.request.failure = group.request.failure or (503, text)
                group.served = False
        else:
            self._note_gap(sum([group.rows for group in groups]), error)

    def _note_gap(self, rows: int, error: BaseException) -> None:
        now = to_micros(self._clock.now())
        if self._gap is None:
            logger.error("the prediction log takes no rows (policy: %s): %s", self._options.when_full, error)
        gap = self._gap or Gap(0, now, now, str(error))
        self._gap = Gap(gap.rows + rows, gap.start, now, gap.reason)
        self._metrics.counts.gap_rows += rows

    def _end_gap(self) -> None:
        if self._gap is not None:
            gap, self._gap = self._gap, None
            logger.warning("the prediction log takes rows again; %d were not logged", gap.rows)
            if gap.rows:
                self.on_gap(gap)

    def _flush_soon(self) -> None:
        """Flush when all that became ready together has been written."""
        if self._call is None and not self._due and self.loop is not None and not self.loop.is_closed():
            self._due = True
            self.loop.call_soon(self._begin)

    def _flush_later(self) -> None:
        if self._armed or self._call is not None:
            return
        if self.loop is not None and not self.loop.is_closed():
            self._armed = True
            self.loop.call_later(self._options.flush_s, self._begin)

    def _begin(self) -> None:
        self._armed = self._due = False
        if self._call is not None or (self._dirty_since_ns is None and not self._waiting and not self._labels):
            return
        self._flushing, self._waiting = self._waiting, []
        self._flushing_labels, self._labels = self._labels, []
        self._flushing_rows, self._unsafe_rows = self._unsafe_rows, 0
        self._since_ns, self._dirty_since_ns = self._dirty_since_ns or time.perf_counter_ns(), None
        if self._took_ns <= INLINE_NS:
            call = self._call = Future()
            _flush_now(call, self._sync)
            self._collect(call)
        else:
            call = self._call = self._thread.submit(self._sync)
            call.add_done_callback(self._tell)

    def _sync(self) -> None:
        start = time.perf_counter_ns()
        self._predictions.sync()
        self._took_ns += (time.perf_counter_ns() - start - self._took_ns) // SMOOTHED_OVER

    def _tell(self, call: Future[None]) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._collect, call)

    def _collect(self, call: Future[None]) -> None:
        if call is not self._call:
            return
        requests, self._flushing, self._call = self._flushing, [], None
        labels, self._flushing_labels = self._flushing_labels, []
        error = call.exception()
        if error is None:
            self._metrics.flushed((time.perf_counter_ns() - self._since_ns) / 1e9)
            if not self._refused:
                self._end_gap()
        else:
            answered = self._flushing_rows
            if self._options.when_full == "refuse":
                answered -= sum([request.rows for request in requests if request.failure is None])
                for request in requests:
                    request.failure = request.failure or (503, f"the prediction could not be made safe: {error}")
            self._note_gap(max(0, answered), error)
        for safe in labels:
            if not safe.done():
                safe.set_result(None) if error is None else safe.set_exception(error)
        if self._waiting or self._labels:
            self._flush_soon()
        elif self._dirty_since_ns is not None and self.loop is not None and not self.loop.is_closed():
            self._flush_later()
        self._answer(requests)


def _flush_now(call: Future[None], sync: Callable[[], None]) -> None:
    try:
        sync()
    except Exception as error:  # told like what a thread raises
        call.set_exception(error)
    else:
        call.set_result(None)
