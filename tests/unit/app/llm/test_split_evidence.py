"""What conversations count for, and how it is said."""

from __future__ import annotations

import random

import pytest

from trimtab.app.llm.split_evidence import Pairing, crude_ratio, in_words, weigh
from trimtab.app.llm.split_traffic import Conversation
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.units import MICROS

HOUR = MICROS["h"]
PAIRING = Pairing(prompt="triage", champion=1, challenger=2, first=1, shares={1: 0.5, 2: 0.2})


def policy(llm: str) -> Policy:
    return parse_policy(f"project: p\ndecide: {{ labels_mature_after: 1h }}\nllm: {llm}\n")


BY_USER = policy("{ sticky: user, promote: { user_period: 10h, smallest_effect: 0 } }")
PLAIN = policy("{ promote: { smallest_effect: 0 } }")


def talk(key: str, hour: float, side: int, *, user: str = "", bad_after: float | None = None) -> Conversation:
    first = int(hour * HOUR)
    bad_at = None if bad_after is None else first + int(bad_after * HOUR)
    return Conversation(key=key, first=first, in_challenger=bool(side), revision=1, user=user or key, bad_at=bad_at)


def test_users_are_paired_when_the_time_of_both_is_over_by_the_share_of_their_bad_conversations() -> None:
    spoken = [
        talk("a1", 0, 0, user="a", bad_after=1), talk("a2", 5, 0, user="a"), talk("a3", 20, 0, user="a", bad_after=1),
        talk("b1", 2, 1, user="b"), talk("b2", 3, 1, user="b", bad_after=9),
        talk("c1", 4, 1, user="c"),
    ]  # fmt: skip
    early = weigh(spoken, PAIRING, BY_USER, 12 * HOUR)
    assert early.pairs == 0, "the time of b ends after 13 hours"
    found = weigh(spoken, PAIRING, BY_USER, 13 * HOUR)
    assert (found.pairs, found.unit) == (1, "users")
    assert found.bounds.ratio == pytest.approx(0.5 / 0.5), "a3 is too late to count, b2 became bad in time"
    assert weigh(spoken, PAIRING, BY_USER, 99 * HOUR).pairs == 1, "nobody is left to pair c with"


def test_a_user_whom_a_larger_share_has_moved_is_in_no_pair() -> None:
    moved = [talk("a1", 0, 0, user="a"), talk("a2", 1, 1, user="a"), talk("b1", 0, 1, user="b")]
    assert weigh(moved, PAIRING, BY_USER, 99 * HOUR).pairs == 0
    later = [talk("a1", 0, 0, user="a"), talk("a2", 10, 1, user="a"), talk("b1", 0, 1, user="b")]
    assert weigh(later, PAIRING, BY_USER, 99 * HOUR).pairs == 1, "it moved when its time was over"


def test_the_order_in_which_conversations_are_given_has_no_effect() -> None:
    drawn = random.Random(0)
    spoken = [
        talk(f"c{n}", n / 60, n % 2, bad_after=1 if drawn.random() < (0.1, 0.04)[n % 2] else None) for n in range(2_000)
    ]
    found = weigh(spoken, PAIRING, PLAIN, 99 * HOUR)
    drawn.shuffle(spoken)
    assert weigh(spoken, PAIRING, PLAIN, 99 * HOUR) == found
    assert found.verdict == "promote"
    assert sum(found.conversations) == 2_000


def test_only_so_many_conversations_count() -> None:
    few = policy("{ promote: { smallest_effect: 0, max_conversations: 10 } }")
    spoken = [talk(f"c{n}", n, n % 2, bad_after=0.5) for n in range(15)]
    found = weigh(spoken, PAIRING, few, 10 * HOUR)
    assert (found.verdict, found.decided_at, found.conversations) == ("expired", 10 * HOUR, (5, 5))
    assert weigh(spoken, PAIRING, few, 10 * HOUR - 1).verdict == "continue"


def test_an_event_counts_by_the_share_of_its_own_revision() -> None:
    spoken = [talk(f"c{n}", n / 60, n % 5 == 0, bad_after=1) for n in range(200)]
    half = weigh(spoken, PAIRING, PLAIN, 99 * HOUR)
    fifth = weigh(
        [Conversation(c.key, c.first, c.in_challenger, 2, c.user, 1, c.bad_at) for c in spoken],
        PAIRING,
        PLAIN,
        99 * HOUR,
    )
    assert (half.verdict, fifth.verdict) == ("promote", "continue")


def test_words() -> None:
    spoken = [talk(f"c{n}", n / 60, n % 2, bad_after=1 if n % 4 == 0 else None) for n in range(40)]
    assert in_words(weigh(spoken[:2], PAIRING, PLAIN, 0), PLAIN).endswith("(0 of 1 against 1 of 1 conversations)")
    nothing = weigh([talk("a", 0, 1)], PAIRING, PLAIN, 99 * HOUR)
    assert in_words(nothing, PLAIN) == (
        "not decided: rate of thumbs_down not known yet (0 of 1 against 0 of 0 conversations)"
    )
    assert crude_ratio(spoken) == 0.0
    assert crude_ratio(spoken[1:2]) != crude_ratio(spoken[1:2]), "NaN"
