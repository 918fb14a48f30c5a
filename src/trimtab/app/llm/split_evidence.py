"""What the conversations of a split show: a verdict, with bounds and in words. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.app.llm.split_traffic import Conversation
from trimtab.policy.model import Policy
from trimtab.stats.live.conversation_evidence import ConversationEvidence, RatioBounds
from trimtab.stats.live.user_evidence import UserPairEvidence

SplitVerdict = Literal["promote", "futile", "harm", "continue", "expired"]
SAID: dict[SplitVerdict, str] = {
    "promote": "the challenger is better",
    "harm": "the challenger is worse",
    "futile": "the challenger gains too little",
    "continue": "not decided",
    "expired": "no verdict",
}


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A champion and a challenger that share the traffic."""

    prompt: str
    champion: int
    challenger: int
    first: int
    """Number of the revision by which they began to."""
    shares: Mapping[int, float]
    """Revision -> probability with which a conversation goes to the challenger."""


@dataclass(frozen=True, kw_only=True)
class LiveEvidence:
    """What the traffic so far shows."""

    verdict: SplitVerdict
    decided_at: int
    """Event time of what decided, microseconds since 1970; 0 while nothing has."""
    unit: Literal["conversations", "users"]
    conversations: tuple[int, int]
    """Of the champion and of the challenger."""
    bad: tuple[int, int]
    """Of these, with a bad event."""
    pairs: int
    """Of users whose time is over; 0 where conversations are the unit."""
    bounds: RatioBounds


def weigh(
    conversations: Iterable[Conversation], pairing: Pairing, policy: Policy, reached: int, *, before: int | None = None
) -> LiveEvidence:
    """Return what conversations show. The order in which they are given has no effect.

    reached: event time up to which the log was read, microseconds since 1970. before: only what was known before that
    time counts.
    """
    now = reached if before is None else before
    begun = sorted((c for c in conversations if before is None or c.first < before), key=lambda c: (c.first, c.key))
    counted = begun[: policy.llm.promote.max_conversations]
    known = {c.key: c.bad_at for c in counted if c.bad_at is not None and (before is None or c.bad_at < before)}
    rule, wait = policy.llm.promote, policy.decide.labels_mature_after
    settings = {
        "tolerate": rule.tolerate,
        "smallest_effect": rule.smallest_effect,
        "confidence": policy.rollout.promote_when.confidence,
    }
    times: list[int]
    if policy.llm.sticky == "user":
        wait += rule.user_period
        by_user = UserPairEvidence(**settings)
        rates, times = _pairs(counted, known, rule.user_period, wait, now)
        by_user.add([champion for champion, _ in rates], [challenger for _, challenger in rates])
        evidence: ConversationEvidence | UserPairEvidence = by_user
        pairs = by_user.pairs
    else:
        by_conversation = ConversationEvidence(**settings)
        events = sorted((known[c.key], c.key, c) for c in counted if c.key in known)
        times = [at for at, _, _ in events]
        by_conversation.add([c.in_challenger for _, _, c in events], [pairing.shares[c.revision] for _, _, c in events])
        evidence, pairs = by_conversation, 0
    verdict: SplitVerdict = evidence.verdict
    decided_at = times[evidence.decided_after - 1] if evidence.decided_after else 0
    full = counted[-1].first + wait if len(counted) == rule.max_conversations else None
    if verdict == "continue" and full is not None and now >= full:
        verdict, decided_at = "expired", full
    return LiveEvidence(
        verdict=verdict,
        decided_at=decided_at,
        unit="users" if policy.llm.sticky == "user" else "conversations",
        conversations=_by_side(counted),
        bad=_by_side(c for c in counted if c.key in known),
        pairs=pairs,
        bounds=evidence.bounds(),
    )


def in_words(found: LiveEvidence, policy: Policy) -> str:
    """Return the sentence that says what was found, and on what."""
    rule, confidence = policy.llm.promote, policy.rollout.promote_when.confidence
    said = SAID[found.verdict]
    if found.verdict == "promote" and rule.tolerate:
        said = f"the challenger is at most {rule.tolerate:.3g} worse"
    if found.verdict == "futile":
        said = f"the challenger has less than {rule.smallest_effect:.0%} fewer bad events"
    shown = " against ".join(
        f"{bad:,} of {all_:,}" for bad, all_ in zip(reversed(found.bad), reversed(found.conversations), strict=True)
    )
    bounds, ratio = found.bounds, "not known yet"
    if bounds.ratio == bounds.ratio:  # not NaN
        ratio = (
            f"{bounds.ratio:.2f} times the champion's, {bounds.low:.2f} to {bounds.high:.2f} at {confidence:.0%} each"
        )
    on = f", by {found.pairs:,} pairs of users" if found.unit == "users" else ""
    return f"{said}: rate of {rule.metric} {ratio} ({shown} conversations{on})"


def crude_ratio(conversations: Sequence[Conversation]) -> float:
    """Return the rate of bad conversations of the challenger over that of the champion; NaN where it is not known."""
    champion, challenger = _by_side(conversations)
    bad, bad_in_challenger = _by_side(c for c in conversations if c.bad_at is not None)
    if not (champion and challenger and bad):
        return float("nan")
    return (bad_in_challenger / challenger) / (bad / champion)


def _by_side(conversations: Iterable[Conversation]) -> tuple[int, int]:
    counts = [0, 0]
    for each in conversations:
        counts[each.in_challenger] += 1
    return counts[0], counts[1]


def _pairs(
    conversations: Sequence[Conversation], known: Mapping[str, int], period: int, wait: int, now: int
) -> tuple[list[tuple[float, float]], list[int]]:
    """Return the rates of pairs of users whose time is over, and when it was.

    conversations: in order of time. known: conversation -> when its bad event became known. A user of both versions, as
    one whom a larger share has moved, belongs to no pair.
    """
    by_user: dict[str, list[Conversation]] = defaultdict(list)
    for each in conversations:
        if each.user is not None:
            by_user[each.user].append(each)
    sides: tuple[list[tuple[int, float]], list[tuple[int, float]]] = ([], [])
    for own in by_user.values():  # in order of their first conversation, and so of the end of their time
        end = own[0].first + wait
        within = [c for c in own if c.first < own[0].first + period]
        if end > now or len({c.in_challenger for c in within}) > 1:
            continue
        rate = sum(known.get(c.key, end) < end for c in within) / len(within)
        sides[own[0].in_challenger].append((end, rate))
    pairs = list(zip(*sides, strict=False))
    return [(a, b) for (_, a), (_, b) in pairs], [max(a, b) for (a, _), (b, _) in pairs]
