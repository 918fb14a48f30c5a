"""From a cause to a decision: p-value band x business impact -> matrix -> brakes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from trimtab.control.brakes import BRAKES, NAMES, Brake, BrakeInput, SofterAction, Wanted, pipe_to_check
from trimtab.control.cause import Cause
from trimtab.control.drift_reasons import drift_reasons
from trimtab.control.history import ControlHistory
from trimtab.control.impact import JudgedImpact, judge
from trimtab.policy.model import Policy
from trimtab.records.control import Decision, Trigger
from trimtab.records.record import Action, Level

REVIEW_P = 0.01
"""A window whose own p-value is below this opens a review only: one window in a hundred does by chance."""

REMARKS = ("it takes the place of", "it serves again", "a person is told", "the last good version of table")
"""How those reasons of decisions begin that say what else happens, rather than why."""

MATRIX_SAYS = "the matrix says"
"""How the reason begins by which the matrix decided."""

SEVERITY: tuple[Wanted, ...] = ("monitor", "review", "retrain")


@dataclass(frozen=True)
class AskedBrake:
    """A brake that was asked. softened: what it said; None when it did not apply."""

    name: str
    softened: SofterAction | None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A decision before it is written to the ledger."""

    cause: Cause
    band: str
    impact_per_day: float
    impact: Level
    cell: Action
    action: Action
    reasons: tuple[str, ...]
    trigger: Trigger = "matrix"
    to_version: int | None = None
    """Of a rollback: the version that is to serve again; None takes the champion before."""
    judged: int | None = None
    """The champion that is judged, when it is not the window's version."""
    held_by: str = ""
    """Name of the brake that softened the action last (brakes.NAMES); empty: none did."""
    held_until: datetime | None = None
    """Event time at which it ends by itself, if that is known."""
    asked: tuple[AskedBrake, ...] = ()
    """The brakes in their order, until nothing was left to soften."""


@dataclass(frozen=True)
class Braked:
    """An action after the brakes, and the brake that softened it last, as in Draft."""

    action: Wanted
    held_by: str = ""
    held_until: datetime | None = None
    asked: tuple[AskedBrake, ...] = ()


def decide(cause: Cause, policy: Policy, history: ControlHistory) -> Draft:
    """Return what to do about a matured window, with every reason that led there."""
    impact = judge(cause, policy.impact)
    band, row = policy.decide.matrix.band(cause.p_seq)
    cell = cast(Wanted, getattr(row, impact.level))
    reasons = [*drift_reasons(cause), impact.reason, f"{MATRIX_SAYS} {cell} ({band} p-value, {impact.level} impact)"]
    wanted = cell
    if wanted == "monitor" and cause.p < REVIEW_P:
        wanted = "review"
        reasons.append(f"a person should look: this window alone is unusual (p {cause.p:.2g} is below {REVIEW_P:g})")
    if wanted == "monitor" and (cause.broken or cause.stale):
        wanted = "review"
    if wanted == "review" and (pipe := pipe_to_check(cause, policy)) is not None:
        reasons.append(pipe)
    found = braked(cause, impact, policy, history, wanted, reasons, proposal=cell != "monitor")
    if found.action == "retrain" and history.open_review is not None:
        reasons.append(f"it takes the place of the open review ({history.open_review})")
    return Draft(
        cause=cause,
        band=band,
        impact_per_day=impact.per_day,
        impact=impact.level,
        cell=cell,
        action=found.action,
        reasons=tuple(reasons),
        held_by=found.held_by,
        held_until=found.held_until,
        asked=found.asked,
    )


def braked(
    cause: Cause,
    impact: JudgedImpact,
    policy: Policy,
    history: ControlHistory,
    wanted: Wanted,
    reasons: list[str],
    *,
    proposal: bool,
    brakes: Sequence[Brake] = BRAKES,
) -> Braked:
    """Apply the brakes in order until nothing is left to soften; their reasons are added to `reasons`."""
    found, asked = Braked(wanted), []
    for brake in brakes:
        if found.action == "monitor":
            break
        softened = brake(
            BrakeInput(
                cause=cause, impact=impact, policy=policy, history=history, wanted=found.action, proposal=proposal
            )
        )
        if softened is not None and SEVERITY.index(softened.action) > SEVERITY.index(found.action):
            softened = None
        asked.append(AskedBrake(NAMES[brake], softened))
        if softened is not None:
            found = Braked(softened.action, NAMES[brake], softened.until)
            reasons.append(softened.reason)
    return replace(found, asked=tuple(asked))


def counted_reason(decision: Decision) -> str:
    """Return the reason that a decision's action follows from.

    A broken limit names the limit that was broken first. Otherwise the reasons go from what was seen over the matrix or
    the routine to the brakes, so the last one counted; those that begin with one of REMARKS are passed over.
    """
    reasons: Sequence[str] = [r for r in decision.reasons if not r.startswith(REMARKS)]
    if not reasons:
        return ""
    limit = decision.trigger == "limit" or (decision.action == "rollback" and decision.trigger != "lead")
    return reasons[0] if limit else reasons[-1]
