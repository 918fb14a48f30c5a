"""A judge against people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from trimtab.errors import DataError
from trimtab.stats.paired.agreement import agreement, flips, kappa, length_slope
from trimtab.stats.schemes import Floats


def verdicts(
    n: int, *, rate: float = 0.67, sensitivity: float = 0.9, specificity: float = 0.7, seed: int = 0
) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    person = (random.random(n) < rate).astype(float)
    judge = (random.random(n) < np.where(person == 1, sensitivity, 1 - specificity)).astype(float)
    return judge, person


def test_kappa_is_that_of_scikit_learn_and_its_half_width_falls_with_labels() -> None:
    for n, half in ((50, 0.20), (100, 0.14), (200, 0.10)):
        widths = []
        for seed in range(40):
            judge, person = verdicts(n, seed=seed)
            found = kappa(judge, person, resamples=400)
            assert found.value == pytest.approx(cohen_kappa_score(judge, person))
            widths.append((found.high - found.low) / 2)
        assert np.mean(widths) == pytest.approx(half, abs=0.03)


def test_the_lower_bound_of_kappa_holds() -> None:
    judge, person = verdicts(400_000)
    true = kappa(judge, person, resamples=100).value
    missed = [kappa(*verdicts(100, seed=seed), resamples=300).low > true for seed in range(300)]
    assert np.mean(missed) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_the_parts_of_agreement() -> None:
    judge, person = [1, 1, 1, 0, 0], [1, 1, 0, 0, 1]
    found = agreement(judge, person)
    assert (found.n, found.agreement, found.base_rate, found.constant_agreement) == (5, 0.6, 0.6, 0.6)
    assert (found.sensitivity.value, found.specificity.value) == pytest.approx((2 / 3, 0.5))
    assert found.kappa.low <= found.kappa.value <= found.kappa.high


def test_what_shows_nothing_is_nan() -> None:
    found = agreement([1, 1, 1], [1, 1, 1])
    assert found.agreement == found.constant_agreement == 1.0
    assert math.isnan(found.kappa.value)
    assert not found.kappa.low >= 0.4
    assert math.isnan(found.specificity.value)
    assert math.isnan(length_slope([1, 0, 1], [1, 1, 1], [8, 8, 8]).value)


def test_flips_and_the_preference_for_long_answers() -> None:
    assert flips([1, 0, 1, 1], [1, 1, 1, 1]).value == 0.25
    random = np.random.default_rng(0)
    lengths = np.round(2.0 ** random.uniform(5, 11, 400))
    person = (random.random(400) < 0.6).astype(float)
    judge = np.clip(person + 0.05 * (np.log2(lengths) - 8), 0, 1)
    found = length_slope(judge, person, lengths)
    expected = np.polyfit(np.log2(lengths), judge - person, 1)[0]
    assert found.value == pytest.approx(expected)
    assert 0 < found.low < found.value < found.high


def test_other_values_than_verdicts_are_refused() -> None:
    for one, other in (([1, 0.5], [1, 0]), ([1], [1, 0]), ([], [])):
        with pytest.raises(DataError, match="verdicts"):
            kappa(one, other)
    with pytest.raises(DataError, match="lengths of 1 or more"):
        length_slope([1, 0], [1, 0], [0, 5])
