"""Business impact: how much money a day mistakes cost beyond the reference, as a level."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.control.cause import Cause
from trimtab.policy.decide import Impact
from trimtab.records.record import Level

HARM_P = 0.05
"""Below this the sequential p-value of the labels counts as measured harm."""


@dataclass(frozen=True, kw_only=True)
class JudgedImpact:
    """An impact with its level and the sentence that explains it."""

    per_day: float
    level: Level
    reason: str


def judge(cause: Cause, policy: Impact) -> JudgedImpact:
    """Return the impact of a window.

    A policy without costs has no money to compare: measured harm on labels then counts as medium.
    """
    if not policy.cost:
        harmed = cause.harm_p_seq < HARM_P
        said = "counts as medium impact" if harmed else "is not seen: low impact"
        return JudgedImpact(
            per_day=0.0,
            level="medium" if harmed else "low",
            reason=f"the policy names no costs for its task; harm on labels (p_seq {cause.harm_p_seq:.2g}) {said}",
        )
    per_day = cause.impact_per_day
    if per_day is None:
        return JudgedImpact(
            per_day=0.0,
            level="low",
            reason=(
                "what mistakes cost beyond the reference is not known: labels are missing, or the model's reference "
                "does not count such mistakes (train it again); that counts as low impact"
            ),
        )
    level = level_of(per_day, policy)
    limit = {"low": f"medium begins at {policy.medium:,.0f}", "medium": f"from {policy.medium:,.0f}"}
    direction = "more" if per_day >= 0 else "less"
    return JudgedImpact(
        per_day=per_day,
        level=level,
        reason=(
            f"mistakes cost {abs(per_day):,.0f} {policy.currency} a day {direction} than in the reference "
            f"({_stretch(cause)}): "
            f"{level} impact ({limit.get(level, f'from {policy.high:,.0f}')})"
        ),
    )


def _stretch(cause: Cause) -> str:
    """Return which windows the loss is a mean of, in words."""
    judged, over = max(len(cause.losses), 1), round(cause.over)
    if sum(cause.lengths) >= cause.over or not cause.lengths:
        return f"mean of {judged} windows"
    return f"mean of {over} windows; {judged} of them judged, the others count as usual"


def level_of(per_day: float, policy: Impact) -> Level:
    """Return the level of a loss a day."""
    if per_day >= policy.high:
        return "high"
    return "medium" if per_day >= policy.medium else "low"
