"""Requests that take too long: cancelled in their order, and no other task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

import pytest

from trimtab.serving.web import deadlines
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


def test_the_timer_is_set_for_the_oldest_request_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now, timers = [0.0], list[tuple[float, Callable[[], None]]]()
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(perf_counter_ns=lambda: round(now[0] * 1e9)))

    async def wait(requests: Deadlines, received_s: float) -> None:
        task = requests.enter(round(received_s * 1e9))
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        assert requests.leave(task)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_later", lambda seconds, call: timers.append((seconds, call)))
        requests = Deadlines(10)
        first, second = [asyncio.create_task(wait(requests, received_s)) for received_s in (0, 4)]
        await asyncio.sleep(0)
        for now[0], task in ((10, first), (14, second)):
            _, expire = timers[-1]
            expire()
            await task

    asyncio.run(run())
    assert [seconds for seconds, _ in timers] == [10, 4]
