"""Exact tests and bounds of pass rates, compared with SciPy's and with the error rates that the docs state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from trimtab.errors import DataError
from trimtab.stats.paired.pass_rates import bonett_price, clopper_pearson_upper, jeffreys, mcnemar

PAIRS = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(PAIRS)
def test_mcnemar_is_the_binomial_test_of_the_items_that_differ(pair: tuple[int, int]) -> None:
    b, c = pair
    expected = binomtest(b, b + c, alternative="greater").pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


@given(PAIRS, st.integers(1, 300))
def test_bonett_price_mirrors_and_stays_between_minus_one_and_one(pair: tuple[int, int], more: int) -> None:
    b, c = pair
    found, mirrored = bonett_price(b + c + more, b, c), bonett_price(b + c + more, c, b)
    assert (found.low, found.high) == pytest.approx((-mirrored.high, -mirrored.low))
    assert -1 <= found.low <= found.high <= 1
    assert found.confidence == 0.9


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("gained", [0.05, 0.1, 0.25])
def test_the_lower_bound_of_bonett_price_misses_in_at_most_five_percent(n: int, gained: float) -> None:
    lost = 0.05
    drawn = np.random.default_rng(1).multinomial(n, [gained, lost, 1 - gained - lost], size=1_500)[:, :2]
    pairs, times = np.unique(drawn, axis=0, return_counts=True)
    missed = [bonett_price(n, int(b), int(c)).low > gained - lost for b, c in pairs]
    assert times[missed].sum() / 1_500 < 0.05 + 3 * (0.05 * 0.95 / 1_500) ** 0.5


def test_mcnemar_finds_no_more_than_its_level_without_a_difference() -> None:
    b, c = np.random.default_rng(2).multinomial(200, [0.1, 0.1, 0.8], size=2_000)[:, :2].T
    below = np.mean([mcnemar(int(x), int(y)) < 0.05 for x, y in zip(b, c, strict=True)])
    assert 0.02 < below < 0.05 + 3 * (0.05 * 0.95 / 2_000) ** 0.5


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_and_jeffreys_bounds_are_quantiles_of_beta(counts: tuple[int, int]) -> None:
    count, n = counts
    upper = beta.ppf(0.95, count + 1, n - count) if count < n else 1.0
    assert clopper_pearson_upper(count, n) == pytest.approx(upper, rel=1e-8)
    found = jeffreys(count, n)
    assert found.low == pytest.approx(beta.ppf(0.05, count + 0.5, n - count + 0.5) if count else 0.0, rel=1e-6)
    assert found.low <= found.value <= found.high <= clopper_pearson_upper(count, n)


def test_none_of_fifty_still_means_up_to_six_percent_and_one_percent_takes_three_hundred() -> None:
    assert clopper_pearson_upper(0, 50) == pytest.approx(0.058, abs=0.0005)
    assert clopper_pearson_upper(0, 299) < 0.01 < clopper_pearson_upper(0, 297)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: mcnemar(-1, 2),
        lambda: bonett_price(10, 8, 3),
        lambda: bonett_price(10, 1, 1, confidence=95),
        lambda: clopper_pearson_upper(3, 2),
        lambda: jeffreys(0, 0),
    ],
)
def test_counts_that_cannot_be_are_refused(refused: object) -> None:
    with pytest.raises(DataError, match="expected"):
        refused()  # type: ignore[operator]  # a table of calls
