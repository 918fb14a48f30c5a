"""One batch of the event loop: score together, log together, then answer. Called by gateway.

All requests that arrive in one batch are scored in one call a bundle and appended to the prediction log as
one record batch; only then is any of them answered, so an answer that a client has seen is in the log.
Bundles that are too slow for the loop score in threads of their own. Afterwards the other bundles that have a
role score the same rows for comparison.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.serving.core.fallback import Fallback
from trimtab.serving.core.in_flight import InFlightRequest, RowGroup, fair_share, take_rows
from trimtab.serving.core.journal import Journal
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.model_thread import ModelThread
from trimtab.serving.core.routing import Variant
from trimtab.serving.core.scoring import score
from trimtab.serving.core.shadowing import Comparison
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.requests import SHORT_ROWS, Refused
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

LONG = 2
"""How many requests of the largest size may be under way at once."""
BATCH_ROWS = SHORT_ROWS
"""Rows that one batch takes on; more wait for the next batch, so that short requests are not held up."""
APPEND_ROWS = 4096
"""Rows of a long request that are appended to the log at once, for the same reason."""
GATHER_S = 0.0002
"""Where answers wait for the disk, a batch with fewer requests than the one before is held back for so long: requests
that come meanwhile share its call of the model, its append and its flush. The loop sleeps, since one that polls wakes
for each of them. A single client is not held back."""
RETRY_AFTER_S = 1

logger = logging.getLogger(__name__)


class BatchScheduler:
    """Collects requests and settles them in batches. Lives on one event loop."""

    def __init__(self, predictions: Predictions, clock: Clock, metrics: Metrics, options: WorkerOptions) -> None:
        self.journal = Journal(predictions, clock, metrics, options, self._answer)
        self._clock = clock
        self._options = options
        self._metrics = metrics
        self._fallback = Fallback(options.fallbacks, metrics)
        self._comparison = Comparison(self.journal, metrics)
        self._waiting: list[InFlightRequest] = []
        self._rows = self._long_rows = 0
        self._unlogged: list[tuple[Sequence[RowGroup], int | None]] = []
        """Row groups of abandoned requests that are being logged, and when that began."""
        self._threads: dict[LoadedBundle, ModelThread] = {}
        self._closing: list[ModelThread] = []
        """Of bundles that serve no more, with what they had taken on."""
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

    def reserve(self, rows: int) -> None:
        """Count rows of a short request as waiting. Raises Refused (503) when too many wait already."""
        if self._rows >= self._options.max_waiting_rows:
            raise self._shed(self._rows)
        self._rows += rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def reserve_long(self, rows: int) -> None:
        """Count the rows of a long request, which waits with a few of them at a time. Raises Refused (503).

        They are counted apart, so that short requests are taken meanwhile. LONG of the longest may be under way.
        """
        if self._long_rows + rows > LONG * max(self._options.max_rows, self._options.max_waiting_rows):
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

    def release(self, rows: int) -> None:
        """Count rows as waiting no more."""
        self._rows -= rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def submit(self, request: InFlightRequest, *, reserved: bool = False) -> asyncio.Future[None]:
        """Take a request on; the future is done when it is scored and logged, or has failed.

        reserved: the caller has reserved its rows, and releases them. Raises Refused (503).
        """
        if not reserved:
            self.reserve(request.rows)
            request.reserved_rows = request.rows
        loop = self._loop
        if loop is None:
            loop = self._loop = self.journal.loop = asyncio.get_running_loop()
        request.done = loop.create_future()
        self._waiting.append(request)
        if len(self._waiting) == 1:
            loop.call_soon(self._gather if self._gathers and self._previous_batch_size > 1 else self._run_batch)
        return request.done

    async def log(self, request: InFlightRequest) -> None:
        """Log the rows of all chunks of a request, which are scored; return when it may be answered.

        All of them, however many: once it has begun, neither a timeout nor a client that leaves leaves some out.
        """
        assert self._loop is not None  # its chunks came through submit
        request.done = self._loop.create_future()
        groups = [group for chunk in request.chunks for group in chunk.held]
        for chunk in request.chunks:
            chunk.held = ()
        _count_once(groups)
        rest, logged_at = _settled(request, groups), to_micros(self._clock.now())
        while True:
            piece, rest = take_rows(rest, APPEND_ROWS)
            if not rest:
                break
            self.journal.write(piece, (), logged_at=logged_at)
            try:
                await asyncio.sleep(0)  # others' batches
            except asyncio.CancelledError:
                self._log_on(rest, logged_at)
                raise
        self.journal.write(piece, [request], logged_at=logged_at)
        await request.done

    def abandon(self, request: InFlightRequest) -> None:
        """Give a request up whose client is gone: log what is scored of it as not served, drop the rest.

        Rows that were handed to the log as served by now stay so.
        """
        if request.written or request.abandoned:
            return
        scored: list[RowGroup] = []
        for piece in (request, *request.chunks):
            piece.abandoned = piece.answered = True
            scored += piece.held
            piece.held = ()
        _count_once(scored)
        for group in scored:
            group.mark_late()
        self.release(request.reserved_rows)
        self._log_on([group for group in scored if group.status != 400])

    def _log_on(self, groups: Sequence[RowGroup], logged_at: int | None = None) -> None:
        """Log groups that nobody waits for, in pieces with others' batches in between."""
        piece, rest = take_rows(groups, APPEND_ROWS)
        self.journal.write(piece, (), logged_at=logged_at)
        if rest:
            self._unlogged.append((rest, logged_at))
            if self._loop is not None:  # one call for each entry: several requests may be abandoned together
                self._loop.call_soon(self._log_next)

    def _log_next(self) -> None:
        if self._unlogged:
            (groups, logged_at), *self._unlogged = self._unlogged
            self._log_on(groups, logged_at)

    def keep(self, bundles: Iterable[LoadedBundle]) -> None:
        """Forget the threads of bundles that do not serve any more."""
        serving = set(bundles)
        for bundle in [bundle for bundle in self._threads if bundle not in serving]:
            thread = self._threads.pop(bundle)
            thread.close()
            self._closing = [other for other in self._closing if other.busy] + [thread]

    def flush(self) -> None:
        """Settle everything that waits, comparisons included. For the end, and for tests."""
        while self._waiting or any(thread.busy for thread in self._all_threads()):
            self._settle(self._take())
            for thread in self._all_threads():
                thread.wait(self._options.drain_s)
        while self._unlogged:
            self._log_next()
        self.journal.flush()
        self._comparison.flush()
        self.journal.flush()

    def close(self) -> None:
        """Settle everything and stop the threads."""
        self.flush()
        self.keep(())
        self._comparison.close()
        self.journal.close()

    def _all_threads(self) -> list[ModelThread]:
        return [*self._threads.values(), *self._closing]

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
        return [request for request in requests if not request.unwanted]

    def _settle(self, requests: Sequence[InFlightRequest]) -> None:
        groups: list[RowGroup] = []
        for request in requests:
            own = request.groups()
            request.pending = len(own)
            groups += own
        self._within(groups, lambda: self._score(groups))

    def _within(self, groups: Sequence[RowGroup], settle: Callable[[], None]) -> None:
        """Settle groups; the border of the loop: whatever happens, no client waits for ever."""
        try:
            settle()
        except Exception as error:  # a fault of the gateway itself
            logger.exception("%d groups of requests failed", len(groups))
            requests = list({id(group.request): group.request for group in groups}.values())
            for request in requests:
                request.failure = request.failure or (500, f"the gateway failed: {type(error).__name__}")
            self._answer(requests)

    def _score(self, groups: Sequence[RowGroup]) -> None:
        """Score groups, now or in threads; what failed goes on to its fallback, what is done to the log."""
        done: list[RowGroup] = []
        while groups:
            inline: dict[LoadedBundle, list[RowGroup]] = {}
            slow: dict[LoadedBundle, list[RowGroup]] = {}
            for group in groups:
                bundle = group.variant.bundle
                (inline if bundle.inline else slow).setdefault(bundle, []).append(group)
            scored: list[RowGroup] = []
            for bundle, own in slow.items():
                if not self._thread_of(bundle).put(own):
                    for group in own:
                        group.fail(503, f"model '{bundle.spec.model}' version {bundle.version} cannot keep up")
                    scored += own
            for bundle, own in inline.items():
                score(bundle, own)
                now = time.perf_counter_ns()
                for group in own:
                    group.settled(now)
                scored += own
            done += scored
            groups = [then for group in scored if group.may_fall_back and (then := self._instead(group, done))]
        if done:
            self._conclude(done)

    def _instead(self, failed: RowGroup, done: list[RowGroup]) -> RowGroup | None:
        """Return the group that answers for a failed one, when it is still to be scored."""
        then = None if failed.request.unwanted else self._fallback.instead_of(failed)
        if then is None:
            return None
        self._metrics.fall_back(failed.request.table.model, "slow" if failed.overdue else "error", then.rows)
        if then.scores is None:
            return then
        then.settled(time.perf_counter_ns())
        done.append(then)
        return None

    def _conclude(self, done: Sequence[RowGroup]) -> None:
        """Log requests when their last group is settled, to be answered when the log says so."""
        finished: list[InFlightRequest] = []
        logged: list[RowGroup] = []
        for group in done:
            request = group.request
            if group.served and request.unwanted:
                request.abandoned = True
                group.mark_late()
            if not group.served:
                if group.status != 400:
                    logged.append(group)
                continue
            if group.error is not None:
                request.failure = request.failure or (group.status, group.error)
            if group.scores is not None:
                group.put()
            request.pending -= 1
            if request.pending or request.is_chunk:
                request.held = [*request.held, group]
                if not request.pending:
                    self._wake(request)
                continue
            finished.append(request)
            logged += _settled(request, [*request.held, group])
        self.journal.write(logged, finished)

    def _answer(self, requests: Sequence[InFlightRequest]) -> None:
        """Wake the requests; called by the journal when their rows are as safe as the policy asks."""
        for request in requests:
            if request.answered:
                continue
            self.release(request.reserved_rows)
            self._wake(request)
            if not request.is_chunk and (
                len(request.table.variants) > 1 or request.variants[0] is not request.table.champion
            ):
                for piece in request.chunks or (request,):
                    if piece.answered:
                        self._comparison.note(piece)

    def _wake(self, request: InFlightRequest) -> None:
        request.answered = True
        if request.done is not None and not request.done.done():
            request.done.set_result(None)

    def _thread_of(self, bundle: LoadedBundle) -> ModelThread:
        found = self._threads.get(bundle)
        if found is None:
            assert self._loop is not None  # requests come through submit
            limit = self._options.fallbacks.slower_than_s
            most = max(BATCH_ROWS, self._options.max_waiting_rows // 2)  # the others' models keep their place
            found = self._threads[bundle] = ModelThread(bundle, self._loop, most, self._ended, self._overdue, limit)
        return found

    def _ended(self, groups: Sequence[RowGroup]) -> None:
        """Take what a thread has scored. What came too late was answered by others: it is logged as a comparison."""
        self._within(groups, lambda: self._take_scored(groups))

    def _take_scored(self, groups: Sequence[RowGroup]) -> None:
        now = time.perf_counter_ns()
        for group in groups:
            group.settled(now)
        done = [group for group in groups if group.served]
        late = [group for group in groups if not group.served and group.status != 400]
        again = [then for group in done if group.may_fall_back and (then := self._instead(group, done))]
        self._conclude(done)
        self._score(again)
        self.journal.write(late, ())

    def _overdue(self, groups: Sequence[RowGroup]) -> None:
        """Let others answer for groups that take too long; those without a fallback go on waiting."""
        self._within(groups, lambda: self._replace(groups))

    def _replace(self, groups: Sequence[RowGroup]) -> None:
        done: list[RowGroup] = []
        again = []
        for group in groups:
            group.overdue = True
            then = self._instead(group, done)
            if then is not None:
                again.append(then)
        self._conclude(done)
        self._score(again)


def _count_once(groups: Sequence[RowGroup]) -> None:
    """Let the groups of one request count as one request a variant, which took as long as the last of them."""
    counted: dict[Variant, RowGroup] = {}
    for group in sorted(groups, key=lambda group: group.error is None):
        counted.setdefault(group.variant, group)
    took_us = max([group.latency_us for group in groups], default=0)
    for group in groups:
        group.latency_us = took_us
        group.is_request = counted[group.variant] is group


def _settled(request: InFlightRequest, groups: Sequence[RowGroup]) -> list[RowGroup]:
    """Return the groups of a request that is scored as they are logged: a request that fails has no served answer."""
    request.written, request.held = True, ()
    if request.failure is not None:
        for group in groups:
            if group.error is None:
                group.served = False
    return [group for group in groups if group.status != 400]
