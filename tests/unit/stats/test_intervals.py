"""Intervals: they cover as often as they say, and are wider when rows fail together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest

from trimtab.errors import DataError
from trimtab.metric_catalog import METRICS, Scale
from trimtab.stats.intervals import (
    MAX_CLUSTERS,
    MIN_OF_CLASS,
    MIN_ROWS,
    SCALES,
    cluster_interval,
    difference_interval,
    row_interval,
    wilson,
)
from trimtab.stats.metrics import FORMULAS, brier, metric_value, roc_auc

Array = np.ndarray[Any, Any]
Random = np.random.Generator


DAYS = 10
ROWS_A_DAY = 60


def binary_days(random: Random, days: int) -> tuple[Array, Array, Array]:
    """Labels, scores and scores of a champion: every day has its own level, days are of unlike size."""
    rows = random.integers(20, 2 * ROWS_A_DAY, days)
    day = np.repeat(np.arange(days), rows)
    x, level = random.normal(size=len(day)), random.normal(0, 0.5, days)[day]
    y = (random.random(len(day)) < expit(x - 1 + level)).astype(float)
    champion = expit(0.5 * x - 1 + 0.3 * random.normal(size=len(day)))
    return y, np.stack([expit(x - 1), champion]), day


def regression_days(random: Random, days: int) -> tuple[Array, Array, Array]:
    """The same of numbers."""
    rows = random.integers(20, 2 * ROWS_A_DAY, days)
    day = np.repeat(np.arange(days), rows)
    x, spread = random.normal(size=len(day)), np.exp(random.normal(0, 0.3, days))[day]
    y = x + spread * random.normal(size=len(day))
    return y, np.stack([0.9 * x, 0.5 * x + 0.3 * random.normal(size=len(day))]), day


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "brier", "rmse", "mae"])
def test_ten_days_cover_as_often_as_they_say(name: str) -> None:
    # given what is true, from very many days, of the figure and of the gain over a champion
    metric, facts = FORMULAS[name].function, METRICS[name]
    draw = binary_days if "binary" in facts.tasks else regression_days
    y, (own, other), _ = draw(np.random.default_rng(99), 4_000)
    truth = metric(y, own, 0.5)
    gain = truth - metric(y, other, 0.5)

    # when ten days are judged, many times over
    random, trials = np.random.default_rng(7), 160
    alone = difference = 0
    for seed in range(trials):
        y, (own, other), day = draw(random, DAYS)
        found = cluster_interval(
            lambda rows, y=y, s=own: metric(y[rows], s[rows], 0.5),  # type: ignore[misc]
            len(y),
            clusters=day,
            scale=facts.scale,
            seed=seed,
            resamples=500,
        )
        alone += found.low <= truth <= found.high
        paired = difference_interval(
            lambda y, s: metric(y, s, 0.5), y, own, other, clusters=day, seed=seed, resamples=500
        )
        difference += paired.low <= gain <= paired.high

    # then the interval holds the truth in 93 % of them or more
    assert min(alone, difference) >= 0.93 * trials, (alone, difference)


def test_rows_that_fail_together_are_one_unit() -> None:
    random = np.random.default_rng(1)
    days = np.repeat(np.arange(30), 50)
    x = random.normal(size=30)[days] + 0.1 * random.normal(size=1_500)
    alone = cluster_interval(lambda rows: float(x[rows].mean()), 1_500)
    together = cluster_interval(lambda rows: float(x[rows].mean()), 1_500, clusters=days)
    assert (alone.clusters, together.clusters) == (MAX_CLUSTERS, 30)
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.value == alone.value == pytest.approx(x.mean())


def test_few_units_of_equal_spread_have_the_t_interval() -> None:
    x = np.arange(4.0)
    found = cluster_interval(lambda rows: float(x[rows].mean()), 4)
    half = 3.182446 * x.std(ddof=1) / 2 * (1 + 1 / 4)
    assert (found.low, found.high) == pytest.approx((1.5 - half, 1.5 + half))


def test_equal_seeds_give_equal_intervals() -> None:
    x = np.random.default_rng(2).exponential(size=50)
    first, again, other = (
        cluster_interval(lambda rows: float(x[rows].mean()), 50, seed=seed, resamples=100) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_paired_difference_is_much_narrower_than_each_figure() -> None:
    random = np.random.default_rng(3)
    y = (random.random(800) < 0.3).astype(float)
    first = np.clip(0.3 + 0.3 * (y - 0.3) + 0.1 * random.normal(size=800), 0, 1)
    second = np.clip(first + 0.02 * random.normal(size=800), 0, 1)
    difference = difference_interval(brier, y, first, second, resamples=200)
    alone = cluster_interval(lambda rows: brier(y[rows], first[rows]), 800, resamples=200)
    assert difference.value == pytest.approx(brier(y, first) - brier(y, second))
    assert difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_a_figure_that_rests_on_one_unit_has_no_interval() -> None:
    y, score = np.array([1.0, 1, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    one = cluster_interval(lambda rows: roc_auc(y[rows], score[rows]), 4, clusters=[0, 0, 0, 1])
    assert one.value == 1.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(cluster_interval(lambda rows: 1.0, 4, clusters=[0] * 4).low)


@given(
    st.sampled_from([each for each in SCALES if each != "plain"]),
    st.lists(st.floats(0.001, 0.999), min_size=2, max_size=30),
)
def test_ends_stay_in_the_range_of_the_figure(scale: Scale, values: list[float]) -> None:
    x = np.array(values)
    found = cluster_interval(lambda rows: float(x[rows].mean()), len(x), scale=scale, resamples=100)
    assert found.low <= found.value <= found.high
    if scale == "share":
        assert found.low >= 0
        assert found.high <= 1
    if scale in ("positive", "error"):
        assert found.low >= 0
    if scale == "up_to_one":
        assert found.high <= 1


def test_a_figure_at_the_end_of_its_range_is_taken_as_it_is() -> None:
    y = np.array([0.0, 1.0] * 10)
    found = cluster_interval(lambda rows: roc_auc(y[rows], y[rows]), 20, clusters=np.arange(20) // 2, scale="share")
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


@given(st.integers(1, 400), st.data())
def test_wilson_equals_scipy(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    expected = binomtest(successes, trials).proportion_ci(0.9, method="wilson")
    found = wilson(successes, trials, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_settings_are_checked() -> None:
    with pytest.raises(DataError, match="rows 0"):
        cluster_interval(lambda rows: 0.0, 0)
    with pytest.raises(DataError, match=r"confidence 1\.5"):
        cluster_interval(lambda rows: 0.0, 5, confidence=1.5)
    with pytest.raises(DataError, match="5 rows but 4 clusters"):
        cluster_interval(lambda rows: 0.0, 5, clusters=[1, 2, 3, 4])
    with pytest.raises(DataError, match="expected as many of each"):
        difference_interval(brier, [1.0], [0.5], [0.5, 0.6])
    with pytest.raises(DataError, match="got 3 of 2"):
        wilson(3, 2)


def rows_of(name: str, random: Random, rows: int) -> tuple[Array, Array]:
    """Labels and scores of a window of independent rows, for which a metric is defined."""
    if name in ("rmse", "mae", "mean_pinball_loss"):
        y = random.normal(20, 5, rows)
        return y, y + random.normal(0, 2, rows)
    p = random.beta(2, 3, rows)
    return (random.random(rows) < p).astype(float), p


@pytest.mark.parametrize("name", ["log_loss", "brier", "accuracy", "roc_auc", "rmse", "mae", "mean_pinball_loss"])
def test_the_interval_of_a_window_covers_its_metric_as_often_as_it_says(name: str) -> None:
    random = np.random.default_rng(5)
    truth = metric_value(name, *rows_of(name, random, 200_000))
    found = [row_interval(name, *rows_of(name, random, 120)) for _ in range(300)]
    assert all(one.low < one.value < one.high for one in found)
    covered = sum(one.low <= truth <= one.high for one in found)
    assert binomtest(covered, len(found), 0.95).pvalue > 0.001, covered / len(found)


def test_the_spread_of_several_classes_counts_too() -> None:
    random = np.random.default_rng(2)
    scores = random.dirichlet([2, 2, 2], 500)
    y = np.array([random.choice(3, p=row) for row in scores], float)
    found = row_interval("log_loss", y, scores)
    losses = -np.log(scores[np.arange(500), y.astype(int)])
    assert found.value == pytest.approx(losses.mean())
    assert found.high / found.low == pytest.approx(
        math.exp(2 * 1.9647 * losses.std(ddof=1) / math.sqrt(500) / found.value), rel=1e-4
    )


def test_the_error_of_an_area_is_that_of_the_jackknife_over_rows() -> None:
    random = np.random.default_rng(3)
    y, p = rows_of("roc_auc", random, 300)
    areas = np.array([roc_auc(np.delete(y, place), np.delete(p, place)) for place in range(300)])
    error = math.sqrt(299 / 300 * ((areas - areas.mean()) ** 2).sum())
    found = row_interval("roc_auc", y, np.round(p, 1))  # with ties
    plain = row_interval("roc_auc", y, p)
    slope = plain.value * (1 - plain.value)
    low = expit(math.log(plain.value / (1 - plain.value)) - 1.968 * error / slope)
    assert plain.low == pytest.approx(low, abs=0.002)
    assert found.low < found.value < found.high


def test_a_window_that_shows_no_interval_has_none() -> None:
    random = np.random.default_rng(4)
    y, p = rows_of("brier", random, MIN_ROWS)
    assert math.isfinite(row_interval("brier", y, p).low)
    for name, label, score in (
        ("brier", y[1:], p[1:]),
        ("roc_auc", np.arange(60) < MIN_OF_CLASS - 1, random.random(60)),
        ("rmse", y, y + 1.0),  # all rows are the same
        ("accuracy", y, y),
        ("f1", y, p),
    ):
        found = row_interval(name, label, score)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
