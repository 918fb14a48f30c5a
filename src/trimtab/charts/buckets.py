"""Makes few spans of many windows, so that a chart stays readable and keeps its peaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar


class Timed(Protocol):
    """Anything of a span of time."""

    @property
    def start(self) -> datetime: ...

    @property
    def end(self) -> datetime: ...


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The values of neighbouring windows.

    Attributes:
        count: number of values.
        low, mean, high: smallest, mean and largest of them.
    """

    start: datetime
    end: datetime
    count: int
    low: float
    mean: float
    high: float


def grouped(items: Sequence[T], most: int) -> list[list[T]]:
    """Return the items in at most `most` groups of equal spans of time, oldest first; each item is in one group.

    Up to `most` items are returned one by one.
    """
    ordered = sorted(items, key=lambda item: item.start)
    if len(ordered) <= most:
        return [[item] for item in ordered]
    first, last = ordered[0].start, ordered[-1].start
    step = (last - first) / most
    groups: dict[int, list[T]] = {}
    for item in ordered:
        place = min(int((item.start - first) / step), most - 1) if step else 0
        groups.setdefault(place, []).append(item)
    return list(groups.values())


def bucketed(items: Sequence[T], value: Callable[[T], float | None], most: int) -> list[Bucket]:
    """Return the values of the items as at most `most` buckets, oldest first. No extreme is lost.

    Args:
        value: returns the value of an item; items with None or NaN are left out.
    """
    found = []
    for group in grouped([item for item in items if known(value(item))], most):
        numbers = [float(v) for item in group if (v := value(item)) is not None]
        mean = min(max(math.fsum(numbers) / len(numbers), min(numbers)), max(numbers))
        end = max(item.end for item in group)
        found.append(Bucket(group[0].start, end, len(numbers), min(numbers), mean, max(numbers)))
    return found


def known(value: float | None) -> bool:
    """Return True if there is a finite value."""
    return value is not None and math.isfinite(value)


def rolling_mean(numbers: Sequence[float], size: int) -> list[float]:
    """Return the mean of each value and up to `size` - 1 values before it."""
    return [math.fsum(part := numbers[max(0, n - size + 1) : n + 1]) / len(part) for n in range(len(numbers))]


def quantile(numbers: Iterable[float], share: float) -> float:
    """Return a quantile by linear interpolation between order statistics."""
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)
