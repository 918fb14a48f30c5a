"""Distinct counts, quantiles and standard deviations of windows, and decayed sums, for the pairs of one part.

A distinct count is found from stretches of time: a value is in the window from when its first row becomes known until
its last one has left, so the count at a time is the number of stretches that have begun less those that have ended.

The others go along each entity's timeline once, add rows as they become known and take them out as they leave. Their
results depend on the rows in the window alone, not on their order: a quantile is of a sorted list, and sums are whole
numbers of Python, which are exact.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from math import isqrt
from typing import Protocol

import numpy as np

from trimtab.definitions.aggregations import Aggregation
from trimtab.features.timelines import Segments, Timelines
from trimtab.features.value_types import Array
from trimtab.features.view_windows import Window

MANTISSA = 53
"""Bits of a float64."""
ROOT_BITS = 109
"""Bits of a number before its root is taken, which then has 55: those of a float64, and two to round by."""
FADED_BITS = 1400
"""Bits after the point of a decayed sum in units of its newest weight: the smallest float64 is 2^-1074."""


class Part(Protocol):
    """The rows that count for the (entity, time) pairs of one part; `aggregates.Cut` is one."""

    lines: Timelines
    entities: Array
    at: Array
    ends: Array

    def begins(self, window: Window) -> Array:
        """Return for each query the place after the last row that has left the window."""
        ...


class InWindow(Protocol):
    """What is kept of the rows of a window while rows come and go, by their places."""

    def add(self, place: int) -> None:
        """Take in a row."""
        ...

    def remove(self, place: int) -> None:
        """Take out a row that was added."""
        ...

    def values(self) -> tuple[float, ...]:
        """Return the results for the present rows."""
        ...


def distinct_counts(part: Part, codes: Array, window: Window) -> Array:
    """Return how many different values the rows of each query have. codes: of the values by place, -1 for none."""
    lines = part.lines
    entities = np.repeat(np.arange(len(lines.starts) - 1), np.diff(lines.starts))
    begin = lines.effective
    end = np.full(len(begin), np.iinfo(np.int64).max) if window is None else lines.times + window
    present = (codes >= 0) & (begin < end)
    order = np.lexsort((begin[present], codes[present], entities[present]))
    entity, code, begin, end = (column[present][order] for column in (entities, codes, begin, end))
    if not len(entity):
        return np.zeros(len(part.at))
    same = (entity[1:] == entity[:-1]) & (code[1:] == code[:-1])
    until = _running_maximum(end, np.concatenate([[0], np.cumsum(~same)]))
    opens = np.concatenate([[True], ~same | (begin[1:] > until[:-1])])
    closes = np.append(opens[1:], True)
    count = len(lines.starts)
    began = _reached(part, entity[opens], begin[opens], count)
    if window is None:
        return (began - np.searchsorted(entity[opens], part.entities)).astype(np.float64)
    return (began - _reached(part, entity[closes], until[closes], count)).astype(np.float64)


def _running_maximum(values: Array, groups: Array) -> Array:
    """Return for each value the greatest one of its group so far. groups: rising numbers."""
    ordered, ranks = np.unique(values, return_inverse=True)
    largest = np.maximum.accumulate(groups * len(ordered) + ranks)
    found: Array = ordered[largest - groups * len(ordered)]
    return found


def _reached(part: Part, entities: Array, moments: Array, count: int) -> Array:
    """Return for each query how many moments, of all entities up to its own, are at or before its time."""
    order = np.lexsort((moments, entities))
    return Segments(entities[order], moments[order], count).end(part.entities, part.at)


def swept(part: Part, window: Window, present: Array, start: Callable[[], InWindow], width: int) -> list[Array]:
    """Return `width` results for each query, from the rows in its window that are present (bool by place)."""
    lines = part.lines
    places = range(len(present)) if lines.known_order is None else lines.known_order.tolist()
    firsts, here, added = lines.starts.tolist(), present.tolist(), bytearray(len(present))
    found: list[tuple[float, ...]] = []
    entity, known, gone, kept = -1, 0, 0, start()
    for one, end, begin in zip(part.entities.tolist(), part.ends.tolist(), part.begins(window).tolist(), strict=True):
        if one != entity:
            entity, known, gone, kept = one, firsts[one], firsts[one], start()
        for place in places[known:end]:
            if place >= begin and here[place]:
                kept.add(place)
                added[place] = 1
        for place in range(gone, begin):
            if added[place]:
                kept.remove(place)
        known, gone = max(known, end), max(gone, begin)
        found.append(kept.values())
    table = np.array(found, dtype=np.float64).reshape(len(found), width)
    return list(table.T.copy())


class Quantiles:
    """The sorted values of a window. column: float64 by place. levels: from 0 to 1."""

    def __init__(self, column: Sequence[float], levels: Sequence[float]) -> None:
        self._column = column
        self._levels = levels
        self._values: list[float] = []

    def add(self, place: int) -> None:
        """Take in a row."""
        insort(self._values, self._column[place])

    def remove(self, place: int) -> None:
        """Take out a row that was added."""
        del self._values[bisect_left(self._values, self._column[place])]

    def values(self) -> tuple[float, ...]:
        """Return each quantile, NaN without rows."""
        return tuple(interpolated(self._values, level) for level in self._levels)


def interpolated(values: Sequence[float], level: float) -> float:
    """Return a quantile of sorted values; between two of them linearly, rounded as numpy.quantile rounds it."""
    if not values:
        return np.nan
    wanted = (len(values) - 1) * level
    below = int(wanted)
    if below >= len(values) - 1:
        return values[-1] + 0.0
    low, high, share = values[below], values[below + 1], wanted - below
    apart = high - low
    if apart == np.inf:  # beyond float64
        return low * (1 - share) + high * share
    return (low + apart * share if share < 0.5 else high - apart * (1 - share)) + 0.0


class Deviation:
    """The sum of values and of their squares, as whole numbers times a power of two.

    numbers: whole numbers by place; a value is its number times 2**exponent.
    """

    def __init__(self, numbers: Sequence[int], exponent: int) -> None:
        self._numbers = numbers
        self._exponent = exponent
        self._count = self._sum = self._squares = 0

    def add(self, place: int) -> None:
        """Take in a row."""
        number = self._numbers[place]
        self._count += 1
        self._sum += number
        self._squares += number * number

    def remove(self, place: int) -> None:
        """Take out a row that was added."""
        number = self._numbers[place]
        self._count -= 1
        self._sum -= number
        self._squares -= number * number

    def values(self) -> tuple[float, ...]:
        """Return the sample standard deviation, rounded once; NaN for fewer than two rows."""
        count = self._count
        if count < 2:
            return (np.nan,)
        apart = count * self._squares - self._sum * self._sum
        return (rounded_root(apart, count * (count - 1), self._exponent),)


def rounded_root(above: int, below: int, exponent: int) -> float:
    """Return sqrt(above / below) * 2**exponent, rounded once.

    The root of a number of ROOT_BITS bits gets an odd last bit where it goes on, and is divided by a power of two,
    which Python rounds correctly. The method is that of statistics.stdev.
    """
    if above == 0:
        return 0.0
    shift = (above.bit_length() - below.bit_length() - ROOT_BITS) // 2
    if shift >= 0:
        below <<= 2 * shift
    else:
        above <<= -2 * shift
    root = isqrt(above // below)
    root |= root * root * below != above
    return quotient(root, 0, shift + exponent)


def quotient(number: int, halvings: int, exponent: int) -> float:
    """Return number * 2**(exponent - halvings), rounded once; infinite beyond float64."""
    power = exponent - halvings
    try:
        return number / (1 << -power) if power < 0 else float(number << power)
    except OverflowError:
        return np.inf if number > 0 else -np.inf


def whole_numbers(column: Array) -> tuple[list[int], int]:
    """Return finite values as whole numbers and the exponent of two that all of them are multiplied with."""
    if bool(np.all((np.abs(column) < 2.0**MANTISSA) & (column == np.rint(column)))):
        return column.astype(np.int64).tolist(), 0
    mantissas, exponents = mantissas_of(column)
    least = int(exponents[column != 0].min(initial=0))
    shifts = np.where(column == 0, 0, exponents - least).tolist()
    return [number << shift for number, shift in zip(mantissas.tolist(), shifts, strict=True)], least


def mantissas_of(column: Array) -> tuple[Array, Array]:
    """Return finite values as (int64, exponent): value = number * 2**exponent."""
    fraction, exponents = np.frexp(column)
    return np.ldexp(fraction, MANTISSA).astype(np.int64), exponents.astype(np.int64) - MANTISSA


class Decayed:
    """Sums in which a row's weight halves each half-life.

    Args:
        numbers, exponents: each row's value times 2**(share of a half-life) by place, as number * 2**exponent.
        weights: the same for a value of 1.
        halvings: whole half-lives of each row's timestamp since the epoch.
    """

    def __init__(
        self, numbers: Sequence[int], exponents: Sequence[int], weights: Sequence[int], halvings: Sequence[int]
    ) -> None:
        self._numbers = numbers
        self._exponents = exponents
        self._weights = weights
        self._halvings = halvings
        self._count = self._sum = self._weight = 0
        self._newest = 0

    def add(self, place: int) -> None:
        """Take in a row."""
        halvings = self._halvings[place]
        if self._count == 0:
            self._newest, self._sum, self._weight = halvings, 0, 0
        elif halvings > self._newest:
            self._sum >>= halvings - self._newest
            self._weight >>= halvings - self._newest
            self._newest = halvings
        self._count += 1
        self._change(place, 1)

    def remove(self, place: int) -> None:
        """Take out a row that was added."""
        self._count -= 1
        self._change(place, -1)

    def _change(self, place: int, sign: int) -> None:
        older = FADED_BITS + self._halvings[place] - self._newest
        self._sum += sign * _shifted(self._numbers[place], older + self._exponents[place])
        self._weight += sign * _shifted(self._weights[place], older - MANTISSA + 1)

    def values(self) -> tuple[float, ...]:
        """Return sum, weighted count and newest half-life, and the mean; NaN without rows, but 0 for the count."""
        if not self._count:
            return (np.nan, 0.0, 0.0, np.nan)
        total = quotient(self._sum, FADED_BITS, 0) + 0.0
        try:
            mean = self._sum / self._weight
        except OverflowError:
            mean = np.inf if self._sum > 0 else -np.inf
        return (total, quotient(self._weight, FADED_BITS, 0), float(self._newest), mean + 0.0)


def quantiles(part: Part, leaves: Sequence[Aggregation], window: Window, column: Array | None) -> list[Array]:
    """Return quantiles of one window for each query. column: by place; null, NaN and infinities do not count."""
    assert column is not None
    values, levels = column.tolist(), [float(leaf.arg or 0) for leaf in leaves]
    return swept(part, window, np.isfinite(column), lambda: Quantiles(values, levels), len(levels))


def deviations(part: Part, leaves: Sequence[Aggregation], window: Window, column: Array | None) -> list[Array]:
    """Return the sample standard deviation for each query, once for each leaf. Arguments as in `quantiles`."""
    assert column is not None
    present = np.isfinite(column)
    numbers, exponent = whole_numbers(np.where(present, column, 0.0))
    return swept(part, window, present, lambda: Deviation(numbers, exponent), 1) * len(leaves)


def decayed(part: Part, leaves: Sequence[Aggregation], window: Window, column: Array | None) -> list[Array]:
    """Return the stored columns of decayed kinds of one half-life. column: by place, None for a count of rows."""
    half_life = int(leaves[0].arg or 1)
    halvings, rest = np.divmod(part.lines.times, half_life)
    weights, powers = mantissas_of(np.exp2(rest / half_life))
    weights = weights << (powers + MANTISSA - 1)  # they are from 1 to 2; so that all have one exponent
    present = np.full(len(weights), True) if column is None else np.isfinite(column)
    if column is None:
        numbers, exponents = weights.tolist(), np.full(len(weights), 1 - MANTISSA).tolist()
    else:
        mantissas, powers = mantissas_of(np.where(present, column, 0.0))
        numbers = [value * weight for value, weight in zip(mantissas.tolist(), weights.tolist(), strict=True)]
        exponents = (powers + 1 - MANTISSA).tolist()
    shares = (numbers, exponents, weights.tolist(), halvings.tolist())
    total, count, newest, mean = swept(part, window, present, lambda: Decayed(*shares), 4)
    of_kind = {"decayed_sum": [total, newest], "decayed_count": [count, newest], "decayed_mean": [mean]}
    return [values for leaf in leaves for values in of_kind[leaf.kind]]


def _shifted(number: int, places: int) -> int:
    return number << places if places >= 0 else number >> -places
