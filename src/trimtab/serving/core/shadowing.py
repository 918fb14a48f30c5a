"""Scores rows with the bundles that did not answer them, for comparison.

After the answers have left: some rows at a time on the event loop when all bundles are quick, else in a thread. A slow
or failing challenger or shadow neither delays nor fails an answer: rows that it cannot keep up with are not scored, and
are counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import numpy as np

from trimtab.serving.core.in_flight import InFlightRequest, RowGroup, take_rows
from trimtab.serving.core.journal import Journal
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.scoring import score
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.thread_batcher import ThreadBatcher

GATHER_S, ASIDE_GATHER_S = 0.005, 0.02
"""How long rows wait: those of many batches then share one call and one append; longer where a call wakes a process."""
BATCH_ROWS, QUICK_ROWS = 256, 48
"""Rows of one call in the thread, and on the loop, where answers wait meanwhile."""
PATIENCE_NS = 20_000_000
"""A bundle that once takes longer on the event loop is scored in the thread from then on."""
MOST_WAITING_ROWS = 16_384
"""Beyond these, rows are dropped rather than held in memory."""
LAST_S = 4.0
"""Seconds that a worker that ends spends on comparisons; its supervisor kills it when it takes much longer."""

logger = logging.getLogger(__name__)


class ShadowScoring:
    """Has rows scored by the variants that did not answer them. Lives on one event loop."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self._waiting: list[RowGroup] = []
        self._rows = 0
        self._thread = ThreadBatcher("comparison", take=self._take, run=_score, ended=self._ended)
        self._begun_ns: int | None = None
        """Start of the last batch, if it was scored on the event loop."""
        self._slow: set[str] = set()
        """Bundles that were quick when they were loaded, and are not on real rows."""

    def note(self, request: InFlightRequest) -> None:
        """Compare the rows of an answered request, later."""
        failure = request.outcome.failure
        if failure is not None and failure[0] != 500:
            return  # the client's fault, or no answer was logged that could be compared
        groups = request.comparison_groups()
        if not groups:
            return
        rows = sum([group.rows for group in groups])
        if self._rows + rows > MOST_WAITING_ROWS:
            self._metrics.counts.comparison_dropped += rows
            return
        self._waiting += groups
        self._rows += rows
        if not self._thread.pending:
            self._begin_later()

    def flush(self) -> None:
        """Score and log what waits, now. What takes longer than LAST_S is dropped."""
        deadline = time.monotonic() + LAST_S
        while self._waiting or self._thread.busy:
            self._thread.begin()
            self._thread.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Let the thread end."""
        self._thread.close()

    def _begin_later(self) -> None:
        if self._thread.loop is None:
            self._thread.loop = asyncio.get_running_loop()
        aside = any(group.variant.bundle.aside for group in self._waiting)
        self._thread.later(ASIDE_GATHER_S if aside else GATHER_S)

    def _take(self) -> tuple[list[RowGroup], bool] | None:
        if not self._waiting:
            return None
        bundles = {group.variant.bundle for group in self._waiting}
        quick = all(bundle.quick and bundle.id not in self._slow for bundle in bundles)
        shared = all(bundle.scorer.in_process for bundle in bundles)
        taken, self._waiting = take_rows(self._waiting, QUICK_ROWS if quick or not shared else BATCH_ROWS)
        self._rows -= sum([group.rows for group in taken])
        self._begun_ns = time.perf_counter_ns() if quick else None
        return taken, quick

    def _ended(self, groups: list[RowGroup], error: BaseException | None) -> None:
        if self._begun_ns is not None and time.perf_counter_ns() - self._begun_ns > PATIENCE_NS:
            self._slow |= {group.variant.bundle.id for group in groups}
        if error is None:
            self._journal.write([group for group in groups if not group.not_taken], ())
        elif isinstance(error, TimeoutError):
            self._drop(groups)
        else:  # comparisons never harm the answers
            logger.error("the comparison of %d requests was lost", len(groups), exc_info=error)
        if self._waiting and self._thread.loop is not None:
            if self._rows >= QUICK_ROWS:
                self._thread.soon()  # behind the answers that are ready to be sent
            else:
                self._begin_later()

    def _drop(self, groups: Sequence[RowGroup]) -> None:
        dropped = sum([group.rows for group in (*groups, *self._waiting)])
        logger.warning("%d rows were not compared before the end", dropped)
        self._metrics.counts.comparison_dropped += dropped
        self._waiting, self._rows = [], 0


def _score(groups: Sequence[RowGroup]) -> None:
    by_bundle: dict[LoadedBundle, list[RowGroup]] = {}
    for group in groups:
        by_bundle.setdefault(group.variant.bundle, []).append(group)
    for bundle, own in by_bundle.items():
        start = time.perf_counter_ns()
        with np.errstate(over="ignore"):
            score(bundle, own)
        took_us = (time.perf_counter_ns() - start) // 1000
        for group in own:
            group.timed(took_us)
        errors = [group.error for group in own if group.error and not group.not_taken]
        if errors:
            logger.warning("bundle %s failed in %d comparisons: %s", bundle.id, len(errors), errors[0])
