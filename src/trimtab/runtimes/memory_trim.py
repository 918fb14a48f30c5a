"""Gives the system back what a loaded model has left in memory. Called by aside and aside_worker.

Loading a graph takes several times its size for a while, and glibc keeps what was freed between pieces that are in use.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed memory to the system; with other C libraries than glibc nothing happens. Takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
