"""Keeps the memory that a server process holds small.

Loading a graph takes several times its size for a while, and glibc keeps freed memory between pieces that are in use.
It also gives each thread an arena of its own, whose freed memory the other threads cannot use (mallopt(3)). With C
libraries other than glibc these functions do nothing.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

ARENA_MAX = -8
"""M_ARENA_MAX of malloc.h."""


def give_back() -> None:
    """Return freed memory to the system. It takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def limit_arenas(count: int) -> None:
    """Let threads that start later share `count` arenas."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(ARENA_MAX, count)
