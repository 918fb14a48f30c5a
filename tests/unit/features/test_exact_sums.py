"""Sums of ranges equal the exact sum rounded once, for columns of every make."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.features.exact_sums import Range, range_sums

RNG = np.random.default_rng(7)
COLUMNS = {
    "integers": RNG.integers(-1000, 1000, 300).astype(float),
    "large integers": RNG.integers(-(2**62), 2**62, 300).astype(float),
    "quarters": RNG.integers(-1000, 1000, 300) / 4,
    "cents": np.round(RNG.normal(size=300) * 100, 2),
    "normal": RNG.normal(size=300),
    "many scales": np.exp(RNG.normal(size=300) * 20) * RNG.choice([-1, 1], 300),
    "all scales": RNG.normal(size=300) * 10.0 ** RNG.integers(-300, 300, 300),
    "subnormal": RNG.integers(-5, 5, 300) * 5e-324,
    "almost subnormal": RNG.normal(size=300) * 1e-308,
    "overflowing": RNG.choice([1.7e308, -1.7e308, 1e292, -0.1], 300),
    "cancelling": np.tile([1e16, 1.0, -1e16], 100),
    "zeros": np.tile([0.0, -0.0], 150),
}


def exact(values: list[float]) -> float:
    total = sum(map(Fraction, values), Fraction(0))
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf


@pytest.mark.parametrize("name", COLUMNS)
def test_ranges_of_a_column_are_rounded_once(name: str) -> None:
    values = COLUMNS[name]
    begins = RNG.integers(0, 301, 200)
    ends = RNG.integers(begins, 301)
    (found,) = range_sums(values, None, [Range(ends, begins)], most=300)
    expected = np.array([exact(values[begin:end].tolist()) for begin, end in zip(begins, ends, strict=True)])
    assert found.tobytes() == expected.tobytes()


@settings(max_examples=200)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30),
    most=st.integers(0, 40).map(lambda power: 2**power),
    seed=st.integers(0, 1000),
)
def test_any_floats_any_limb_width_any_order(values: list[float], most: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(values))
    column = np.array(values, dtype=np.float64)
    whole = Range(np.array([len(values), 0]), np.array([0, 0]))
    (found,) = range_sums(column, order, [whole], most=max(most, len(values)))
    assert found.tobytes() == np.array([exact(values), 0.0]).tobytes()


def test_halves_go_to_even_in_every_path() -> None:
    # given sums that lie exactly between two float64, in one, two and many limbs
    for scale in (1.0, 2.0**-30, 2.0**-60):
        values = np.array([2.0**53, 1.0, scale, -scale, 2.0**54, 2.0])
        (found,) = range_sums(values, None, [Range(np.array([2, 4, 6, 3]), np.array([0, 0, 4, 0]))], most=6)
        assert found.tolist() == [2.0**53, 2.0**53, 2.0**54, exact([2.0**53, 1.0, scale])]
