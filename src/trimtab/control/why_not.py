"""Why a window did not lead to another action: the values that would have had to be different. Pure.

Each way to an action is found by deciding again with changed values, until the functions that decide say that action.
So what is named is sufficient: with these values, and all else as it was, the other action follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trimtab.control.brakes import AUTOMATION_P
from trimtab.control.decision import REVIEW_P, Draft
from trimtab.control.levers import (
    LEVELS,
    LEVERS,
    Change,
    Given,
    Lever,
    clear_lead,
    limits_broken,
    limits_kept,
    other_impact,
    other_p_seq,
    refresh_due,
    small_lead,
    suspicion_begins,
    unusual_alone,
)
from trimtab.control.refresh import rare
from trimtab.records.record import Action

ACTIONS: tuple[Action, ...] = ("monitor", "review", "retrain", "rollback")
"""From the softest to the strongest."""
MOST_CHANGES = 12


Way = tuple[Change, ...]
"""Changes that lead to an action, all of them together."""


@dataclass(frozen=True, kw_only=True)
class WhyNot:
    """An action, and how the decision would have come to it. ways: each is enough; none when it was taken, or when no
    value of this window could lead to it."""

    action: Action
    taken: bool
    ways: tuple[Way, ...]

    @property
    def text(self) -> str:
        """The ways in words."""
        if self.taken:
            return "this was done"
        ways = [", and ".join(change.text for change in way) for way in self.ways]
        return "; or ".join(ways) or "no value of this window leads to it under this policy"


def why_not(given: Given) -> tuple[WhyNot, ...]:
    """Return each action with what would have had to be different for it."""
    draft = given.decide()
    taken = draft.action if draft is not None else "monitor"
    return tuple(
        WhyNot(action=action, taken=action == taken, ways=() if action == taken else _ways(given, action))
        for action in ACTIONS
    )


def _ways(given: Given, target: Action) -> tuple[Way, ...]:
    if given.cause.window.stage != "matured":
        starts: Iterable[Way | None] = _from_limits(given, target)
    elif target == "rollback":
        starts = [*((change,) for change in limits_broken(given)), _then(given, (), clear_lead)]
    elif given.policy.retrain.refresh is not None:
        starts = _from_refresh(given, target)
    else:
        starts = _from_matrix(given, target)
    found = [way for start in starts if start is not None and (way := _completed(given, start, target)) is not None]
    if target == "rollback" or given.cause.window.stage != "matured":
        return tuple(found)
    fewest = min(map(len, found), default=0)
    return tuple(way for way in found if len(way) == fewest)[:1]


def _from_matrix(given: Given, target: Action) -> list[Way | None]:
    """Return the changes by which the matrix says an action, the fewest steps in the matrix first."""
    bands = sorted(given.policy.decide.matrix.root.items(), key=lambda item: item[1].p)
    here, _ = given.policy.decide.matrix.band(given.cause.p_seq)
    place, level = [name for name, _ in bands].index(here), given.impact.level
    cells = [
        (abs(row - place) + abs(LEVELS.index(to) - LEVELS.index(level)), row, to)
        for row, (_, band) in enumerate(bands)
        for to in LEVELS
        if getattr(band, to) == target
    ]
    starts: list[Way | None] = []
    for _, row, to in sorted(cells, key=lambda cell: (cell[0], -cell[1])):
        way: Way | None = ()
        if row != place:
            low, high = bands[row][1].p
            way = _then(given, way, lambda g, low=low, high=high: other_p_seq(g, low, high, given.cause.p_seq))  # type: ignore[misc]
        if to != level:
            way = _then(given, way, lambda g, to=to: other_impact(g, to))  # type: ignore[misc]
        starts.append(way)
    if target == "review":
        starts.append(_then(given, (), unusual_alone))
    return starts


def _from_refresh(given: Given, target: Action) -> list[Way | None]:
    """Return the changes by which the table of routine.py says an action."""
    refresh = given.policy.retrain.refresh
    if target == "review":
        return [(), _then(given, (), suspicion_begins)]
    if target != "retrain" or refresh is None:
        return [()]
    drifted = _then(given, (), lambda g: other_p_seq(g, 0.0, AUTOMATION_P, given.cause.p_seq))
    if not rare(refresh, given.policy.decide.window):
        drifted = _then(given, drifted, small_lead)
    return [_then(given, (), refresh_due), drifted]


def _from_limits(given: Given, target: Action) -> list[Way | None]:
    return [()] if target in ("rollback", "review") else [_then(given, (), limits_kept)]


def _completed(given: Given, way: Way, target: Action) -> Way | None:
    """Return changes with those that are needed besides: without brakes, and without what leads to something else."""
    while len(way) <= MOST_CHANGES:
        now = way[-1].given if way else given
        draft = now.decide()
        action: Action = "monitor" if draft is None else draft.action
        if action == target:
            return way or None
        if draft is None:
            return None
        softer = ACTIONS.index(action) < ACTIONS.index(target)
        name = (draft.held_by or draft.trigger) if softer else _what_leads(now, draft)
        lever = LEVERS.get(name)
        if lever is None or name in {change.name for change in way}:
            return None
        longer = _then(given, way, lever)
        if longer is None:
            return None
        way = longer
    return None


def _what_leads(given: Given, draft: Draft) -> str:
    """Return the name of what leads to an action that is stronger than wanted."""
    if draft.trigger in ("failure", "lead", "routine", "data"):
        return draft.trigger
    if given.policy.retrain.refresh is not None:
        if given.quarantined.ended or given.quarantined.begins:
            return "quarantine"
        return "broken_pipe" if draft.cell == "monitor" else "drift"
    if draft.cell == "monitor":
        return "alone" if given.cause.p < REVIEW_P else "broken_pipe"
    return ""


def _then(given: Given, way: Way | None, lever: Lever) -> Way | None:
    """Return changes with one more; None where the value cannot be changed so."""
    if way is None:
        return None
    found = lever(way[-1].given if way else given)
    return None if found is None else (*way, found)
