"""Reads that may take long: a page waits a little for them, and shows them afterwards where that is not enough."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookLonger
from typing import TypeVar

T = TypeVar("T")

SOON_S = 0.3
"""A page waits so long for a part."""


def soon(read: Callable[[], T], seconds: float = SOON_S) -> T | None:
    """Return what a read gives, or None if it takes longer; it goes on then, for the part that asks again."""
    try:
        return _POOL.submit(read).result(seconds)
    except TookLonger:
        return None


_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="soon")
