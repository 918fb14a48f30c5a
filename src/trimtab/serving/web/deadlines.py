"""Cancels requests that take too long.

All requests have the same time limit, so they expire in the order in which they began. One timer, set for the oldest,
serves all of them: a request costs one entry in a dictionary.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import current_task
from typing import Any

Task = asyncio.Task[Any]


class Deadlines:
    """The requests in progress. Belongs to one event loop."""

    def __init__(self, timeout_s: float) -> None:
        if timeout_s <= 0:
            raise ValueError(f"a timeout of {timeout_s} s ends every request; expected more than 0")
        self._timeout_ns = round(timeout_s * 1e9)
        self._began: dict[Task | None, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits = False

    def enter(self, received_ns: int) -> Task | None:
        """Register the current task with its start (perf_counter_ns), and return it for `leave`."""
        task = current_task(self._loop)
        self._began[task] = received_ns
        if not self._waits:
            self._loop = asyncio.get_running_loop()
            self._wait(self._timeout_ns)
        return task

    def leave(self, task: Task | None) -> bool:
        """Remove a request; return True if it was cancelled because it exceeded its time."""
        if self._began.pop(task, None) is not None or task is None:
            return False
        task.uncancel()
        return True

    def _wait(self, left_ns: int) -> None:
        assert self._loop is not None
        self._waits = True
        self._loop.call_later(left_ns / 1e9, self._expire)

    def _expire(self) -> None:
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
