"""The usual tests give what SciPy and their definitions give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trimtab.stats.row_tests import (
    CATEGORY_TESTS,
    ORDERED_TESTS,
    chi_square,
    jensen_shannon,
    kolmogorov_smirnov,
    stability_index,
    wasserstein,
)

RANDOM = np.random.default_rng(0)
BEFORE, NOW = RANDOM.normal(0, 2, 4_000), RANDOM.normal(1, 2, 3_000)


def test_ks_and_wasserstein_are_scipy_s() -> None:
    assert kolmogorov_smirnov(BEFORE, NOW).statistic == stats.ks_2samp(BEFORE, NOW).statistic
    expected = stats.wasserstein_distance(BEFORE, NOW) / BEFORE.std()
    assert wasserstein(BEFORE, NOW).statistic == pytest.approx(expected)


def test_chi_square_is_the_sum_over_cells() -> None:
    found = chi_square({"a": 30, "b": 70}, {"a": 50, "b": 50})
    expected = sum((o - e) ** 2 / e for o, e in ((30, 40), (70, 60), (50, 40), (50, 60)))
    assert found.statistic == pytest.approx(expected)
    assert chi_square({"a": 3}, {"a": 5}) == (0.0, 1.0)


def test_stability_index_of_a_shift_is_near_its_integral() -> None:
    """For two normal distributions d standard deviations apart the integral is d squared; bins lose some of it."""
    shift = (NOW.mean() - BEFORE.mean()) / BEFORE.std()
    assert 0.85 * shift**2 < stability_index(BEFORE, NOW).statistic < 1.05 * shift**2
    assert stability_index(BEFORE, BEFORE).statistic == 0


def test_jensen_shannon_lies_between_0_and_1() -> None:
    assert jensen_shannon(BEFORE, BEFORE).statistic == pytest.approx(0, abs=1e-6)
    assert 0.8 < jensen_shannon(BEFORE, BEFORE + 100).statistic <= 1


@pytest.mark.parametrize("name", ORDERED_TESTS)
def test_every_test_of_numbers_takes_constants_and_sees_a_large_shift(name: str) -> None:
    test = ORDERED_TESTS[name]
    flat = np.ones(50)
    assert not test.alarm(test.run(flat, flat))
    assert test.alarm(test.run(BEFORE, NOW + 5))


@pytest.mark.parametrize("name", CATEGORY_TESTS)
def test_every_test_of_categories_sees_a_new_one(name: str) -> None:
    test = CATEGORY_TESTS[name]
    assert not test.alarm(test.run({"a": 50, "b": 50}, {"a": 51, "b": 49}))
    assert test.alarm(test.run({"a": 50, "b": 50}, {"c": 100}))
