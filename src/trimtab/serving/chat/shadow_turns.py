"""Turns that a shadow answers, too: after the answer has ended, in a queue and on a budget of their own.

A shadow gets what the client sent, with the champion's earlier answers in it. It runs no tool, and no client sees it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from trimtab.llm.money.spend_scopes import Caller
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.chat_turn import Turn
from trimtab.serving.chat.conversations import SHADOWED
from trimtab.serving.core.routing import Variant, point
from trimtab.serving.core.worker_metrics import Metrics

AT_ONCE = 4
"""Turns that a worker's shadows answer at once."""
DROPPED = ("budget_exceeded", "rate_limited")

logger = logging.getLogger(__name__)


class ShadowTurns:
    """The queue of a worker. Lives on one event loop.

    answer: lets a version answer a turn, and logs it. sample: share of the conversations. most: turns that may wait.
    total_s: longest time of one turn.
    """

    def __init__(
        self,
        answer: Callable[[Turn], Awaitable[None]],
        metrics: Metrics,
        *,
        sample: float,
        most: int,
        total_s: float,
    ) -> None:
        self._answer = answer
        self._metrics = metrics
        self._sample = sample
        self._total_s = total_s
        self._waiting: asyncio.Queue[tuple[Turn, Variant]] = asyncio.Queue(most)
        self._workers: list[asyncio.Task[None]] = []

    def offer(self, turn: Turn) -> None:
        """Queue an answered turn for the shadows of its table; dropped and counted when the queue is full."""
        if turn.last.error is not None or turn.purpose != "serve" or turn.route == "pinned":
            return
        for variant in turn.table.variants:
            if variant.role != "shadow" or point(SHADOWED, (turn.table.model, turn.conversation)) >= self._sample:
                continue
            try:
                self._waiting.put_nowait((turn, variant))
            except asyncio.QueueFull:
                self._metrics.counts.comparison_dropped += 1
                continue
            if len(self._workers) < AT_ONCE:
                self._workers.append(asyncio.create_task(self._work()))

    async def close(self) -> None:
        """End; turns that wait are dropped."""
        self._metrics.counts.comparison_dropped += self._waiting.qsize()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            turn, variant = await self._waiting.get()
            shadow = replace(
                turn,
                variant=variant,
                purpose="shadow",
                payer=Caller(prompt=turn.table.model),
                received_ns=time.perf_counter_ns(),
                ends=asyncio.get_running_loop().time() + self._total_s,
                versions=[],
                ended=False,
                gone=False,
                cache_key=None,
            )
            try:
                await self._answer(shadow)
            except ChatRefused as refused:
                if refused.code in DROPPED or not shadow.versions:
                    self._metrics.counts.comparison_dropped += 1
            except Exception:  # the border of the task: it must go on to the next turn
                logger.exception("prompt %s: its shadow failed", turn.table.model)
