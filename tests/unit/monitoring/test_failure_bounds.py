"""What a window proves of a version, whatever chance did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from trimtab.monitoring.failure_bounds import CHANCE, error_rate_at_least, p99_at_least

COUNTS = st.integers(1, 5_000).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows)))


@pytest.mark.parametrize(("slow", "broken"), [(0, False), (9, False), (24, False), (25, True), (100, True)])
def test_a_pause_that_few_requests_wait_for_is_no_slow_version(slow: int, broken: bool) -> None:
    latency = np.r_[np.full(759 - slow, 1.0), np.full(slow, 253.0)]
    assert (p99_at_least(latency) > 250) is broken
    assert slow < 9 or np.quantile(latency, 0.99) > 250  # which alone would have broken the limit


def test_it_hardly_ever_says_more_than_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = -np.log(0.01)  # of an exponential with mean 1
    assert max(p99_at_least(rng.exponential(size=800)) for _ in range(2_000)) <= truth


def test_a_handful_of_rows_tells_nothing() -> None:
    assert p99_at_least(np.array([900.0, 900.0])) == 0.0
    assert p99_at_least(np.full(50, 900.0)) == 900.0


@pytest.mark.parametrize(
    ("errors", "rows", "broken"),
    [(0, 20, False), (1, 20, False), (2, 20, False), (10, 10, True), (4, 4, True), (3, 3, False), (100, 1_000, True)],
)
def test_one_failure_of_twenty_breaks_no_limit_and_a_total_failure_does(errors: int, rows: int, broken: bool) -> None:
    assert (error_rate_at_least(errors, rows) > 0.02) is broken


@given(COUNTS)
def test_at_the_bound_so_many_failures_are_just_possible(counts: tuple[int, int]) -> None:
    """By its definition: at that share, so many failures or more have the probability CHANCE."""
    errors, rows = counts
    low = error_rate_at_least(errors, rows)
    assert 0 <= low <= errors / rows
    assert errors == 0 or binom.sf(errors - 1, rows, low) == pytest.approx(CHANCE, rel=1e-5)


@given(COUNTS)
def test_more_failures_prove_more_and_more_rows_prove_less(counts: tuple[int, int]) -> None:
    errors, rows = counts
    assert error_rate_at_least(errors, rows + 1) <= error_rate_at_least(errors, rows)
    assert error_rate_at_least(errors, rows) <= error_rate_at_least(errors + 1, rows + 1)


@pytest.mark.parametrize(("rows", "share"), [(20, 0.05), (300, 0.02), (5_000, 0.01)])
def test_the_bound_is_hardly_ever_above_the_truth(rows: int, share: float) -> None:
    drawn = np.random.default_rng(0).binomial(rows, share, size=1_000_000)
    counts, times = np.unique(drawn, return_counts=True)
    wrong = sum(n for errors, n in zip(counts, times, strict=True) if error_rate_at_least(errors, rows) > share)
    assert wrong <= 8  # of a Poisson with mean 1, more have a chance of one in a million


@pytest.mark.parametrize(("requests", "broken"), [(1, False), (2, False), (6, False), (60, True)])
def test_the_rows_of_one_request_are_one_witness(requests: int, broken: bool) -> None:
    """Given 60 of 1,000 rows that failed, in one request or in many."""
    assert (error_rate_at_least(60, 1_000, failed_requests=requests) > 0.02) is broken


def test_a_request_that_is_all_there_was_proves_little() -> None:
    assert error_rate_at_least(500, 500, failed_requests=1) == pytest.approx(CHANCE)
    assert error_rate_at_least(0, 0) == 0.0
