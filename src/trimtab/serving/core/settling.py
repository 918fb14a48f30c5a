"""Takes row groups to their end: scored, else answered by a fallback, then logged, then answered.

Bundles that are too slow for the event loop score in threads of their own. After the answers the other bundles that
have a role score the same rows for comparison.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from trimtab.clock import Clock
from trimtab.serving.core.fallback import Fallback
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup
from trimtab.serving.core.journal import Journal
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.model_thread import ModelThread
from trimtab.serving.core.scoring import score
from trimtab.serving.core.shadowing import ShadowScoring
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.requests import SHORT_ROWS
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

logger = logging.getLogger(__name__)


class Settler:
    """Settles row groups. Lives on one event loop.

    release: gets the number of rows of a request that wait no more.
    """

    def __init__(
        self,
        predictions: Predictions,
        clock: Clock,
        metrics: Metrics,
        options: WorkerOptions,
        release: Callable[[int], None],
    ) -> None:
        self.journal = Journal(predictions, clock, metrics, options, self._answer)
        self._options = options
        self._metrics = metrics
        self._release = release
        self._fallback = Fallback(options.fallbacks, metrics)
        self._shadow_scoring = ShadowScoring(self.journal, metrics)
        self._threads: dict[LoadedBundle, ModelThread] = {}
        self._closing: list[ModelThread] = []
        """Of bundles that serve no more, until what they have taken on is scored."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def live_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take results of threads by this event loop from now on."""
        self._loop = loop
        self.journal.live_on(loop)

    def settle(self, groups: Sequence[RowGroup]) -> None:
        """Score, log and answer row groups; what scores in a thread is logged and answered later."""
        self._guarded(groups, self._score)

    @property
    def busy(self) -> bool:
        """Whether row groups are in threads."""
        return any(thread.busy for thread in self._all_threads())

    def wait(self) -> None:
        """Block until each thread has ended its call; calls that take longer than the worker may drain fail."""
        for thread in self._all_threads():
            thread.wait(self._options.drain_s)

    def flush(self) -> None:
        """Log everything that is settled, comparisons included."""
        self.journal.flush()
        self._shadow_scoring.flush()
        self.journal.flush()

    def keep(self, bundles: Iterable[LoadedBundle]) -> None:
        """Let the threads of all other bundles end, which serve no more."""
        serving = set(bundles)
        for bundle in [bundle for bundle in self._threads if bundle not in serving]:
            thread = self._threads.pop(bundle)
            thread.close()
            self._closing = [other for other in self._closing if other.busy] + [thread]

    def close(self) -> None:
        """Let all threads end."""
        self.keep(())
        self._shadow_scoring.close()
        self.journal.close()

    def _all_threads(self) -> list[ModelThread]:
        return [*self._threads.values(), *self._closing]

    def _guarded(self, groups: Sequence[RowGroup], step: Callable[[Sequence[RowGroup]], None]) -> None:
        """Take a step with row groups; a fault of the gateway fails their requests, so that all are answered."""
        try:
            step(groups)
        except Exception as error:
            logger.exception("%d row groups failed", len(groups))
            requests = list(dict.fromkeys(group.request for group in groups))
            for request in requests:
                request.outcome.fail(500, f"the gateway failed: {type(error).__name__}")
            self._answer(requests)

    def _score(self, groups: Sequence[RowGroup]) -> None:
        """Score groups until none is left: those that fail go on to their fallbacks."""
        done: list[RowGroup] = []
        while groups:
            by_bundle: dict[LoadedBundle, list[RowGroup]] = {}
            for group in groups:
                by_bundle.setdefault(group.variant.bundle, []).append(group)
            scored: list[RowGroup] = []
            for bundle in sorted(by_bundle, key=_is_inline):  # threads begin first
                scored += self._score_by(bundle, by_bundle[bundle])
            done += scored
            groups = self._fall_back(scored, done)
        if done:
            self._conclude(done)

    def _score_by(self, bundle: LoadedBundle, groups: list[RowGroup]) -> list[RowGroup]:
        """Score groups with one bundle, now or in its thread; return those that are settled."""
        if bundle.inline:
            score(bundle, groups)
            now = time.perf_counter_ns()
            for group in groups:
                group.settle(now)
            return groups
        if self._thread_of(bundle).put(groups):
            return []
        for group in groups:
            group.fail(503, f"model '{bundle.spec.model}' version {bundle.version} cannot keep up")
        return groups

    def _fall_back(self, groups: Sequence[RowGroup], done: list[RowGroup]) -> list[RowGroup]:
        """Return the groups that are to be scored instead of failed ones; add those that are settled to `done`."""
        found: list[RowGroup] = []
        for group in groups:
            if group.may_fall_back and (then := self._instead_of(group)):
                (found if then.scores is None else done).append(then)
        return found

    def _instead_of(self, failed: RowGroup) -> RowGroup | None:
        """Return the group that answers for a failed or overdue one; None without a fallback."""
        then = None if failed.request.outcome.unwanted else self._fallback.instead_of(failed)
        if then is None:
            return None
        self._metrics.fall_back(failed.request.table.model, "slow" if failed.overdue else "error", then.rows)
        if then.scores is not None:
            then.settle(time.perf_counter_ns())
        return then

    def _conclude(self, done: Sequence[RowGroup]) -> None:
        """Log requests whose last group is settled; the journal answers them."""
        finished: list[InFlightRequest] = []
        logged: list[RowGroup] = []
        for group in done:
            request, outcome = group.request, group.request.outcome
            if group.served and outcome.unwanted:
                outcome.abandon()
                group.mark_late()
            if not group.served:
                if group.status != 400:
                    logged.append(group)
            elif outcome.add(group):
                if request.is_chunk:
                    outcome.wake()
                else:
                    finished.append(request)
                    logged += outcome.to_log(outcome.scored_groups)
        self.journal.write(logged, finished)

    def _answer(self, requests: Sequence[InFlightRequest]) -> None:
        """Wake the tasks of requests, and compare their rows later."""
        for request in requests:
            outcome, table = request.outcome, request.table
            if outcome.answered:
                continue
            self._release(outcome.take_reserved())
            outcome.wake()
            if request.is_chunk or (len(table.variants) == 1 and request.answered_by[0] is table.champion):
                continue
            for piece in request.chunks or (request,):
                if piece.outcome.answered:
                    self._shadow_scoring.note(piece)

    def _thread_of(self, bundle: LoadedBundle) -> ModelThread:
        found = self._threads.get(bundle)
        if found is None:
            assert self._loop is not None  # requests come through submit
            limit = self._options.fallbacks.slower_than_s
            most = max(SHORT_ROWS, self._options.max_waiting_rows // 2)  # the others' models keep their place
            found = self._threads[bundle] = ModelThread(bundle, self._loop, most, self._ended, self._overdue, limit)
        return found

    def _ended(self, groups: Sequence[RowGroup]) -> None:
        self._guarded(groups, self._take_scored)

    def _take_scored(self, groups: Sequence[RowGroup]) -> None:
        """Take what a thread has scored. What a fallback has answered meanwhile is logged as a comparison."""
        now = time.perf_counter_ns()
        for group in groups:
            group.settle(now)
        done = [group for group in groups if group.served]
        late = [group for group in groups if not group.served and group.status != 400]
        again = self._fall_back(tuple(done), done)
        self._conclude(done)
        self._score(again)
        self.journal.write(late, ())

    def _overdue(self, groups: Sequence[RowGroup]) -> None:
        self._guarded(groups, self._replace)

    def _replace(self, groups: Sequence[RowGroup]) -> None:
        """Route row groups that exceed `fallback.slower_than` to the next fallback; without one they keep waiting."""
        done: list[RowGroup] = []
        again: list[RowGroup] = []
        for group in groups:
            group.mark_overdue()
            then = self._instead_of(group)
            if then is not None:
                (again if then.scores is None else done).append(then)
        self._conclude(done)
        self._score(again)


def _is_inline(bundle: LoadedBundle) -> bool:
    return bundle.inline
