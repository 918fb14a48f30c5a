"""Bets are fair, ranks are uniform, and the e-detector keeps its promise over a whole horizon."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom, kstest

from trimtab.stats.evidence import (
    BLOCK_WINDOWS,
    BLOCKS,
    KAPPAS,
    R_MAX,
    Mixture,
    calibrate,
    p_floor,
    power_bets,
    smoothed_ranks,
)
from trimtab.stats.schemes import Floats


def bet(mixture: Mixture, e_values: Sequence[Floats]) -> float:
    """Bet, and return R of the mixture."""
    mixture.bet(e_values)
    return mixture.total


@given(st.floats(1e-12, 1))
def test_the_calibrator_is_the_mean_of_all_power_bets(p: float) -> None:
    mean, _ = quad(lambda kappa: kappa * p ** (kappa - 1), 0, 1)
    assert calibrate(p) == pytest.approx(mean, rel=1e-3)


def test_bets_are_fair() -> None:
    # in u = -ln p the expectation of a bet is the integral of e(exp(-u)) exp(-u)
    def expectation(bet: int | None) -> float:
        def stake(u: float) -> float:
            p = np.exp(-u)
            return float((calibrate(p) if bet is None else power_bets(p)[bet]) * p)

        return float(quad(stake, 0, 600, limit=500)[0])

    assert expectation(None) <= 1
    assert [expectation(place) for place in range(len(KAPPAS))] == pytest.approx([1] * len(KAPPAS), rel=1e-3)


def test_smoothed_ranks_of_exchangeable_values_are_uniform_even_with_ties() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 3, size=(21, 3_000)).astype(float)
    ranks = smoothed_ranks(values[:20], values[20], random.random(3_000))
    assert kstest(ranks, "uniform").pvalue > 0.001


def test_the_e_detector_adds_a_stake_for_every_start() -> None:
    mixture = Mixture((1.0,), [np.ones(1)])
    assert [bet(mixture, [np.array([e])]) for e in (2.0, 3.0, 0.5)] == [2.0, 9.0, 5.0]
    assert mixture.p_value(100) == 1
    assert mixture.p_value(1) == 1 / 5


def test_groups_without_detectors_leave_their_weight_to_the_others() -> None:
    mixture = Mixture((0.4, 0.6), [np.ones(2), np.ones(0)])
    assert bet(mixture, [np.array([2.0, 4.0]), np.zeros(0)]) == pytest.approx(3.0)


@pytest.mark.parametrize("quiet", range(BLOCK_WINDOWS))
def test_bettors_leave_after_30_windows_at_the_latest(quiet: int) -> None:
    # given windows of e = 1, at any place in a block, then a change that multiplies every stake by 1,000
    mixture = Mixture((1.0,), [np.ones(1)])
    for _ in range(quiet):
        mixture.bet([np.ones(1)])
    for _ in range(3):
        mixture.bet([np.array([1e3])])
    # when it is over, the evidence stays while bettors of then are there
    later = [bet(mixture, [np.ones(1)]) for _ in range(BLOCKS * BLOCK_WINDOWS)]
    life = BLOCKS * BLOCK_WINDOWS
    assert min(later[: life - BLOCK_WINDOWS - 3]) > 1e6
    # and what remains are the bettors who started since, at most one a window
    assert later[-1] <= life


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=80))
def test_forgetting_never_adds_evidence(e_values: list[float]) -> None:
    # the whole sum of Shiryaev and Roberts, whose bound is Doob's, is never exceeded, and met while nobody has left
    mixture, whole = Mixture((1.0,), [np.ones(1)]), 0.0
    for place, e in enumerate(e_values):
        whole = (whole + 1) * e
        found = bet(mixture, [np.array([e])])
        assert found <= whole * (1 + 1e-9)
        if place < 15:  # too few for the largest stake
            assert found == pytest.approx(whole)


def test_evidence_does_not_grow_beyond_use() -> None:
    mixture = Mixture((1.0,), [np.ones(1)])
    for _ in range(50):
        mixture.bet([np.array([1e6])])
    assert R_MAX / BLOCKS <= mixture.total <= R_MAX


def test_no_evidence_yet_is_p_one() -> None:
    assert Mixture((1.0,), [np.ones(1)]).p_value(100) == 1


def test_false_alarms_over_the_horizon_stay_below_alpha() -> None:
    # given independent uniform p-values, the most that a detector may be fed when nothing changes
    random, horizon, trials = np.random.default_rng(3), 100, 2_000
    mixture = Mixture((1.0,), [np.ones(trials)])
    largest = np.zeros(trials)
    for _ in range(horizon):
        mixture.bet([calibrate(np.maximum(random.random(trials), p_floor(60)))])
        largest = np.maximum(largest, mixture.stakes[0].sum(axis=0))
    # then p_seq < alpha happens at any time in at most alpha of the trials
    for alpha in (0.05, 0.01):
        assert (horizon / largest < alpha).sum() <= binom.ppf(0.999, trials, alpha)


def test_a_mixture_survives_json() -> None:
    mixture = Mixture((0.4, 0.6), [np.array([1.3, 1.7]), np.ones((2, 1))])
    mixture.bet([np.array([2.2, 0.1]), np.full((2, 4), 1.1)])
    again = Mixture.from_state(json.loads(json.dumps(mixture.state())))
    more = [np.array([1.1, 3.3]), np.full((2, 4), 0.7)]
    assert again.total == mixture.total
    assert bet(again, more) == bet(mixture, more)
