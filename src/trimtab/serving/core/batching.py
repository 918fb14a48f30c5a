"""One turn of the event loop: score together, log together, then answer. Called by gateway.

All requests that arrive in one turn are scored in one call a bundle and appended to the prediction log as
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
from trimtab.serving.core.in_flight import Part, Work, fair_share, some
from trimtab.serving.core.journal import Journal
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import Lane
from trimtab.serving.core.scoring import score
from trimtab.serving.core.shadowing import Comparison
from trimtab.serving.core.thread_scoring import Runner
from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.requests import SHORT_ROWS, Refused
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.contract import Predictions

LONG = 2
"""How many requests of the largest size may be under way at once."""
TURN_ROWS = SHORT_ROWS
"""Rows that one turn takes on; more wait for the next turn, so that short requests are not held up."""
APPEND_ROWS = 4096
"""Rows of a long request that are appended to the log at once, for the same reason."""
GATHER_S = 0.0002
"""Where answers wait for the disk, a turn with fewer requests than the one before lets more come for so long: they then
share a call of the model, an append and a flush. The loop sleeps meanwhile, since one that polls wakes for each of
them. A lone client waits for nobody."""
RETRY_AFTER_S = 1

logger = logging.getLogger(__name__)


class Desk:
    """Collects works and settles them in turns. Lives on one event loop."""

    def __init__(self, predictions: Predictions, clock: Clock, metrics: Metrics, options: WorkerOptions) -> None:
        self.journal = Journal(predictions, clock, metrics, options, self._answer)
        self._clock = clock
        self._options = options
        self._metrics = metrics
        self._fallback = Fallback(options.fallbacks, metrics)
        self._comparison = Comparison(self.journal, metrics)
        self._waiting: list[Work] = []
        self._rows = self._long_rows = 0
        self._unlogged: list[tuple[Sequence[Part], int | None]] = []
        """Parts of abandoned requests that are being logged, and when that began."""
        self._runners: dict[LoadedBundle, Runner] = {}
        self._closing: list[Runner] = []
        """Of bundles that serve no more, with what they had taken on."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now = 0
        self._gathers = options.durability == "acknowledged"
        self._company = 0
        """Requests of the turn before."""

    def now(self) -> int:
        """Return the time in microseconds since the epoch: one for all requests of a turn."""
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
        self._metrics.shed += 1
        return Refused(503, f"{rows} rows wait already; try again later", retry_after=RETRY_AFTER_S)

    def release(self, rows: int) -> None:
        """Count rows as waiting no more."""
        self._rows -= rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def submit(self, work: Work, *, reserved: bool = False) -> asyncio.Future[None]:
        """Take a work on; the future is done when it is scored and logged, or has failed.

        reserved: the caller has reserved its rows, and releases them. Raises Refused (503).
        """
        if not reserved:
            self.reserve(work.rows)
            work.reserved_rows = work.rows
        loop = self._loop
        if loop is None:
            loop = self._loop = self.journal.loop = asyncio.get_running_loop()
        work.done = loop.create_future()
        self._waiting.append(work)
        if len(self._waiting) == 1:
            loop.call_soon(self._gather if self._gathers and self._company > 1 else self._turn)
        return work.done

    async def log(self, work: Work) -> None:
        """Log the rows of all chunks of a work, which are scored; return when it may be answered.

        All of them, however many: once it has begun, neither a timeout nor a client that leaves leaves some out.
        """
        assert self._loop is not None  # its chunks came through submit
        work.done = self._loop.create_future()
        parts = [part for chunk in work.chunks for part in chunk.held]
        for chunk in work.chunks:
            chunk.held = ()
        _count_once(parts)
        rest, logged_at = _settled(work, parts), to_micros(self._clock.now())
        while True:
            piece, rest = some(rest, APPEND_ROWS)
            if not rest:
                break
            self.journal.write(piece, (), logged_at=logged_at)
            try:
                await asyncio.sleep(0)  # others' turns
            except asyncio.CancelledError:
                self._log_on(rest, logged_at)
                raise
        self.journal.write(piece, [work], logged_at=logged_at)
        await work.done

    def abandon(self, work: Work) -> None:
        """Note that nobody waits for a work any more: what is scored of it is logged as not served, the rest dropped.

        Rows that were handed to the log as served by now stay so.
        """
        if work.written or work.abandoned:
            return
        scored: list[Part] = []
        for piece in (work, *work.chunks):
            piece.abandoned = piece.answered = True
            scored += piece.held
            piece.held = ()
        _count_once(scored)
        for part in scored:
            part.disown()
        self.release(work.reserved_rows)
        self._log_on([part for part in scored if part.status != 400])

    def _log_on(self, parts: Sequence[Part], logged_at: int | None = None) -> None:
        """Log parts that nobody waits for, in pieces with others' turns in between."""
        piece, rest = some(parts, APPEND_ROWS)
        self.journal.write(piece, (), logged_at=logged_at)
        if rest:
            self._unlogged.append((rest, logged_at))
            if self._loop is not None:  # one call for each entry: several requests may be abandoned together
                self._loop.call_soon(self._log_next)

    def _log_next(self) -> None:
        if self._unlogged:
            (parts, logged_at), *self._unlogged = self._unlogged
            self._log_on(parts, logged_at)

    def keep(self, bundles: Iterable[LoadedBundle]) -> None:
        """Forget the threads of bundles that do not serve any more."""
        serving = set(bundles)
        for bundle in [bundle for bundle in self._runners if bundle not in serving]:
            runner = self._runners.pop(bundle)
            runner.close()
            self._closing = [other for other in self._closing if other.busy] + [runner]

    def flush(self) -> None:
        """Settle everything that waits, comparisons included. For the end, and for tests."""
        while self._waiting or any(runner.busy for runner in self._all_runners()):
            self._settle(self._take())
            for runner in self._all_runners():
                runner.wait(self._options.drain_s)
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

    def _all_runners(self) -> list[Runner]:
        return [*self._runners.values(), *self._closing]

    def _gather(self) -> None:
        if self._loop is not None and len(self._waiting) < self._company:
            SystemClock().sleep(GATHER_S)
            self._loop.call_soon(self._loop.call_soon, self._turn)  # behind those that came meanwhile
        else:
            self._turn()

    def _turn(self) -> None:
        works = self._take()
        self._company = len(works)
        if works:
            self._settle(works)
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._turn)

    def _take(self) -> list[Work]:
        works, self._waiting = fair_share(self._waiting, TURN_ROWS)
        return [work for work in works if not work.unwanted]

    def _settle(self, works: Sequence[Work]) -> None:
        parts: list[Part] = []
        for work in works:
            own = work.parts()
            work.pending = len(own)
            parts += own
        self._within(parts, lambda: self._score(parts))

    def _within(self, parts: Sequence[Part], settle: Callable[[], None]) -> None:
        """Settle parts; the border of the loop: whatever happens, no client waits for ever."""
        try:
            settle()
        except Exception as error:  # a fault of the gateway itself
            logger.exception("%d parts of requests failed", len(parts))
            works = list({id(part.work): part.work for part in parts}.values())
            for work in works:
                work.failure = work.failure or (500, f"the gateway failed: {type(error).__name__}")
            self._answer(works)

    def _score(self, parts: Sequence[Part]) -> None:
        """Score parts, now or in threads; what failed goes on to its fallback, what is done to the log."""
        done: list[Part] = []
        while parts:
            inline: dict[LoadedBundle, list[Part]] = {}
            slow: dict[LoadedBundle, list[Part]] = {}
            for part in parts:
                bundle = part.lane.bundle
                (inline if bundle.inline else slow).setdefault(bundle, []).append(part)
            scored: list[Part] = []
            for bundle, own in slow.items():
                if not self._runner(bundle).put(own):
                    for part in own:
                        part.fail(503, f"model '{bundle.spec.model}' version {bundle.version} cannot keep up")
                    scored += own
            for bundle, own in inline.items():
                score(bundle, own)
                now = time.perf_counter_ns()
                for part in own:
                    part.settled(now)
                scored += own
            done += scored
            parts = [then for part in scored if part.may_fall_back and (then := self._instead(part, done))]
        if done:
            self._conclude(done)

    def _instead(self, failed: Part, done: list[Part]) -> Part | None:
        """Return the part that answers for a failed one, when it is still to be scored."""
        then = None if failed.work.unwanted else self._fallback.instead_of(failed)
        if then is None:
            return None
        self._metrics.fall_back(failed.work.table.model, "slow" if failed.overdue else "error", then.rows)
        if then.scores is None:
            return then
        then.settled(time.perf_counter_ns())
        done.append(then)
        return None

    def _conclude(self, done: Sequence[Part]) -> None:
        """Log works when their last part is settled, to be answered when the log says so."""
        finished: list[Work] = []
        logged: list[Part] = []
        for part in done:
            work = part.work
            if part.served and work.unwanted:
                work.abandoned = True
                part.disown()
            if not part.served:
                if part.status != 400:
                    logged.append(part)
                continue
            if part.error is not None:
                work.failure = work.failure or (part.status, part.error)
            if part.scores is not None:
                part.put()
            work.pending -= 1
            if work.pending or work.is_chunk:
                work.held = [*work.held, part]
                if not work.pending:
                    self._wake(work)
                continue
            finished.append(work)
            logged += _settled(work, [*work.held, part])
        self.journal.write(logged, finished)

    def _answer(self, works: Sequence[Work]) -> None:
        """Wake the requests; called by the journal when their rows are as safe as the policy asks."""
        for work in works:
            if work.answered:
                continue
            self.release(work.reserved_rows)
            self._wake(work)
            if not work.is_chunk and (len(work.table.lanes) > 1 or work.lanes[0] is not work.table.champion):
                for piece in work.chunks or (work,):
                    if piece.answered:
                        self._comparison.note(piece)

    def _wake(self, work: Work) -> None:
        work.answered = True
        if work.done is not None and not work.done.done():
            work.done.set_result(None)

    def _runner(self, bundle: LoadedBundle) -> Runner:
        found = self._runners.get(bundle)
        if found is None:
            assert self._loop is not None  # works come through submit
            limit = self._options.fallbacks.slower_than_s
            most = max(TURN_ROWS, self._options.max_waiting_rows // 2)  # the others' models keep their place
            found = self._runners[bundle] = Runner(bundle, self._loop, most, self._ended, self._overdue, limit)
        return found

    def _ended(self, parts: Sequence[Part]) -> None:
        """Take what a thread has scored. What came too late was answered by others: it is logged as a comparison."""
        self._within(parts, lambda: self._take_scored(parts))

    def _take_scored(self, parts: Sequence[Part]) -> None:
        now = time.perf_counter_ns()
        for part in parts:
            part.settled(now)
        done = [part for part in parts if part.served]
        late = [part for part in parts if not part.served and part.status != 400]
        again = [then for part in done if part.may_fall_back and (then := self._instead(part, done))]
        self._conclude(done)
        self._score(again)
        self.journal.write(late, ())

    def _overdue(self, parts: Sequence[Part]) -> None:
        """Let others answer for parts that take too long; those without a fallback go on waiting."""
        self._within(parts, lambda: self._replace(parts))

    def _replace(self, parts: Sequence[Part]) -> None:
        done: list[Part] = []
        again = []
        for part in parts:
            part.overdue = True
            then = self._instead(part, done)
            if then is not None:
                again.append(then)
        self._conclude(done)
        self._score(again)


def _count_once(parts: Sequence[Part]) -> None:
    """Let the parts of one request count as one request a lane, which took as long as the last of them."""
    counted: dict[Lane, Part] = {}
    for part in sorted(parts, key=lambda part: part.error is None):
        counted.setdefault(part.lane, part)
    took_us = max([part.latency_us for part in parts], default=0)
    for part in parts:
        part.latency_us = took_us
        part.is_request = counted[part.lane] is part


def _settled(work: Work, parts: Sequence[Part]) -> list[Part]:
    """Return the parts of a work that is scored as they are logged: a request that fails has no served answer."""
    work.written, work.held = True, ()
    if work.failure is not None:
        for part in parts:
            if part.error is None:
                part.served = False
    return [part for part in parts if part.status != 400]
