"""Effect sizes: what they are for shifts whose size is known."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.stats.effects import cut_spans, shares_moved, stability_index, wasserstein
from trimtab.stats.profile import profile
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins


def counts(values: object, bins: Bins) -> np.ndarray:
    """Counts of one column, [1, 35]."""
    return np.array([profile(np.asarray(values), bins).counts])


@pytest.mark.parametrize("shift", [0.1, 0.3, 1.0])
def test_wasserstein_of_a_shift_is_the_shift(shift: float) -> None:
    x = np.random.default_rng(0).normal(10, 4, size=50_000)
    bins = NumericBins.from_reference(x)
    found = wasserstein(counts(x + 4 * shift, bins), counts(x, bins), cut_spans([bins]))
    assert found[0] == pytest.approx(shift, rel=0.12)


def test_wasserstein_of_a_share_of_zeros_and_ones() -> None:
    before, after = [0] * 70 + [1] * 30, [0] * 50 + [1] * 50
    bins = NumericBins.from_reference(before)
    found = wasserstein(counts(after, bins), counts(before, bins), cut_spans([bins]))
    assert found[0] == pytest.approx(0.2 / np.std(before))


def test_a_change_of_unit_is_far_and_a_constant_has_no_unit() -> None:
    x = np.random.default_rng(0).uniform(1, 2, size=1_000)
    bins, constant = NumericBins.from_reference(x), NumericBins.from_reference([3.0])
    assert wasserstein(counts(100 * x, bins), counts(x, bins), cut_spans([bins]))[0] > 9
    assert np.isnan(wasserstein(counts([4.0], constant), counts([3.0], constant), cut_spans([constant]))[0])


def test_missing_values_are_no_distance() -> None:
    x = np.random.default_rng(0).normal(10, 4, size=1_000)
    bins = NumericBins.from_reference(x)
    found = wasserstein(counts([*x, *[np.nan] * 1_000], bins), counts(x, bins), cut_spans([bins]))
    assert found[0] == pytest.approx(0)


def test_shares_moved() -> None:
    numbers, names = NumericBins.from_reference([0, 1, 2, 3]), CategoryBins.from_reference(["a", "b"])
    window = np.concatenate([counts([3] * 10, numbers), counts(["a"] * 7 + ["b"] * 3, names)])
    pool = np.concatenate([counts([0] * 4 + [3] * 6, numbers), counts(["a"] * 5 + ["b"] * 5, names)])
    assert shares_moved(window, pool, 1) == pytest.approx([0.4, 0.2])


def test_stability_index_is_zero_for_the_same_and_the_formula_for_another() -> None:
    names = CategoryBins.from_reference(["a", "b"])
    pool = counts(["a"] * 500_000 + ["b"] * 500_000, names)
    assert stability_index(pool // 1_000, pool)[0] == pytest.approx(0, abs=1e-3)
    window = counts(["a"] * 700_000 + ["b"] * 300_000, names)
    expected = 0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5)
    assert stability_index(window, pool)[0] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("times", [1, 7])
def test_stability_index_of_equal_shares_is_zero_however_few_slots_they_fill(times: int) -> None:
    few = np.zeros((1, 35), np.int64)
    few[0, [3, 5, 9]] = 8706, 8706, 8703
    assert stability_index(few, times * few)[0] == pytest.approx(0, abs=1e-15)
    assert stability_index(np.zeros((1, 35), np.int64), few)[0] == 0, "a window without rows says nothing"


def test_stability_index_of_a_new_category_is_finite_and_the_same_both_ways() -> None:
    before, after = np.zeros((2, 1, 35), np.int64)
    before[0, 0] = after[0, 1] = 1_000
    assert stability_index(before, after)[0] == pytest.approx(stability_index(after, before)[0])
    assert 5 < stability_index(before, after)[0] < 20
