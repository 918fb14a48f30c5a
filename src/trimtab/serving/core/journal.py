"""Writes row groups to the prediction log, and answers requests once their rows are safe.

A group commit: the rows of a batch are one append; while the disk flushes one group, the next one gathers. With
durability "interval" answers leave after the append and the flush follows within the interval.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trimtab.clock import Clock, to_micros
from trimtab.errors import StoreError
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup, take_rows
from trimtab.serving.core.log_rows import log_columns
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.orders import Gap
from trimtab.serving.requests import Refused
from trimtab.serving.thread_batcher import ThreadBatcher
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

APPEND_ROWS = 4096
"""Rows of a long request that are appended at once, so that short requests are not held up."""
INLINE_NS = 1_000_000
"""A disk that flushes quicker than this is flushed on the event loop: waking a thread would cost more."""
CPU_EVERY_NS = 100_000_000
"""How often the processor time of turns is read."""
SMOOTHED_OVER = 8
"""Flushes over which their duration is averaged."""

logger = logging.getLogger(__name__)

Answer = Callable[[Sequence[InFlightRequest]], None]


class Flush(NamedTuple):
    """What one flush of the disk makes safe."""

    requests: list[InFlightRequest]
    labels: list[asyncio.Future[None]]
    """Of labels and of turns, whose senders wait."""
    rows: int
    """Served rows that were appended since the flush before."""
    since_ns: int
    """When the oldest of them was appended."""


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
        self._acknowledges = options.durability == "acknowledged"
        self._thread = ThreadBatcher("flush", take=self._take, run=self._sync, ended=self._flushed)
        self._waiting: list[InFlightRequest] = []
        self._labels: list[asyncio.Future[None]] = []
        self._unsafe_rows = 0
        self._dirty_since_ns: int | None = None
        self._unlogged: list[tuple[Sequence[RowGroup], int | None]] = []
        """Row groups of abandoned requests that are being logged, and when that began."""
        self._took_ns = 0
        self._cpu_ns = time.process_time_ns()
        self._shared_ns, self._shared_rows, self._share_us = time.perf_counter_ns(), 0, 0
        """Of rows that others have made: since when they share processor time, how many they are, and what one gets."""
        self._gap: Gap | None = None
        self._refused = False
        """Whether the last append failed."""
        self.on_gap: Callable[[Gap], object] = lambda gap: None
        """Called with a gap of the log when it has ended."""

    def live_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush by this event loop from now on."""
        self._thread.loop = loop

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
        elif self._acknowledges and finished:
            self._waiting += finished
            self._thread.soon()
        else:
            self._answer(finished)
            self._thread.later(self._options.flush_s)

    async def write_long(self, request: InFlightRequest, groups: Sequence[RowGroup]) -> None:
        """Append the rows of a long request in pieces, other batches in between; answer it when all are safe.

        Once it has begun it appends all rows, also when the task of the client is cancelled meanwhile.
        """
        rest, logged_at = groups, to_micros(self._clock.now())
        while True:
            piece, rest = take_rows(rest, APPEND_ROWS)
            if not rest:
                break
            self.write(piece, (), logged_at=logged_at)
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.write_unwanted(rest, logged_at)
                raise
        self.write(piece, [request], logged_at=logged_at)

    def write_unwanted(self, groups: Sequence[RowGroup], logged_at: int | None = None) -> None:
        """Append rows that no client waits for, in pieces with other batches in between."""
        piece, rest = take_rows(groups, APPEND_ROWS)
        self.write(piece, (), logged_at=logged_at)
        if rest:
            self._unlogged.append((rest, logged_at))
            if self._thread.loop is not None:  # one call for each entry: several requests may be abandoned together
                self._thread.loop.call_soon(self._write_next)

    async def rows(self, append: Callable[[int], object], served: int, *, answered: bool) -> None:
        """Append rows that others have made; return when they are as safe as the policy asks.

        Args:
            append: writes them; gets their share of the processor time, in microseconds.
            served: how many of them are answers.
            answered: their clients have them already, so that nothing waits for the disk.

        Raises:
            Refused: they are not in the log, and the policy does not let unlogged answers go.
        """
        loop = self._thread.loop = self._thread.loop or asyncio.get_running_loop()
        try:
            append(self._cpu_share(served))
        except Exception as error:  # of any backend
            self._refused = True
            refuses = self._options.when_full == "refuse" and not answered
            self._note_gap(0 if refuses else served, error)
            if refuses:
                raise Refused(503, f"the answer could not be logged, so it is not given: {error}") from error
            return
        self._refused = False
        self._dirty_since_ns = self._dirty_since_ns or time.perf_counter_ns()
        self._unsafe_rows += served
        if answered or not self._acknowledges:
            self._thread.later(self._options.flush_s)
            return
        safe: asyncio.Future[None] = loop.create_future()
        self._labels.append(safe)
        self._thread.soon()
        try:
            await safe
        except StoreError as error:
            if self._options.when_full == "refuse":
                raise Refused(503, f"the answer could not be made safe: {error}") from error

    def _cpu_share(self, rows: int) -> int:
        """Return the processor time of such rows in microseconds: of one row on average, over CPU_EVERY_NS or longer.

        Some systems take a tenth of a millisecond to say how much processor time a process has used.
        """
        now = time.perf_counter_ns()
        self._shared_rows += rows
        if now - self._shared_ns >= CPU_EVERY_NS and self._shared_rows:
            cpu_ns = time.process_time_ns()
            self._share_us = max(0, cpu_ns - self._cpu_ns) // (1000 * self._shared_rows)
            self._cpu_ns, self._shared_ns, self._shared_rows = cpu_ns, now, 0
        return self._share_us * rows

    async def labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append labels; return when they are as safe as the policy asks. Raises what the log raises."""
        loop = self._thread.loop = self._thread.loop or asyncio.get_running_loop()
        self._predictions.append_labels(columns)
        self._dirty_since_ns = self._dirty_since_ns or time.perf_counter_ns()
        if not self._acknowledges:
            self._thread.later(self._options.flush_s)
            return
        safe: asyncio.Future[None] = loop.create_future()
        self._labels.append(safe)
        self._thread.soon()
        await safe

    def flush(self) -> None:
        """Append what is left of abandoned requests, flush the disk now, and answer what waited for it."""
        while self._unlogged:
            self._write_next()
        self._thread.wait()
        while self._is_dirty:
            self._thread.begin()
            self._thread.wait()

    def close(self) -> None:
        """Let the thread end, and report a gap that is still open."""
        self._end_gap()
        self._thread.close(wait=True)

    def _write_next(self) -> None:
        if self._unlogged:
            (groups, logged_at), *self._unlogged = self._unlogged
            self.write_unwanted(groups, logged_at)

    def _append(self, groups: Sequence[RowGroup], logged_at: int | None) -> bool:
        """Append the rows of groups; return True if the log took them."""
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
        except Exception as error:  # of any backend: these rows are not logged
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
            for group in groups:
                group.request.outcome.fail(503, f"the prediction could not be logged, so it is not given: {error}")
                group.replaced()
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

    @property
    def _is_dirty(self) -> bool:
        return self._dirty_since_ns is not None or bool(self._waiting) or bool(self._labels)

    def _take(self) -> tuple[Flush, bool] | None:
        if not self._is_dirty:
            return None
        taken = Flush(self._waiting, self._labels, self._unsafe_rows, self._dirty_since_ns or time.perf_counter_ns())
        self._waiting, self._labels, self._unsafe_rows, self._dirty_since_ns = [], [], 0, None
        return taken, self._took_ns <= INLINE_NS

    def _sync(self, flush: Flush) -> None:
        start = time.perf_counter_ns()
        self._predictions.sync()
        self._took_ns += (time.perf_counter_ns() - start - self._took_ns) // SMOOTHED_OVER

    def _flushed(self, flush: Flush, error: BaseException | None) -> None:
        if error is None:
            self._metrics.flushed((time.perf_counter_ns() - flush.since_ns) / 1e9)
            if not self._refused:
                self._end_gap()
        else:
            self._note_unsafe(flush, error)
        for safe in flush.labels:
            if not safe.done():
                safe.set_result(None) if error is None else safe.set_exception(error)
        if self._waiting or self._labels:
            self._thread.soon()
        elif self._dirty_since_ns is not None:
            self._thread.later(self._options.flush_s)
        self._answer(flush.requests)

    def _note_unsafe(self, flush: Flush, error: BaseException) -> None:
        """Note rows that may not be on the disk; where the policy says so their requests fail."""
        answered = flush.rows
        if self._options.when_full == "refuse":
            answered -= sum([request.rows for request in flush.requests if request.outcome.failure is None])
            for request in flush.requests:
                request.outcome.fail(503, f"the prediction could not be made safe: {error}")
        self._note_gap(max(0, answered), error)
