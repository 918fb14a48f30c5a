"""Means over clusters: how often their bounds miss, and what fools them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from trimtab.errors import DataError
from trimtab.stats.paired.betting import betting_bound
from trimtab.stats.paired.clustered import clustered_mean, clustered_p

REPETITIONS = 600


def tolerance(share: float, n: int = REPETITIONS) -> float:
    return 3 * math.sqrt(share * (1 - share) / n)


def test_items_alone_give_the_t_test() -> None:
    d = np.random.default_rng(0).normal(0.1, 0.5, 40)
    found, expected = clustered_mean(d), scipy_stats.ttest_1samp(d, 0, alternative="greater")
    assert clustered_p(d) == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(expected.confidence_interval(0.95).low)
    assert found.clusters == 40


@pytest.mark.parametrize("clusters", [10, 50])
def test_bounds_of_clusters_hold_where_those_of_items_miss_three_times_as_often(clusters: int) -> None:
    random = np.random.default_rng(clusters)
    place = np.repeat(np.arange(clusters), 5)
    d = 0.2 * (random.normal(size=(REPETITIONS, clusters)).repeat(5, 1) + random.normal(size=(REPETITIONS, place.size)))
    missed = np.mean([clustered_mean(x, place).low > 0 for x in d])
    naive = np.mean([clustered_mean(x).low > 0 for x in d])
    assert missed < 0.05 + tolerance(0.05)
    assert naive > 0.10


def test_rare_large_losses_fool_t_and_not_the_betting_bound() -> None:
    random = np.random.default_rng(3)
    d = np.where(random.random((300, 50)) < 0.03, -1.0, 0.03 / 0.97)
    assert np.mean([clustered_mean(x).low > 0 for x in d]) > 0.15
    assert np.mean([betting_bound(x).low > 0 for x in d]) <= 0.05 + tolerance(0.05, 300)


@pytest.mark.parametrize(("n", "most"), [(50, 2.2), (200, 1.6), (1_000, 1.6)])
def test_the_betting_bound_misses_seldom_and_is_at_most_twice_as_far(n: int, most: float) -> None:
    random = np.random.default_rng(n)
    d = np.clip(random.normal(0, 0.3, (150, n)), -1, 1)
    bounds = [(betting_bound(x), clustered_mean(x)) for x in d]
    assert np.mean([exact.low > 0 for exact, _ in bounds]) <= 0.05 + tolerance(0.05, 150)
    assert np.mean([(exact.value - exact.low) / (t.value - t.low) for exact, t in bounds]) < most


def test_the_betting_bound_mirrors() -> None:
    x = np.random.default_rng(4).uniform(-1, 0.5, 80)
    found, mirrored = betting_bound(x), betting_bound(-x)
    assert (found.low, found.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-9)
    assert -1 <= found.low < found.value < found.high <= 1


def test_one_cluster_has_no_bounds_and_equal_differences_prove_nothing() -> None:
    alone = clustered_mean([0.1, 0.2], ["a", "a"])
    assert (alone.value, alone.clusters) == pytest.approx((0.15, 1))
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    assert clustered_p([0.1, 0.1, 0.1]) == clustered_p([0.1, 0.2], [1, 1]) == 1.0


def test_what_is_no_difference_is_refused() -> None:
    with pytest.raises(DataError, match="1 not finite"):
        clustered_mean([0.1, math.nan])
    with pytest.raises(DataError, match="2 differences, 3 clusters"):
        clustered_mean([0.1, 0.2], [1, 2, 3])
    with pytest.raises(DataError, match="all from 0 to 1"):
        betting_bound([1.5], low=0, high=1)
