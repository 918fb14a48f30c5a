"""Requests that take too long: cancelled in their order, and no other task."""

from __future__ import annotations

import asyncio
import time

import pytest

from trimtab.serving.web.deadlines import Deadlines


async def request(deadlines: Deadlines, until: asyncio.Event) -> str:
    task = deadlines.enter(time.perf_counter_ns())
    try:
        await until.wait()
    except asyncio.CancelledError:
        if not deadlines.leave(task):
            raise
        await asyncio.sleep(0)  # what comes after is not cancelled again
        return "late"
    assert not deadlines.leave(task)
    return "done"


def test_only_what_takes_too_long_is_ended() -> None:
    async def run() -> list[str]:
        deadlines, never, soon = Deadlines(0.02), asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(request(deadlines, event)) for event in (never, soon, never)]
        await asyncio.sleep(0)
        soon.set()
        first = await asyncio.gather(*tasks)
        again = await asyncio.gather(request(deadlines, never), request(deadlines, soon))
        return [*first, *again]

    assert asyncio.run(run()) == ["late", "done", "late", "late", "done"]


def test_a_task_that_another_cancels_is_cancelled() -> None:
    async def run() -> None:
        deadlines = Deadlines(60)
        task = asyncio.create_task(request(deadlines, asyncio.Event()))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_no_time_at_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="expected more than 0"):
        Deadlines(0)
