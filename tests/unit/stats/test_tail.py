"""Window p-values: falling in the score, honest for exchangeable scores, and named by Holm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from trimtab.stats.tail import holm, tail_p, tail_size

SCORES = st.lists(st.floats(-50, 50), min_size=3, max_size=80)


@given(SCORES, st.floats(-60, 200), st.floats(0, 50))
def test_p_falls_as_the_score_rises(reference: list[float], value: float, more: float) -> None:
    lower, higher = tail_p(reference, value), tail_p(reference, value + more)
    assert 0 < higher <= lower <= 1


@given(SCORES, st.floats(-60, 60))
def test_within_the_reference_p_is_the_rank_or_more(reference: list[float], value: float) -> None:
    ranked = sorted(reference, reverse=True)
    rank = (1 + sum(s >= value for s in reference)) / (len(reference) + 1)
    if value <= ranked[tail_size(len(reference))]:
        assert tail_p(reference, value) == rank
    elif value <= ranked[0]:
        assert tail_p(reference, value) >= rank


def test_beyond_the_threshold_p_is_the_pareto_of_the_mean_excess() -> None:
    reference = np.arange(50.0)
    k, u = 10, 39.0
    excess = sum(range(1, 11))
    assert tail_p(reference, 60.0) == pytest.approx((k + 1) / 51 * (1 + (60 - u) / excess) ** -k)
    floored = tail_p(np.zeros(50), 2.0, floor=0.3)
    assert floored == pytest.approx((k + 1) / 51 * (1 + 2 / (0.3 * k)) ** -k)


@pytest.mark.parametrize(("m", "k"), [(3, 2), (9, 8), (30, 8), (41, 9), (60, 12), (100, 20)])
def test_the_tail_is_a_fifth_and_at_least_eight(m: int, k: int) -> None:
    assert tail_size(m) == k


def test_columns_are_judged_each_on_its_own() -> None:
    random = np.random.default_rng(0)
    reference, values = random.normal(size=(60, 7)), random.normal(size=7) * 3
    alone = [float(tail_p(reference[:, i], values[i], floor=0.1)) for i in range(7)]
    assert tail_p(reference, values, floor=0.1).tolist() == alone


@pytest.mark.parametrize("tail", ["normal", "exponential", "gumbel"])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_p_is_honest_for_exchangeable_scores(tail: str, alpha: float) -> None:
    # given 60 reference scores and one more from the same distribution, many times over
    random = np.random.default_rng(7)
    trials = 4_000
    scores: np.ndarray = getattr(random, tail)(size=(61, trials))
    hits = int((tail_p(scores[:60], scores[60]) <= alpha).sum())
    # then p <= alpha is not more frequent than alpha (99.9 % bound of the binomial)
    assert hits <= binom.ppf(0.999, trials, alpha)


def test_p_is_honest_when_some_days_stand_out() -> None:
    # given scores of which one in fifty is far above the others, as those of holidays are
    random = np.random.default_rng(8)
    trials, m = 4_000, 60
    scores = random.normal(size=(m + 1, trials)) + 8 * (random.random((m + 1, trials)) < 0.02)
    hits = int((tail_p(scores[:m], scores[m]) <= 0.01).sum())
    # then p <= .01 is no more frequent than a score above all others
    assert hits <= binom.ppf(0.999, trials, 1 / (m + 1))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_and_keeps_their_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(adjusted >= p)
    assert all(adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12)
    order = np.argsort(p, kind="stable")
    assert all(np.diff(adjusted[order]) >= 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
