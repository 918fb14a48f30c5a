"""Asks an endpoint for one answer of an evaluation, and pays for it from the ledger: reserve, call, settle."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trimtab.bundle.prompt_spec import TargetSpec
from trimtab.clock import Clock
from trimtab.errors import StageError
from trimtab.llm.completion import Completion
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.runner import Purpose
from trimtab.llm.money.leases import Hold
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import BudgetExceeded, Caller, RateLimited
from trimtab.llm.money.turn_cost import CostMeter, TurnCost, cost_bound, input_bound
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.llm.upstream.upstream_error import UpstreamError

CONTENT_STATUS = (400, 413, 422)
"""Statuses by which an endpoint refuses what a request holds; such an answer is a failed one."""
PERMANENT_STATUS = (401, 402, 403, 404, 405)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class Buyer:
    """Buys answers and verdicts. Belongs to one event loop.

    Args:
        upstream: asks endpoints.
        ledger: of the environment.
        caller: whose budgets and rates count, that of the evaluation among them.
        clock: time of day.
        retries: how often a failed call is made again.
        mask: masks what an endpoint says of a refused request.
        meter: prices turns.
    """

    def __init__(
        self,
        upstream: Upstream,
        ledger: Ledger,
        caller: Caller,
        *,
        clock: Clock,
        retries: int,
        mask: Callable[[str], str],
        meter: CostMeter | None = None,
    ) -> None:
        self._upstream, self._ledger, self._caller = upstream, ledger, caller
        self._clock, self._retries, self._mask = clock, retries, mask
        self._meter = meter or CostMeter()
        self.failed_pico = 0
        """What failed attempts are estimated to have cost."""

    async def __call__(self, target: TargetSpec, body: Mapping[str, Any], *, purpose: Purpose) -> Answer:
        """Return an answer; with `error` where the endpoint refuses what the request holds.

        Raises:
            StageError: the endpoint does not answer, or refuses the key or the model.
            BudgetExceeded: a budget does not cover the call.
        """
        failures = 0
        while True:
            hold = await self._hold(target, body, purpose)
            try:
                stream = await self._upstream.stream(target, body, attempts=1)
                try:
                    async for _ in stream:
                        pass
                finally:
                    stream.close()
                found = stream.completion
            except UpstreamError as error:
                self._pay_failed(target, body, hold, error)
                if error.status in CONTENT_STATUS:
                    said = " ".join(self._mask(error.upstream_text).split())
                    return Answer(error=f"status {error.status}" + (f": {said[:200]}" if said else ""))
                failures += 1
                if error.status in PERMANENT_STATUS or error.kind == "4xx" or failures > self._retries:
                    tried = f" ({failures} attempts)" if failures > 1 else ""
                    raise StageError(f"{error}{tried}") from None
                await asyncio.sleep(_pause(error, failures))
                continue
            except StageError:  # the secret of the endpoint: nothing was sent
                self._ledger.release(hold)
                raise
            paid = self._pay(target, body, hold, found)
            return Answer(
                text=found.text,
                tool_calls=found.tool_calls,
                refusal=found.refusal,
                finish_reason=found.finish_reason,
                model=found.model,
                input_tokens=paid.usage.input,
                output_tokens=paid.usage.output,
                usage=paid.usage.kind,
                cost_pico=paid.cost,
                first_token_ms=found.first_token_ms,
                latency_ms=found.latency_ms,
                attempts=failures + 1,
            )

    async def _hold(self, target: TargetSpec, body: Mapping[str, Any], purpose: Purpose) -> Hold:
        """Reserve the bound of a call; wait where a rate is used up, or calls in flight hold the rest."""
        tokens = bound_tokens(body)
        bound = cost_bound(target, self._clock.now(), *tokens)
        caller = msgspec.structs.replace(self._caller, endpoint=target.endpoint)
        while True:
            try:
                return await self._ledger.reserve(
                    caller, bound=bound, purpose=purpose, id=f"{purpose}-{uuid.uuid4().hex}", tokens=sum(tokens)
                )
            except RateLimited as limited:
                if limited.too_large:
                    raise
                await asyncio.sleep(max(limited.retry_after, 0.01))
            except BudgetExceeded as spent:
                if not spent.in_flight:
                    raise
                await asyncio.sleep(min(spent.retry_after, 1.0))

    def _pay(self, target: TargetSpec, body: Mapping[str, Any], hold: Hold, found: Completion) -> TurnCost:
        paid = self._meter.turn(target, self._clock.now(), found.usage, sent=bytes_of(body), received=found.size)
        self._ledger.settle(hold, paid.cost, paid.usage.kind, input=paid.usage.input, output=paid.usage.output)
        return paid

    def _pay_failed(self, target: TargetSpec, body: Mapping[str, Any], hold: Hold, error: UpstreamError) -> None:
        """Book an attempt that the endpoint may bill: one that was sent, and that it did not refuse."""
        if error.kind not in ("timeout", "cut") or not error.sent:
            self._ledger.release(hold)
            return
        paid = self._meter.turn(target, self._clock.now(), None, sent=bytes_of(body), received=0)
        self._ledger.settle(hold, paid.cost, paid.usage.kind, input=paid.usage.input, output=paid.usage.output)
        self.failed_pico += paid.cost


def bytes_of(body: Mapping[str, Any]) -> int:
    """Return the UTF-8 bytes of messages, tools and schema."""
    return sum(len(msgspec.json.encode(body[key])) for key in ("messages", "tools", "response_format") if key in body)


def bound_tokens(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the most input and output tokens of a request, which names the most tokens of its answer."""
    output = body.get("max_completion_tokens") or body["max_tokens"]
    schema = (body.get("response_format") or {}).get("json_schema")
    return input_bound(body["messages"], body.get("tools") or (), schema), int(output)


def _pause(error: UpstreamError, failures: int) -> float:
    if error.retry_after is not None:
        return min(error.retry_after, LONGEST_PAUSE_S)
    return min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S)
