"""Computes correctly rounded sums of many ranges of a float64 column; the order of summation has no influence.

A float64 is an integer times a power of two. The column is written as integers times its least power of two, and cut
into limbs of so many bits that no range's sum of a limb overflows 64 bits. Prefix sums of limbs are exact (they may
wrap around, but their differences are right), so each result is rounded only once. It equals that of math.fsum, and is
infinite where the exact sum is beyond float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.features.value_types import Array

SUM_BITS = 62
"""Bits of a range's sum of one limb, without the sign."""

DIGIT_BITS = 53
"""Widest limb: one that float64 holds exactly."""

_FRACTION = (1 << 52) - 1
_LEAST_EXPONENT = -1074
"""Exponent of the smallest positive float64, 2**-1074."""


@dataclass(frozen=True)
class Range:
    """Ranges to sum: the first `ends` values in one order without the first `begins` in another; shape (queries,)."""

    ends: Array
    begins: Array


def range_sums(values: Array, order: Array | None, ranges: Sequence[Range], *, most: int) -> list[Array]:
    """Return the correctly rounded sums.

    Args:
        values: finite float64, shape (n,).
        order: permutation that `ends` refers to, shape (n,); None: the order of `values`, as for `begins`.
        ranges: the ranges to sum.
        most: upper bound of the number of values in any range.

    Returns:
        One float64 array of shape (queries,) for each Range.
    """
    limbs = _Limbs.of(values, most)
    sums: list[list[Array]] = [[] for _ in ranges]
    for limb in limbs:
        by_place = _prefix(limb)
        by_order = by_place if order is None else _prefix(limb[order])
        for found, wanted in zip(sums, ranges, strict=True):
            found.append(by_order[wanted.ends] - by_place[wanted.begins])
    return [_rounded(found, limbs.bits, limbs.exponent) for found in sums]


@dataclass(frozen=True)
class _Limbs:
    """A column as limbs: value = sum of limb j * 2**(bits * j + exponent)."""

    values: Array
    exponent: int
    bits: int
    count: int

    @classmethod
    def of(cls, values: Array, most: int) -> _Limbs:
        room = SUM_BITS - max(most, 1).bit_length()
        largest = float(np.abs(values).max(initial=0.0))
        if largest < 2.0**room and bool(np.all(values == np.rint(values))):
            return cls(values, 0, room, 1)
        lowest, highest = _bit_range(values)
        width = highest - lowest
        bits = room if width <= room else min(room, DIGIT_BITS)
        return cls(values, lowest, bits, max(1, -(-width // bits)))

    def __iter__(self) -> Iterator[Array]:
        if self.count == 1:
            yield _scaled(self.values, -self.exponent).astype(np.int64)
            return
        mantissa, exponent = _parts(self.values)
        negative = np.signbit(self.values)
        shift = exponent - self.exponent
        mask = np.uint64((1 << self.bits) - 1)
        for _ in range(self.count):
            up = mantissa << np.clip(shift, 0, 63).astype(np.uint64)  # bits above the limb are masked away
            up[shift >= self.bits] = 0
            limb = np.where(shift >= 0, up, mantissa >> np.clip(-shift, 0, 63).astype(np.uint64)) & mask
            signed = limb.view(np.int64)
            yield np.where(negative, -signed, signed)
            shift = shift - self.bits


def _parts(values: Array) -> tuple[Array, Array]:
    """Return |value| as mantissa (uint64) and exponent (int64) of its last bit."""
    raw = values.view(np.uint64) if values.flags.c_contiguous else values.copy().view(np.uint64)
    field = ((raw >> np.uint64(52)) & np.uint64(0x7FF)).astype(np.int64)
    mantissa = (raw & np.uint64(_FRACTION)) | ((field > 0).astype(np.uint64) << np.uint64(52))
    return mantissa, np.maximum(field, 1) + (_LEAST_EXPONENT - 1)


def _bit_range(values: Array) -> tuple[int, int]:
    """Return the exponents of the column's lowest set bit and of the bit above its highest."""
    mantissa, exponent = _parts(values[values != 0])
    if len(mantissa) == 0:
        return 0, 1
    lowest_bit = mantissa & (~mantissa + np.uint64(1))
    trailing = np.frexp(lowest_bit.astype(np.float64))[1] - 1
    leading = np.frexp(mantissa.astype(np.float64))[1]  # mantissas have 53 bits, so the conversion is exact
    return int((exponent + trailing).min()), int((exponent + leading).max())


def _prefix(limb: Array) -> Array:
    sums = np.zeros(len(limb) + 1, dtype=np.int64)
    np.cumsum(limb, out=sums[1:])
    return sums


def _rounded(sums: list[Array], bits: int, exponent: int) -> Array:
    """Return sum of sums[j] * 2**(bits * j + exponent), rounded once."""
    if len(sums) == 1:
        return _scaled(sums[0].astype(np.float64), exponent)  # the conversion rounds to nearest even
    if len(sums) == 2 and bits <= DIGIT_BITS:
        high = sums[1] + (sums[0] >> bits)
        if int(np.abs(high).max(initial=0)) < 1 << DIGIT_BITS:  # both terms are exact: the addition rounds once
            low = sums[0] & ((1 << bits) - 1)
            return _scaled(np.ldexp(high.astype(np.float64), bits) + low.astype(np.float64), exponent)
    digits = _carried(sums, bits)
    negative = digits[-1] < 0
    if bool(negative.any()):
        digits = _carried([np.where(negative, -part, part) for part in sums], bits)
    magnitude = _round_digits([*digits[:-1], digits[-1] & ((1 << bits) - 1), digits[-1] >> bits], bits, exponent)
    signed: Array = np.where(negative, -magnitude, magnitude)
    return signed


def _carried(sums: list[Array], bits: int) -> list[Array]:
    """Return the same number with all but the last digit from 0 to 2**bits - 1."""
    digits, carry = [], np.zeros_like(sums[0])
    for part in sums[:-1]:
        total = part + carry
        digits.append(total & ((1 << bits) - 1))
        carry = total >> bits
    return [*digits, sums[-1] + carry]


def _round_digits(digits: list[Array], bits: int, exponent: int) -> Array:
    """Return the number of non-negative digits, rounded once: 62 leading bits, the last one sticky."""
    leading = np.zeros_like(digits[0])
    sticky = np.zeros(len(leading), dtype=bool)
    scale = np.full(len(leading), exponent + bits * len(digits), dtype=np.int64)
    for digit in reversed(digits):
        take = np.minimum(SUM_BITS - _bit_length(leading), bits)
        left = bits - take
        leading = (leading << take) | (digit >> left)
        sticky |= (digit & ((1 << left) - 1)) != 0
        scale -= take
    return _scaled((leading | sticky).astype(np.float64), scale)


def _bit_length(values: Array) -> Array:
    length: Array = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    length -= ((values >> np.maximum(length - 1, 0)) == 0) & (length > 0)  # where the conversion rounded up
    return length


def _scaled(values: Array, exponent: Array | int) -> Array:
    """Return values * 2**exponent; exact, because nothing has bits below 2**-1074."""
    if isinstance(exponent, int) and exponent == 0:
        return values
    with np.errstate(over="ignore"):
        scaled: Array = np.ldexp(values, exponent)
    return scaled
