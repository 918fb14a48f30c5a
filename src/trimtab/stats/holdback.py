"""Which windows may join the pool that later windows are compared with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

WINDOWS = 10
FREEZE_BELOW = 0.05
# Above this median autocorrelation time near windows resemble one another: holding them back would unbalance the pool.
OPEN_ABOVE_TAU = 1.5
# A pool of this size does not grow further: its ranks are fine enough, and a step's cost stays bounded.
POOL_LIMIT = 1_000

T = TypeVar("T")


class Holdback(Generic[T]):
    """Windows wait before they join, so that a drift which needs some windows to show does not become normal.

    A window that arrives while p_seq < 0.05 never joins, nor do those that were waiting then. A heuristic, held by
    measurement: the theorem is about a pool that takes every window.
    """

    def __init__(self, length: int, waiting: Iterable[T] = ()) -> None:
        self.length = length
        """Windows to wait."""
        self.waiting = deque(waiting)

    def admit(self, window: T, p_seq: float) -> list[T]:
        """Take the newest window; return those that join the pool now."""
        if p_seq < FREEZE_BELOW:
            self.waiting.clear()
            return []
        self.waiting.append(window)
        return [self.waiting.popleft() for _ in range(len(self.waiting) - self.length)]


def holdback_length(median_tau: float) -> int:
    """Return the windows to wait: none when windows are autocorrelated."""
    return 0 if median_tau > OPEN_ABOVE_TAU else WINDOWS
