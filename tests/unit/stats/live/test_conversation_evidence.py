"""Evidence of conversations: how often it promotes without a difference, and how soon it finds one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stats.live.conversation_evidence import ConversationEvidence

EVENTS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.5, 0.25])), max_size=60)


def verdicts(
    ratio: float,
    repetitions: int,
    *,
    conversations: int = 40_000,
    rate: float = 0.05,
    share: float = 0.5,
    seed: int = 0,
) -> tuple[list[str], list[float]]:
    """Return the verdict of each repetition, and after how many conversations it was reached."""
    random = np.random.default_rng(seed)
    mean = rate * (1 - share) + rate * ratio * share
    found: list[str] = []
    after: list[float] = []
    for _ in range(repetitions):
        events = random.binomial(conversations, mean)
        evidence = ConversationEvidence()
        evidence.add(random.random(events) < share * ratio / (share * ratio + 1 - share), np.full(events, share))
        found.append(evidence.verdict)
        after.append(evidence.decided_after / mean if evidence.decided_after else math.inf)
    return found, after


def test_heavy_users_and_swinging_rates_and_shares_promote_and_harm_no_more_than_five_percent() -> None:
    random = np.random.default_rng(1)
    found = []
    for _ in range(160):
        users = random.pareto(1.5, 300)
        rate = np.clip(0.02 + 0.03 * (1 + np.sin(np.arange(20_000) / 3_000)) * random.choice(users, 20_000), 0, 0.6)
        share = np.where(np.arange(20_000) < 8_000, 0.1, 0.5)
        bad = random.random(20_000) < rate
        evidence = ConversationEvidence()
        evidence.add((random.random(20_000) < share)[bad][:2_500], share[bad][:2_500])
        found.append(evidence.verdict)
    for wrong in ("promote", "harm"):
        assert found.count(wrong) / 160 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 160)


@pytest.mark.parametrize(
    ("ratio", "share", "median"), [(0.7, 0.5, 3_700), (0.7, 0.1, 10_500), (0.5, 0.5, 1_200), (0.5, 0.1, 3_500)]
)
def test_a_better_challenger_is_promoted_after_so_many_conversations(ratio: float, share: float, median: int) -> None:
    found, after = verdicts(ratio, 60, share=share)
    assert found.count("promote") >= 55
    assert np.median(after) == pytest.approx(median, rel=0.35)


def test_a_worse_challenger_is_found_harmful() -> None:
    found, _ = verdicts(1.5, 40)
    assert found.count("harm") >= 38


def test_a_z_test_that_is_looked_at_again_and_again_promotes_several_times_as_often() -> None:
    random = np.random.default_rng(2)
    bad = random.random((200, 2, 2_000)) < 0.2
    rates = np.cumsum(bad, axis=2)[:, :, 49::50] / np.arange(50, 2_001, 50)
    error = np.sqrt(2 * rates.mean(axis=1) * (1 - rates.mean(axis=1)) / np.arange(50, 2_001, 50))
    peeking = ((rates[:, 0] - rates[:, 1]) / error > 1.645).any(axis=1).mean()
    assert peeking > 0.2


@given(EVENTS, st.integers(0, 60))
def test_groups_and_restarts_change_nothing(events: list[tuple[bool, float]], cut: int) -> None:
    hits, shares = [hit for hit, _ in events], [share for _, share in events]
    settings = {"smallest_effect": 0.1, "confidence": 0.8}
    one = ConversationEvidence(**settings)
    one.add(hits, shares)
    other = ConversationEvidence(**settings)
    other.add(hits[:cut], shares[:cut])
    other = ConversationEvidence.from_state(json.loads(json.dumps(other.state())))
    for hit, share in events[cut:]:
        other.add([hit], [share])
    assert (other.verdict, other.decided_after, other.events) == (one.verdict, one.decided_after, one.events)
    assert other.bounds() == one.bounds()
    assert other.value("futile") == pytest.approx(one.value("futile"))


@given(EVENTS)
def test_exchanged_roles_mirror_the_evidence(events: list[tuple[bool, float]]) -> None:
    hits, shares = np.array([hit for hit, _ in events], bool), np.array([share for _, share in events])
    one, mirrored = ConversationEvidence(), ConversationEvidence()
    one.add(hits, shares)
    mirrored.add(~hits, 1 - shares)
    assert mirrored.value("harm") == pytest.approx(one.value("promote"), rel=1e-6)
    assert mirrored.bounds().low == pytest.approx(1 / one.bounds().high, rel=0.011)


def test_the_bounds_agree_with_the_verdict_and_hold() -> None:
    random = np.random.default_rng(3)
    missed = 0
    for _ in range(150):
        evidence = ConversationEvidence()
        evidence.add(random.random(300) < 0.8 / 1.8, np.full(300, 0.5))
        found = evidence.bounds()
        missed += found.high < 0.8
        assert found.low <= found.ratio <= found.high
        if evidence.value("promote") >= 20:
            assert found.high <= 1.0 * 1.011
    assert missed / 150 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_with_a_tolerated_loss_an_equal_challenger_is_promoted_and_a_much_worse_one_is_not() -> None:
    random = np.random.default_rng(4)
    equal, worse = ConversationEvidence(tolerate=0.25), ConversationEvidence(tolerate=0.25)
    equal.add(random.random(4_000) < 0.5, np.full(4_000, 0.5))
    worse.add(random.random(4_000) < 1.6 / 2.6, np.full(4_000, 0.5))
    assert (equal.verdict, worse.verdict) == ("promote", "harm")


def test_a_gain_that_is_surely_too_small_is_futile() -> None:
    evidence = ConversationEvidence(smallest_effect=0.3)
    evidence.add(np.tile([True, False], 2_000), np.full(4_000, 0.5))
    assert evidence.verdict == "futile"


def test_millions_of_events_overflow_nothing() -> None:
    evidence = ConversationEvidence()
    for _ in range(5):
        evidence.add(np.zeros(10_000, bool), np.full(10_000, 0.5))
    assert evidence.value("promote") > 1e300
    assert evidence.bounds().low == 0.0
    assert evidence.bounds().high < 0.03


def test_shares_that_decide_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="a share between 0 and 1"):
        ConversationEvidence().add([True], [1.0])
    with pytest.raises(DataError, match=r"smallest_effect 1\.5"):
        ConversationEvidence(smallest_effect=1.5)
    with pytest.raises(DataError, match="no evidence for 'futile'"):
        ConversationEvidence().value("futile")
