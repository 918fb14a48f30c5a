"""Asks the targets of a turn in order, until one answers: attempts, the prompt's fallbacks, then the champion.

Nothing here happens after the first token of an answer: a client never gets text of two answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar

from trimtab.bundle.prompt_spec import TargetSpec
from trimtab.errors import StageError
from trimtab.llm.money.leases import Hold
from trimtab.llm.money.spend_scopes import BudgetExceeded, RateLimited
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.llm.upstream.upstream_error import UpstreamError
from trimtab.policy.llm.section_llm import Llm
from trimtab.serving.chat.call_books import CallBooks, over_budget, over_rate
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.chat_turn import Turn, UpstreamCall, VersionTurn
from trimtab.serving.core.routing import Variant
from trimtab.units import MICROS

STATUSES = {"timeout": 504, "429": 429, "connect": 502, "5xx": 502, "4xx": 502, "cut": 502}
"""Kind of failure -> status for the client."""
OF_REQUEST = (400, 413, 422)
"""Statuses of an endpoint that are about the request, and so are those for the client, too."""
SAID = {
    "timeout": "did not answer in time",
    "429": "has too many requests",
    "connect": "cannot be reached",
    "5xx": "failed",
    "4xx": "refused the request",
    "cut": "broke its answer off",
}
BUSY_S = 0.05
"""Pause before a busy endpoint is tried again."""
F = TypeVar("F")

logger = logging.getLogger(__name__)


class Begun(NamedTuple):
    """An answer that has begun. found: what the call gave."""

    work: VersionTurn
    target: TargetSpec
    hold: Hold


class TargetCalls:
    """Makes the calls of turns. Lives on one event loop.

    on_fallback: told prompt, reason ("endpoint" or "champion") and 1 when another than the first target answers.
    """

    def __init__(
        self, upstream: Upstream, books: CallBooks, llm: Llm, on_fallback: Callable[[str, str, int], None]
    ) -> None:
        self._upstream = upstream
        self._books = books
        self._llm = llm
        self._on_fallback = on_fallback

    async def first(self, turn: Turn, ask: Callable[[TargetSpec, VersionTurn], Awaitable[F]]) -> tuple[F, Begun]:
        """Return what the first target gives that answers. Raises ChatRefused: none does.

        ask: makes one call. A version whose targets all failed has its error noted.
        """
        failure: ChatRefused | None = None
        for variant in self._variants(turn):
            try:
                work = turn.begin(variant, self._llm.limits.output_tokens)
            except ChatRefused as refused:
                if failure is None:
                    raise
                logger.warning("prompt %s: the champion cannot answer instead: %s", turn.request.model, refused)
                break
            found, failure = await self._of_version(turn, work, ask)
            if found is not None:
                if work.fell_back_from is not None or len(turn.versions) > 1:
                    self._on_fallback(turn.table.model, "champion" if len(turn.versions) > 1 else "endpoint", 1)
                return found
            if work is not turn.versions[0] or len(turn.versions) == 1:
                logger.warning("prompt %s version %d: %s", turn.request.model, variant.bundle.version, failure)
        assert failure is not None  # every version has a target
        raise failure

    def _variants(self, turn: Turn) -> Iterator[Variant]:
        yield turn.variant
        champion = turn.table.champion
        if turn.route != "pinned" and turn.purpose == "serve" and turn.variant.role == "challenger":
            yield champion

    async def _of_version(
        self, turn: Turn, work: VersionTurn, ask: Callable[[TargetSpec, VersionTurn], Awaitable[F]]
    ) -> tuple[tuple[F, Begun] | None, ChatRefused | None]:
        """Return what the first target of a version gives, or why none did. Raises ChatRefused when none may try."""
        failure: ChatRefused | None = None
        only_free = False
        targets = (work.prompt.prompt.target, *work.prompt.prompt.fallbacks)
        for target in targets:
            if only_free and self._books.bound(work, target):
                continue
            for attempt in range(self._llm.retry.attempts):
                try:
                    hold = await self._reserve(turn, work, target, waits=target is targets[-1])
                except BudgetExceeded as error:
                    failure, work.error = over_budget(error), "budget_exceeded"
                    only_free = error.when_spent == "fallback"
                    if not only_free:
                        raise failure from None
                    break
                except RateLimited as error:
                    failure, work.error = over_rate(error), "rate_limited"
                    if not error.scope.startswith("endpoint:"):
                        raise failure from None
                    break
                work.target, work.attempts = target, work.attempts + 1
                try:
                    found = await self._timed(turn, target, work, ask)
                except UpstreamError as error:
                    self._books.settle_failed(work, target, hold, error)
                    failure, work.error = refusal_of(error), f"upstream_{error.kind}"
                    pause = self._upstream.pause_before(error, attempt)
                    if pause is None or attempt + 1 == self._llm.retry.attempts or self._left(turn) <= pause:
                        break
                    await asyncio.sleep(pause)
                except StageError as error:  # the secret of the endpoint
                    self._books.release(hold)
                    logger.error("endpoint %s: %s", target.endpoint.name, error)
                    failure = ChatRefused(503, f"endpoint '{target.endpoint.name}' is not ready", code="upstream_key")
                    work.error = "upstream_key"
                    break
                except BaseException:  # the client has left, or the worker ends
                    self._books.settle_failed(work, target, hold, _left_alone(target))
                    raise
                else:
                    work.error = None
                    return (found, Begun(work, target, hold)), None
            work.fell_back_from = f"{target.endpoint.name}/{target.model}"
            if self._left(turn) <= 0:
                break
        return None, failure

    async def _reserve(self, turn: Turn, work: VersionTurn, target: TargetSpec, *, waits: bool) -> Hold:
        """Hold the most that a call can cost.

        waits: for an endpoint that has as many calls at once as it takes, as long as for a first token. Raises what
        `CallBooks.reserve` does.
        """
        loop = asyncio.get_running_loop()
        until = min(turn.ends, loop.time() + self._llm.timeouts.first_token / MICROS["s"])
        while True:
            try:
                return await self._books.reserve(turn, work, target)
            except RateLimited as error:
                is_busy = error.scope.startswith("endpoint:") and error.scope.endswith("/calls")
                if not (waits and is_busy) or loop.time() >= until:
                    raise
                await asyncio.sleep(BUSY_S)

    async def _timed(
        self, turn: Turn, target: TargetSpec, work: VersionTurn, ask: Callable[[TargetSpec, VersionTurn], Awaitable[F]]
    ) -> F:
        """Make one call within what is left of the turn's time."""
        call = UpstreamCall(target, time.perf_counter_ns())
        work.calls.append(call)
        try:
            async with asyncio.timeout_at(turn.ends):
                return await ask(target, work)
        except TimeoutError:
            call.error = "timeout"
            raise UpstreamError(
                "timeout", "no answer in time (llm.timeouts.total)", endpoint=target.endpoint.name
            ) from None
        except UpstreamError as error:
            call.error, call.said = error.kind, error.upstream_text
            raise
        except BaseException as error:
            call.error = type(error).__name__
            raise
        finally:
            call.end_ns = time.perf_counter_ns()

    def _left(self, turn: Turn) -> float:
        return turn.ends - asyncio.get_running_loop().time()


def refusal_of(error: UpstreamError) -> ChatRefused:
    """Return what a client gets to know of a failure: its class and a code, never the endpoint's own text."""
    status = error.status if error.status in OF_REQUEST else STATUSES[error.kind]
    shown = f" (status {error.status})" if error.status not in (None, 200) else ""
    said = f"endpoint '{error.endpoint}' {SAID[error.kind]}{shown}"
    return ChatRefused(status or 502, said, code=f"upstream_{error.kind}", retry_after=error.retry_after)


def _left_alone(target: TargetSpec) -> UpstreamError:
    return UpstreamError("cut", "the call was given up", endpoint=target.endpoint.name)
