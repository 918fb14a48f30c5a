"""One turn of the event loop: score together, log together, then answer. Called by gateway.

All requests that arrive in one turn are scored in one call a bundle and appended to the prediction log as
one record batch; only then is any of them answered, so an answer that a client has seen is in the log.
Some milliseconds after the answers have been sent, the other bundles that have a role score the same rows
for comparison.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from trimtab.clock import Clock, to_micros
from trimtab.serving.metrics import Metrics
from trimtab.serving.rows import log_columns
from trimtab.serving.runtime import LoadedBundle
from trimtab.serving.scoring import score
from trimtab.serving.work import Part, Work
from trimtab.stores.predictions import Predictions

TURN_ROWS = 1024
"""Rows that one turn takes on; more wait for the next turn, so that short requests are not held up."""

BESIDE_S = 0.005
"""How long rows wait to be scored for comparison: those of many turns then share one call and one append."""

logger = logging.getLogger(__name__)


class Desk:
    """Collects works and settles them in turns. Lives on one event loop."""

    def __init__(self, predictions: Predictions, clock: Clock, metrics: Metrics) -> None:
        self._predictions = predictions
        self._clock = clock
        self._metrics = metrics
        self._waiting: list[Work] = []
        self._beside: list[Part] = []
        self._beside_rows = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now = 0
        self._cpu_ns = time.thread_time_ns()

    def now(self) -> int:
        """Return the time in microseconds since the epoch: one for all requests of a turn."""
        if not self._waiting:
            self._now = to_micros(self._clock.now())
        return self._now

    def submit(self, work: Work) -> asyncio.Future[None]:
        """Take a work on; the future is done when it is scored and logged, or has failed."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        work.done = loop.create_future()
        self._waiting.append(work)
        if len(self._waiting) == 1:
            loop.call_soon(self._turn)
        return work.done

    def flush(self) -> None:
        """Settle everything that waits, comparisons included."""
        while self._waiting or self._beside:
            self._settle(self._take())
            self._score_beside()

    def _turn(self) -> None:
        works = self._take()
        if not works:
            return
        self._settle(works)
        assert self._loop is not None
        if self._waiting:
            self._loop.call_soon(self._turn)

    def _take(self) -> list[Work]:
        works, rows, taken = self._waiting, 0, 0
        for work in works:
            if taken and rows + work.rows > TURN_ROWS:
                break
            rows += work.rows
            taken += 1
        self._waiting = works[taken:]
        return works[:taken]

    def _settle(self, works: Sequence[Work]) -> None:
        try:
            self._conclude(works, self._score(works))
        except Exception as error:  # the border of the loop: a client must never wait for ever
            logger.exception("a turn of %d requests failed", len(works))
            for work in works:
                work.failure = (500, f"the gateway failed: {type(error).__name__}")
        for work in works:
            if work.done is not None and not work.done.done():
                work.done.set_result(None)
            if len(work.table.lanes) > 1 or work.lanes[0] is not work.table.champion:
                self._note_beside(work)

    def _note_beside(self, work: Work) -> None:
        if work.failure is not None and work.failure[0] != 500:
            return  # the client's fault, or nothing that could be compared was logged
        parts = work.parts_beside()
        if not parts:
            return
        if not self._beside and self._loop is not None:
            self._loop.call_later(BESIDE_S, self._score_beside)
        self._beside += parts
        self._beside_rows += sum([part.rows for part in parts])
        if self._beside_rows >= TURN_ROWS and self._loop is not None:
            self._loop.call_soon(self._score_beside)  # behind the tasks that send the answers

    def _score(self, works: Sequence[Work]) -> list[tuple[Part, int]]:
        parts: dict[LoadedBundle, list[Part]] = {}
        for work in works:
            for part in work.parts():
                parts.setdefault(part.lane.bundle, []).append(part)
        scored: list[tuple[Part, int]] = []
        for bundle, own in parts.items():
            score(bundle, own)
            now = time.perf_counter_ns()
            scored += [(part, (now - part.work.received_ns) // 1000) for part in own]
        return scored

    def _conclude(self, works: Sequence[Work], scored: Sequence[tuple[Part, int]]) -> None:
        for part, _ in scored:
            if part.error is not None and part.work.failure is None:
                part.work.failure = (part.status, part.error)
        logged = [(part, latency) for part, latency in scored if part.status != 400]
        try:
            self._log(logged, served=True)
        except Exception as error:  # a backend wrapper: whatever it is, these answers must not be given
            logger.exception("the prediction log refused %d requests", len(works))
            for work in works:
                work.failure = work.failure or (503, f"the prediction could not be logged, so it is not given: {error}")
        for part, _ in scored:
            if part.scores is not None:
                _put(part)

    def _log(self, scored: Sequence[tuple[Part, int]], *, served: bool) -> None:
        rows = sum([part.rows for part, _ in scored])
        cpu_ns = time.thread_time_ns()
        cpu_us = max(0, cpu_ns - self._cpu_ns) // (1000 * rows) if rows else 0
        self._cpu_ns = cpu_ns
        if rows:
            now = to_micros(self._clock.now())
            self._predictions.append(log_columns(scored, served=served, logged_at=now, cpu_us=cpu_us))
            self._metrics.count(scored, served=served)

    def _score_beside(self) -> None:
        beside, self._beside, self._beside_rows = self._beside, [], 0
        if not beside:
            return
        parts: dict[LoadedBundle, list[Part]] = {}
        for part in beside:
            parts.setdefault(part.lane.bundle, []).append(part)
        try:
            scored: list[tuple[Part, int]] = []
            for bundle, own in parts.items():
                start = time.perf_counter_ns()
                score(bundle, own)
                latency = (time.perf_counter_ns() - start) // 1000
                scored += [(part, latency) for part in own]
                errors = [part.error for part in own if part.error]
                if errors:
                    logger.warning("bundle %s failed beside %d answers: %s", bundle.id, len(errors), errors[0])
            self._log(scored, served=False)
        except Exception:  # comparisons never harm the answers
            logger.exception("the comparison of %d requests was lost", len(beside))


def _put(part: Part) -> None:
    """Put the scores of a part in their places among the rows of the work."""
    work, scores = part.work, part.scores or []
    if part.indices is None:
        work.scores = scores
        return
    if not work.scores:
        work.scores = [0.0] * work.rows
    for row, value in zip(part.indices, scores, strict=True):
        work.scores[row] = value
