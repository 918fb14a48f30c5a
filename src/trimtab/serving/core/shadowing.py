"""Scores rows with the bundles that did not answer them, for comparison. Called by scheduler.

After the answers have left: some rows at a time on the event loop when all bundles are quick, else in a thread of
its own. However slow or broken a challenger or a shadow is, it neither delays nor fails an answer. When it cannot keep
up, rows go unscored, and are counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trimtab.serving.core.in_flight import InFlightRequest, RowGroup, take_rows
from trimtab.serving.core.journal import Journal
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.scoring import score
from trimtab.serving.core.worker_metrics import Metrics

GATHER_S, ASIDE_GATHER_S = 0.005, 0.02
"""How long rows wait: those of many batches then share one call and one append; longer where a call wakes a process."""
BATCH_ROWS, QUICK_ROWS = 256, 48
"""Rows of one call in the thread, and on the loop, where answers wait meanwhile."""
PATIENCE_NS = 20_000_000
"""A bundle that holds up the loop for so long once is scored in the thread from then on."""
MOST_WAITING_ROWS = 16_384
"""Beyond these, rows are dropped rather than held in memory."""
LAST_S = 4.0
"""What a worker that ends spends on comparisons; somewhat longer, and its supervisor would kill it."""

logger = logging.getLogger(__name__)


class Comparison:
    """Rows that wait to be compared, and the thread that scores them. Lives on one event loop."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self._waiting: list[RowGroup] = []
        self._rows = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="comparison")
        self._call: Future[None] | None = None
        self._scoring: list[RowGroup] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._armed = False
        self._slow: set[str] = set()
        """Bundles that were quick when they were loaded, and are not on real rows."""

    def note(self, request: InFlightRequest) -> None:
        """Compare the rows of a request that was answered, later."""
        if request.failure is not None and request.failure[0] != 500:
            return  # the client's fault, or nothing that could be compared was logged
        groups = request.comparison_groups()
        if not groups:
            return
        rows = sum([group.rows for group in groups])
        if self._rows + rows > MOST_WAITING_ROWS:
            self._metrics.counts.comparison_dropped += rows
            return
        self._waiting += groups
        self._rows += rows
        if not self._armed and self._call is None:
            self._arm()

    def flush(self) -> None:
        """Score and log what waits, now. What takes longer than LAST_S is dropped, so that it holds up no end."""
        deadline = time.monotonic() + LAST_S
        while self._waiting or self._call is not None:
            if self._call is None:
                self._begin()
            if self._call is not None:
                call = self._call
                try:
                    call.exception(max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    self._drop()
                else:
                    self._collect(call)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)

    def _drop(self) -> None:
        dropped = sum([group.rows for group in (*self._scoring, *self._waiting)])
        logger.warning("%d rows were not compared before the end", dropped)
        self._metrics.counts.comparison_dropped += dropped
        self._scoring, self._waiting, self._rows, self._call = [], [], 0, None

    def _arm(self) -> None:
        loop = self._loop = self._loop or asyncio.get_running_loop()
        if not loop.is_closed():
            self._armed = True
            aside = any(group.variant.bundle.aside for group in self._waiting)
            loop.call_later(ASIDE_GATHER_S if aside else GATHER_S, self._begin)

    def _begin(self) -> None:
        self._armed = False
        if self._call is not None or not self._waiting:
            return
        bundles = {group.variant.bundle for group in self._waiting}
        quick = all(bundle.quick and bundle.id not in self._slow for bundle in bundles)
        shared = all(bundle.scorer.in_process for bundle in bundles)
        self._scoring, self._waiting = take_rows(self._waiting, QUICK_ROWS if quick or not shared else BATCH_ROWS)
        self._rows -= sum([group.rows for group in self._scoring])
        if quick:
            call = self._call = Future()
            start = time.perf_counter_ns()
            _score_now(call, self._scoring)
            if time.perf_counter_ns() - start > PATIENCE_NS:
                self._slow |= {bundle.id for bundle in bundles}
            self._collect(call)
        else:
            call = self._call = self._thread.submit(_score, self._scoring)
            call.add_done_callback(self._tell)

    def _tell(self, call: Future[None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._collect, call)

    def _collect(self, call: Future[None]) -> None:
        if call is not self._call:
            return
        done, self._scoring, self._call = self._scoring, [], None
        error = call.exception()
        if error is None:
            self._journal.write([group for group in done if not group.not_taken], ())
        else:  # comparisons never harm the answers
            logger.error("the comparison of %d requests was lost", len(done), exc_info=error)
        if self._waiting and self._loop is not None and not self._loop.is_closed():
            if self._rows >= QUICK_ROWS:
                self._armed = True
                self._loop.call_soon(self._begin)  # behind the answers that are ready to be sent
            else:
                self._arm()


def _score_now(call: Future[None], groups: Sequence[RowGroup]) -> None:
    try:
        _score(groups)
    except Exception as error:  # told like what a thread raises
        call.set_exception(error)
    else:
        call.set_result(None)


def _score(groups: Sequence[RowGroup]) -> None:
    by_bundle: dict[LoadedBundle, list[RowGroup]] = {}
    for group in groups:
        by_bundle.setdefault(group.variant.bundle, []).append(group)
    for bundle, own in by_bundle.items():
        start = time.perf_counter_ns()
        with np.errstate(over="ignore"):
            score(bundle, own)
        latency = (time.perf_counter_ns() - start) // 1000
        for group in own:
            group.latency_us = latency
        errors = [group.error for group in own if group.error and not group.not_taken]
        if errors:
            logger.warning("bundle %s failed beside %d answers: %s", bundle.id, len(errors), errors[0])
