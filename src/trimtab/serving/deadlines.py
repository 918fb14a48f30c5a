"""Ends requests that take too long, at no cost worth measuring for those that do not. Called by asgi.

All requests of an application have the same time, so they end in the order in which they began: one timer
looks at the oldest, whatever their number, and a request costs one entry in a dictionary.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

Task = asyncio.Task[Any]


class Deadlines:
    """The requests under way. Lives on one event loop."""

    def __init__(self, timeout_s: float) -> None:
        if timeout_s <= 0:
            raise ValueError(f"a timeout of {timeout_s} s ends every request; expected more than 0")
        self._timeout_ns = round(timeout_s * 1e9)
        self._began: dict[Task, int] = {}
        self._ended: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, received_ns: int) -> Task:
        """Note the current task as under way since `received_ns` (perf_counter_ns); give it to `leave`."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request with a timeout runs in a task")
        self._began[task] = received_ns
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout_ns / 1e9, self._look)
        return task

    def leave(self, task: Task) -> bool:
        """Note that a request is done; tell whether it was ended because its time was over."""
        if task in self._ended:
            self._ended.discard(task)
            task.uncancel()
            return True
        self._began.pop(task, None)
        return False

    def _look(self) -> None:
        self._timer = None
        now = time.perf_counter_ns()
        while self._began:
            task, began = next(iter(self._began.items()))
            left = began + self._timeout_ns - now
            if left > 0:
                self._timer = asyncio.get_running_loop().call_later(left / 1e9, self._look)
                return
            del self._began[task]
            self._ended.add(task)
            task.cancel()
