"""Evidence of pairs of users."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stats.live.user_evidence import UserPairEvidence
from trimtab.stats.schemes import Floats

RATES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40)


def users(rate: float, n: int, random: np.random.Generator) -> Floats:
    """Return the bad share of each of some users with 20 ratings, who differ from one another."""
    shares: Floats = random.binomial(20, random.beta(rate * 15, (1 - rate) * 15, n)) / 20
    return shares


def test_users_who_return_promote_no_more_than_five_percent_without_a_difference() -> None:
    random, found = np.random.default_rng(0), []
    for _ in range(300):
        evidence = UserPairEvidence()
        evidence.add(users(0.1, 800, random), users(0.1, 800, random))
        found.append(evidence.verdict)
    for wrong in ("promote", "harm"):
        assert found.count(wrong) / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("rate", "median"), [(0.07, 200), (0.05, 105)])
def test_a_better_challenger_is_promoted_after_so_many_pairs(rate: float, median: int) -> None:
    random, after = np.random.default_rng(1), []
    for _ in range(60):
        evidence = UserPairEvidence()
        evidence.add(users(0.1, 1_000, random), users(rate, 1_000, random))
        assert evidence.verdict == "promote"
        after.append(evidence.decided_after)
    assert np.median(after) == pytest.approx(median, rel=0.3)


@given(RATES, st.integers(0, 40))
def test_groups_and_restarts_change_nothing(pairs: list[tuple[float, float]], cut: int) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    one = UserPairEvidence(smallest_effect=0.2, confidence=0.8)
    one.add(a, b)
    other = UserPairEvidence(smallest_effect=0.2, confidence=0.8)
    other.add(a[:cut], b[:cut])
    other = UserPairEvidence.from_state(json.loads(json.dumps(other.state())))
    for x, y in pairs[cut:]:
        other.add([x], [y])
    assert (other.verdict, other.decided_after, other.pairs) == (one.verdict, one.decided_after, one.pairs)
    assert other.bounds() == one.bounds()


def test_the_bounds_hold_the_ratio_and_agree_with_the_verdict() -> None:
    random, missed = np.random.default_rng(2), 0
    for _ in range(100):
        evidence = UserPairEvidence()
        evidence.add(users(0.1, 300, random), users(0.08, 300, random))
        found = evidence.bounds()
        missed += found.high < 0.8
        assert found.low <= found.ratio <= found.high
        assert (evidence.value("promote") >= 20) == (found.high <= 1.0)
    assert missed / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_a_tolerated_loss_and_a_smallest_effect() -> None:
    random = np.random.default_rng(3)
    equal = users(0.2, 1_500, random), users(0.2, 1_500, random)
    tolerant, strict = UserPairEvidence(tolerate=0.5), UserPairEvidence(smallest_effect=0.5)
    tolerant.add(*equal)
    strict.add(*equal)
    assert (tolerant.verdict, strict.verdict) == ("promote", "futile")
    worse = UserPairEvidence()
    worse.add(users(0.1, 1_500, random), users(0.2, 1_500, random))
    assert worse.verdict == "harm"


def test_without_pairs_nothing_is_known() -> None:
    found = UserPairEvidence().bounds()
    assert math.isnan(found.ratio)
    assert (found.low, found.high) == (0.0, math.inf)
    with pytest.raises(DataError, match="from 0 to 1"):
        UserPairEvidence().add([1.5], [0.2])
