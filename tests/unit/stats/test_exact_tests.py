"""The guard's exact tests, compared with SciPy's and with random counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy.stats import beta, binom, hypergeom

from trimtab.stats.exact_tests import ALPHA, at_least_apart, binomial_tail, fisher_tail, t_quantile

COUNTS = st.integers(1, 3_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, st.floats(0.0001, 0.9))
def test_the_binomial_tail_is_exact(counts: tuple[int, int], share: float) -> None:
    count, n = counts
    expected = binom.sf(count - 1, n, share) if count > n * share else 1.0
    assert binomial_tail(count, n, share) == pytest.approx(expected, rel=1e-7, abs=1e-250)


def test_it_is_exact_for_a_day_of_traffic() -> None:
    assert binomial_tail(20_500, 1_000_000, 0.02) == pytest.approx(binom.sf(20_499, 1_000_000, 0.02), rel=1e-6)


@given(COUNTS, st.floats(0.001, 0.5))
def test_a_tail_below_alpha_is_a_lower_bound_above_the_share(counts: tuple[int, int], share: float) -> None:
    count, n = counts
    low = beta.ppf(ALPHA, count, n - count + 1) if count else 0.0
    if abs(low - share) > 1e-6:
        assert (binomial_tail(count, n, share) < ALPHA) == (low > share)


def test_tails_at_the_ends() -> None:
    assert binomial_tail(0, 0, 0.02) == binomial_tail(0, 9, 0.0) == binomial_tail(9, 9, 1.0) == 1.0
    assert binomial_tail(1, 9, 0.0) == 0.0
    assert binomial_tail(10, 10, 0.02) == pytest.approx(0.02**10)


@given(COUNTS, COUNTS)
def test_the_tail_of_two_versions_that_fail_alike_is_exact(own: tuple[int, int], other: tuple[int, int]) -> None:
    (count, n), (other_count, other_n) = own, other
    expected = 1.0
    if count * other_n > other_count * n:
        expected = hypergeom.sf(count - 1, n + other_n, count + other_count, n)
    assert fisher_tail(count, n, other_count, other_n) == pytest.approx(expected, rel=1e-6, abs=1e-250)


@pytest.mark.parametrize(("n", "m", "bins"), [(50, 50, 20), (60, 2_000, 20), (3_000, 3_000, 20), (200, 200, 2)])
def test_the_distance_is_hardly_ever_more_than_the_truth(n: int, m: int, bins: int) -> None:
    rng = np.random.default_rng(7)
    for share in (0.0, 0.3, 0.6):  # of the mass that lies elsewhere
        one = np.full(bins, 1 / bins)
        other = (1 - share) * one
        other[0] += share
        truth = np.abs(one - other).sum() / 2
        drawn = (
            at_least_apart(rng.multinomial(n, one).tolist(), rng.multinomial(m, other).tolist()) for _ in range(300)
        )
        assert max(drawn) <= truth


def test_the_distance_of_large_samples_is_nearly_the_truth() -> None:
    assert at_least_apart([100_000, 0], [0, 100_000]) > 0.98
    assert at_least_apart([300, 0], [0, 3_000]) > 0.5
    assert at_least_apart([], []) == at_least_apart([0, 0], [1, 1]) == at_least_apart([5], [1, 1]) == 0.0


@given(st.floats(0.01, 0.9999), st.integers(1, 400))
def test_the_quantiles_are_those_of_scipy(confidence: float, degrees: int) -> None:
    expected = float(special.stdtrit(degrees, 0.5 + confidence / 2))
    assert t_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("confidence", "degrees"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_what_has_no_quantile_is_refused(confidence: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="has no quantile"):
        t_quantile(confidence, degrees)
