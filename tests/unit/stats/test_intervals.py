"""Intervals: they cover as often as they say, and are wider when rows fail together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from trimtab.errors import DataError
from trimtab.stats import bootstrap, bootstrap_difference, wilson
from trimtab.stats.metrics import brier, roc_auc


def test_the_interval_of_a_mean_covers_it() -> None:
    random, trials = np.random.default_rng(0), 200
    covered = 0
    for seed in range(trials):
        x = random.normal(size=60)
        found = bootstrap(lambda rows, x=x: x[rows].mean(), 60, resamples=200, seed=seed)  # type: ignore[misc]
        covered += found.low <= 0 <= found.high
    assert covered >= binom.ppf(0.001, trials, 0.92)


def test_rows_that_fail_together_are_drawn_together() -> None:
    random = np.random.default_rng(1)
    days = np.repeat(np.arange(30), 50)
    x = random.normal(size=30)[days] + 0.1 * random.normal(size=1_500)
    alone = bootstrap(lambda rows: float(x[rows].mean()), 1_500)
    together = bootstrap(lambda rows: float(x[rows].mean()), 1_500, clusters=days)
    assert (alone.clusters, together.clusters) == (1_500, 30)
    assert together.high - together.low > 4 * (alone.high - alone.low)
    assert together.value == alone.value == pytest.approx(x.mean())


def test_equal_seeds_give_equal_intervals() -> None:
    x = np.random.default_rng(2).normal(size=50)
    first, again, other = (bootstrap(lambda rows: float(x[rows].mean()), 50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_paired_difference_is_much_narrower_than_each_figure() -> None:
    random = np.random.default_rng(3)
    y = (random.random(800) < 0.3).astype(float)
    first = np.clip(0.3 + 0.3 * (y - 0.3) + 0.1 * random.normal(size=800), 0, 1)
    second = np.clip(first + 0.02 * random.normal(size=800), 0, 1)
    difference = bootstrap_difference(brier, y, first, second, resamples=200)
    alone = bootstrap(lambda rows: brier(y[rows], first[rows]), 800, resamples=200)
    assert difference.value == pytest.approx(brier(y, first) - brier(y, second))
    assert difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_a_metric_that_is_seldom_defined_has_no_interval() -> None:
    y, score = np.array([1.0, 1, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    defined = bootstrap(lambda rows: roc_auc(y[rows], score[rows]), 4, resamples=100)
    assert (defined.low, defined.high) == (1.0, 1.0)
    never = bootstrap(lambda rows: roc_auc(y[rows][:1], score[rows][:1]), 4, resamples=20)
    assert math.isnan(never.low)
    assert math.isnan(never.high)


@given(st.integers(1, 400), st.data())
def test_wilson_equals_scipy(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    expected = binomtest(successes, trials).proportion_ci(0.9, method="wilson")
    found = wilson(successes, trials, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_settings_are_checked() -> None:
    with pytest.raises(DataError, match="rows 0"):
        bootstrap(lambda rows: 0.0, 0)
    with pytest.raises(DataError, match=r"confidence 1\.5"):
        bootstrap(lambda rows: 0.0, 5, confidence=1.5)
    with pytest.raises(DataError, match="5 rows but 4 clusters"):
        bootstrap(lambda rows: 0.0, 5, clusters=[1, 2, 3, 4])
    with pytest.raises(DataError, match="expected as many of each"):
        bootstrap_difference(brier, [1.0], [0.5], [0.5, 0.6])
    with pytest.raises(DataError, match="got 3 of 2"):
        wilson(3, 2)
