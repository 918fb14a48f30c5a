"""Ends requests that take too long, at no cost worth measuring for those that do not. Called by asgi.

All requests of an application have the same time, so they end in the order in which they began: one timer
looks at the oldest, whatever their number, and a request costs one entry in a dictionary.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import current_task
from typing import Any

Task = asyncio.Task[Any]


class Deadlines:
    """The requests under way. Lives on one event loop."""

    def __init__(self, timeout_s: float) -> None:
        if timeout_s <= 0:
            raise ValueError(f"a timeout of {timeout_s} s ends every request; expected more than 0")
        self._timeout_ns = round(timeout_s * 1e9)
        self._began: dict[Task | None, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits = False

    def enter(self, received_ns: int) -> Task | None:
        """Note the current task as under way since `received_ns` (perf_counter_ns); give it to `leave`."""
        task = current_task(self._loop)
        self._began[task] = received_ns
        if not self._waits:
            self._loop = asyncio.get_running_loop()
            self._wait(self._timeout_ns)
        return task

    def leave(self, task: Task | None) -> bool:
        """Note that a request is done; tell whether it was ended because its time was over."""
        if self._began.pop(task, None) is not None or task is None:
            return False
        task.uncancel()
        return True

    def _wait(self, left_ns: int) -> None:
        assert self._loop is not None
        self._waits = True
        self._loop.call_later(left_ns / 1e9, self._look)

    def _look(self) -> None:
        self._waits = False
        now = time.perf_counter_ns()
        while self._began:
            task, began = next(iter(self._began.items()))
            left = began + self._timeout_ns - now
            if left > 0:
                self._wait(left)
                return
            del self._began[task]
            if task is not None:
                task.cancel()
