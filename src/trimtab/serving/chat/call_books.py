"""The money of calls: reserved before each one, settled after it, however it ends."""

from __future__ import annotations

import logging
from datetime import datetime

import msgspec

from trimtab.bundle.prompt_spec import TargetSpec
from trimtab.clock import Clock
from trimtab.errors import DataError, StoreError
from trimtab.llm.completion import Completion
from trimtab.llm.money.leases import Hold
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import BudgetExceeded, RateLimited
from trimtab.llm.money.turn_cost import CostMeter, cost_bound
from trimtab.llm.upstream.upstream_error import UpstreamError
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.chat_turn import Turn, VersionTurn

UNBILLED = ("connect", "429", "5xx", "4xx")
"""Failures that no provider charges for: it gave no answer."""

logger = logging.getLogger(__name__)


class CallBooks:
    """Reserves and settles the calls of a worker. Lives on one event loop."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._meter = CostMeter()

    async def reserve(self, turn: Turn, work: VersionTurn, target: TargetSpec) -> Hold:
        """Hold the most that a call can cost.

        Raises BudgetExceeded and RateLimited, and ChatRefused (503) when the ledger cannot be written or the model has
        no price.
        """
        try:
            bound = self.bound(work, target)
            caller = msgspec.structs.replace(turn.payer or turn.caller, endpoint=target.endpoint)
            tokens = work.most_input + work.answers * work.most_output
            return await self._ledger.reserve(caller, bound=bound, purpose=turn.purpose, id=turn.id, tokens=tokens)
        except (DataError, StoreError) as error:
            logger.error("prompt %s: no call is made: %s", turn.request.model, error)
            raise ChatRefused(503, f"the cost of this call cannot be booked: {error}", code="spend_unknown") from None

    async def book_nothing(self, turn: Turn) -> Hold:
        """Book a turn that makes no call: it counts in the rates of its token. Raises RateLimited, ChatRefused."""
        try:
            hold = await self._ledger.reserve(turn.caller, bound=0, purpose=turn.purpose, id=turn.id)
            self._ledger.settle(hold, 0, "reported")
            return hold
        except StoreError as error:
            raise ChatRefused(503, f"this turn cannot be booked: {error}", code="spend_unknown") from None

    def bound(self, work: VersionTurn, target: TargetSpec) -> int:
        """Return the most that a call can cost, in 1e-12 of the currency. Raises DataError without a price."""
        return cost_bound(target, self._now(), work.most_input, work.most_output, work.answers)

    def settle(self, work: VersionTurn, target: TargetSpec, hold: Hold, completion: Completion) -> None:
        """Book a call by what the endpoint reports, or by an estimate of what came."""
        found = self._meter.turn(target, self._now(), completion.usage, sent=work.sent, received=completion.size)
        if found.contradiction:
            name = target.endpoint.name
            logger.warning("endpoint %s, model %s: its usage contradicts: %s", name, target.model, found.contradiction)
        work.book(found)
        try:
            usage = found.usage
            self._ledger.settle(hold, found.cost, usage.kind, input=usage.input, output=usage.output)
        except StoreError as error:
            logger.error("spend: %s", error)

    def settle_failed(self, work: VersionTurn, target: TargetSpec, hold: Hold, error: UpstreamError) -> None:
        """Book a call that failed before its first token: what was sent, unless the endpoint gave no answer at all."""
        if not error.sent or error.kind in UNBILLED:
            self.release(hold)
        else:
            self.settle(work, target, hold, Completion())

    def release(self, hold: Hold) -> None:
        """Give back what a call held that was not made, or is not billed."""
        try:
            self._ledger.release(hold)
        except StoreError as error:
            logger.error("spend: %s", error)

    def headers(self, hold: Hold) -> list[tuple[bytes, bytes]]:
        """Return x-ratelimit-* of the token."""
        return [(name.encode(), value.encode()) for name, value in self._ledger.headers(hold).items()]

    def close(self) -> None:
        """Book what has ended, and give leases back."""
        self._ledger.close()

    def _now(self) -> datetime:
        return self._clock.now()


def over_budget(error: BudgetExceeded) -> ChatRefused:
    """Return the refusal of a turn whose budget is spent."""
    reset = [] if error.resets_at is None else [(b"x-trimtab-budget-resets", error.resets_at.isoformat().encode())]
    return ChatRefused(429, str(error), code="budget_exceeded", retry_after=error.retry_after, headers=reset)


def over_rate(error: RateLimited) -> ChatRefused:
    """Return the refusal of a turn beyond a rate."""
    return ChatRefused(429, str(error), code="rate_limit_exceeded", retry_after=error.retry_after)
