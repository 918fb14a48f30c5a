"""Returns memory that was freed after loading a model to the system.

Loading a graph takes several times its size for a while, and glibc keeps freed memory between pieces that are in use.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed memory to the system. It takes milliseconds; with C libraries other than glibc it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
