"""Which role answers a row: a sticky split of the traffic. Called by table.

A row's sticky values are hashed to a point in [0, 1); the roles divide that interval in order, the champion
first. So a value keeps its role as long as the weights stay, and when a weight changes only the rows
between the old and the new border move.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate

_SCALE = 2.0**-53


def point(salt: str, values: Iterable[object]) -> float:
    """Return the place in [0, 1) of some sticky values, the same in every process and for ever.

    salt: name of the model, so that an entity is not the guinea pig of every model at once.
    """
    text = "\x1f".join([salt, *map(key_text, values)])
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * _SCALE


def key_text(value: object) -> str:
    """Return one text for 7, 7.0 and "7": clients of different protocols send the same key differently."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Split:
    """The interval [0, 1) divided by weights, which are shares or percent; some weight must be positive."""

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        if not weights or total <= 0 or min(weights) < 0:
            raise ValueError(f"weights {list(weights)} do not divide traffic; expected at least one above zero")
        self._borders = [border / total for border in accumulate(weights)]
        self._last = max(n for n, weight in enumerate(weights) if weight > 0)
        self.sole = self._last if sum(weight > 0 for weight in weights) == 1 else None
        """The only one with a weight, or None: then nothing needs to be hashed."""

    def choose(self, at: float) -> int:
        """Return the number of the weight whose part holds `at`; a weight of zero holds nothing."""
        return min(bisect_right(self._borders, at), self._last)
