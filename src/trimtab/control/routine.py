"""What is decided where models are refreshed by routine. Pure.

                           newest leads or ties      a shadow leads           a shadow leads by 3 standard errors
    no suspicion           refresh only              refresh only             roll back
    drift, p < 0.01        refresh; if rare,         retrain now              roll back
                           retrain now
    suspicion              its rows are held,        held, a person is told   held, roll back
                           refresh goes on
    it lasts too long      rows come back            a person decides         a person decides

Rare: more than 14 windows between two refreshes. Without a refresh in the policy the decision matrix decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trimtab.control.brakes import (
    AUTOMATION_P,
    BRAKES,
    NAMES,
    Wanted,
    broken_pipe,
    cooling_down,
    frozen,
    harmless,
    little_reference,
    pipe_to_check,
    replaced,
)
from trimtab.control.cause import Cause
from trimtab.control.decision import Braked, Draft, braked, decide
from trimtab.control.drift_reasons import drift_reasons
from trimtab.control.history import ControlHistory
from trimtab.control.impact import judge
from trimtab.control.refresh import Due, rare
from trimtab.control.suspicion import Quarantined
from trimtab.control.way_back import Lead
from trimtab.policy.decide import Refresh
from trimtab.policy.model import Policy
from trimtab.records.control import Trigger
from trimtab.records.record import Action

NOT_FOR_ROUTINE = (replaced, harmless, broken_pipe, little_reference, cooling_down)
"""Brakes on reactions to a drift; a refresh is none."""
NOT_FOR_DRIFT = (replaced, harmless, broken_pipe)
"""A drift within what was seen is answered without measured harm: suspected rows are held back."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known beyond the window's signals."""

    quarantined: Quarantined = dataclasses.field(default_factory=Quarantined)
    leads: Sequence[Lead] = ()
    due: Due | None = None

    @property
    def leading(self) -> Lead | None:
        """The shadow that leads, or None."""
        return next((lead for lead in self.leads if lead.leads), None)

    @property
    def clear(self) -> Lead | None:
        """The shadow that leads so far that it serves again, or None."""
        return next((lead for lead in self.leads if lead.clearly), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A cell of the table."""

    action: Action
    trigger: Trigger = "matrix"
    proposal: bool = False
    why: tuple[str, ...] = ()
    to_version: int | None = None


def decide_window(cause: Cause, policy: Policy, history: ControlHistory, situation: Situation) -> Draft:
    """Return what to do about a matured window: by the refresh of the policy, else by new data, else by the matrix."""
    if policy.retrain.refresh is not None:
        return decide_with_refresh(cause, policy, history, situation)
    due = situation.due
    draft = decide(cause, policy, history) if due is None else decide_due(cause, policy, history, due)
    return draft if policy.rollout.watch is None else watch_promotion(draft, policy, history, situation.leads)


def decide_with_refresh(cause: Cause, policy: Policy, history: ControlHistory, situation: Situation) -> Draft:
    """Return what to do about a matured window where the policy refreshes models, with every reason."""
    impact = judge(cause, policy.impact)
    band, _ = policy.decide.matrix.band(cause.p_seq)
    chosen = _choose(cause, policy, situation)
    reasons = [*drift_reasons(cause), impact.reason, *situation.quarantined.reasons, *chosen.why]
    action: Action = chosen.action
    held = Braked("monitor")
    if action != "rollback":
        held = _braked(cause, policy, history, chosen, reasons)
        action = held.action
    elif history.frozen is not None:
        held = Braked("monitor", NAMES[frozen], history.frozen_until)
        action, reasons = held.action, [*reasons, history.frozen]
    lead = chosen.to_version is not None
    return Draft(
        cause=cause,
        band=band,
        impact_per_day=impact.per_day,
        impact=impact.level,
        cell="retrain" if chosen.proposal else "rollback" if lead else "monitor",
        action=action,
        reasons=tuple(reasons),
        trigger=chosen.trigger,
        to_version=chosen.to_version,
        judged=history.champion if lead else None,
        held_by=held.held_by,
        held_until=held.held_until,
        asked=held.asked,
    )


def decide_due(cause: Cause, policy: Policy, history: ControlHistory, found: Due) -> Draft:
    """Return the retraining that new data start where the matrix decides otherwise."""
    return decide_with_refresh(cause, policy, history, Situation(due=found))


def watch_promotion(draft: Draft, policy: Policy, history: ControlHistory, leads: Sequence[Lead]) -> Draft:
    """Return the decision on a window without a refresh, after a look at the former champion that is kept as a shadow.

    When it leads clearly, it serves again in place of what was decided (`rollout.watch: rollback`), or a person is
    asked to look where nothing else is done.
    """
    clear = Situation(leads=leads).clear
    if clear is None:
        return draft
    reasons = [*draft.reasons, f"the promotion after it looks like a mistake: {clear.text}"]
    if policy.rollout.watch == "rollback":
        back: Action = "rollback" if history.frozen is None else "monitor"
        held_by = "" if history.frozen is None else NAMES[frozen]
        return dataclasses.replace(
            draft,
            cell="rollback",
            action=back,
            reasons=(*reasons, history.frozen or "it serves again (rollout.watch)"),
            trigger="lead",
            to_version=clear.version,
            judged=history.champion,
            held_by=held_by,
            held_until=history.frozen_until,
        )
    if draft.action != "monitor":
        return dataclasses.replace(draft, reasons=tuple(reasons))
    impact, brakes = judge(draft.cause, policy.impact), [brake for brake in BRAKES if brake not in NOT_FOR_DRIFT]
    found = braked(draft.cause, impact, policy, history, "review", reasons, proposal=False, brakes=brakes)
    if found.action != "review":
        held_by, until = (draft.held_by, draft.held_until) if draft.held_by else (found.held_by, found.held_until)
        return dataclasses.replace(draft, reasons=tuple(reasons), held_by=held_by, held_until=until)
    reasons.append("a person decides whether to roll back (rollout.watch)")
    return dataclasses.replace(
        draft,
        cell="monitor",
        action=found.action,
        reasons=tuple(reasons),
        trigger="lead",
        held_by="",
        held_until=None,
    )


def _choose(cause: Cause, policy: Policy, situation: Situation) -> _Chosen:
    """Return the cell of the table; one action for one cause."""
    quarantined, refresh = situation.quarantined, policy.retrain.refresh
    clear, leading = situation.clear, situation.leading
    if quarantined.ended and leading is not None:
        return _Chosen(
            action="review", proposal=True, why=(leading.text, "a person decides whether to retrain or to roll back")
        )
    if clear is not None:
        why = "it serves again; the next model must lead over 10 labelled windows before it serves"
        return _Chosen(action="rollback", trigger="lead", why=(clear.text, why), to_version=clear.version)
    if situation.due is not None:
        return _Chosen(action="retrain", trigger=situation.due.trigger, proposal=True, why=(situation.due.reason,))
    if quarantined.begins or quarantined.ended:
        return _Chosen(action="review", why=("a person is told",))
    if cause.p_seq < AUTOMATION_P and not quarantined.suspected and refresh is not None:
        seldom = rare(refresh, policy.decide.window)
        if seldom or leading is not None:
            return _Chosen(action="retrain", proposal=True, why=(_now(cause, refresh, leading),))
    if (pipe := pipe_to_check(cause, policy)) is not None:
        return _Chosen(action="review", why=(pipe,))
    return _Chosen(action="monitor", why=("the next refresh retrains; nothing else is due",) if refresh else ())


def _now(cause: Cause, refresh: Refresh, leading: Lead | None) -> str:
    drifted = f"a drift within the values that were seen (p_seq {cause.p_seq:.2g})"
    if leading is not None:
        return f"{drifted}, and {leading.text}: retrain now"
    return f"{drifted}, and refreshes are rare: retrain now"


def _braked(cause: Cause, policy: Policy, history: ControlHistory, chosen: _Chosen, reasons: list[str]) -> Braked:
    """Apply the brakes that hold for the trigger. The number of retrainings a month is a limit for reactions alone."""
    routine = chosen.trigger != "matrix"
    left_out = NOT_FOR_ROUTINE if routine else NOT_FOR_DRIFT
    if routine:
        history = dataclasses.replace(history, retrains=0)
    wanted: Wanted = "retrain" if chosen.action == "retrain" else "review" if chosen.action == "review" else "monitor"
    brakes = [brake for brake in BRAKES if brake not in left_out]
    impact = judge(cause, policy.impact)
    return braked(cause, impact, policy, history, wanted, reasons, proposal=chosen.proposal, brakes=brakes)
