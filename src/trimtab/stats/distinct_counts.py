"""How many different inputs there were, from a few of their fingerprints. Pure: used by counts, tally and the guard.

Only the KEPT smallest fingerprints are kept. They tell the number of different ones (Bar-Yossef et al. 2002, "Counting
distinct elements in a data stream", algorithm 2): exactly below KEPT, beyond within some 6 % (one standard
deviation). The smallest ones of several workers are those of all their inputs, so that nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from itertools import chain

KEPT = 256
RANGE = 2**64
"""Fingerprints lie evenly below it."""


def smallest(*fingerprints: Iterable[int]) -> list[int]:
    """Return the KEPT smallest different ones of all, in order."""
    return nsmallest(KEPT, set(chain(*fingerprints)))


def distinct(kept: Sequence[int]) -> int:
    """Return how many different inputs there were. kept: what `smallest` returned."""
    if len(kept) < KEPT:
        return len(kept)
    return max(KEPT, round((KEPT - 1) * RANGE / (kept[-1] + 1)))
