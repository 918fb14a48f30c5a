"""The brakes: reasons to do less than the matrix says, applied in the order of BRAKES.

A brake sees an action and may soften it: retrain -> review or monitor, review -> monitor. None ever hardens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from trimtab import units
from trimtab.clock import to_micros
from trimtab.control.cause import Cause
from trimtab.control.history import MONTH, ControlHistory
from trimtab.control.impact import HARM_P, JudgedImpact
from trimtab.policy.model import Policy

AUTOMATION_P = 0.01
"""With `decide.require_harm`, automated retraining needs a sequential p-value below this."""

MIN_REFERENCE_WINDOWS = 30
"""With fewer reference windows a p-value is too coarse to act on without a person."""

REFUSED_PART = 4
"""After a retraining without a bundle the cooldown is shorter by this factor."""

Wanted = Literal["monitor", "review", "retrain"]


@dataclass(frozen=True, kw_only=True)
class BrakeInput:
    """The input of a brake. proposal: a review that proposes a retraining, or a retraining."""

    cause: Cause
    impact: JudgedImpact
    policy: Policy
    history: ControlHistory
    wanted: Wanted
    proposal: bool


@dataclass(frozen=True)
class SofterAction:
    """A softer action, and why."""

    action: Wanted
    reason: str


Brake = Callable[[BrakeInput], SofterAction | None]


def replaced(q: BrakeInput) -> SofterAction | None:
    """A version that no longer serves is not retrained."""
    champion, judged = q.history.champion, q.cause.window.version
    if champion is None or champion == judged:
        return None
    return SofterAction("monitor", f"version {judged} no longer serves: version {champion} is champion now")


def harmless(q: BrakeInput) -> SofterAction | None:
    """With `decide.require_harm`, automated retraining needs a severe drift and measured harm."""
    if q.wanted != "retrain" or not q.policy.decide.require_harm:
        return None
    if q.cause.p_seq >= AUTOMATION_P:
        return SofterAction(
            "review",
            f"a person decides: automated retraining needs p_seq below {AUTOMATION_P:g}, it is {q.cause.p_seq:.2g}",
        )
    if q.cause.harm_p_seq < HARM_P or q.impact.level != "low":
        return None
    currency = q.policy.impact.currency
    return SofterAction(
        "review",
        f"a person decides: the inputs changed, but no harm is measured (label p_seq {q.cause.harm_p_seq:.2g} is not "
        f"below {HARM_P:g}, and {q.impact.per_day:,.0f} {currency} a day is below {q.policy.impact.medium:,.0f})",
    )


def broken_pipe(q: BrakeInput) -> SofterAction | None:
    """Values that the checks do not expect come from a broken pipeline more likely than from a real change."""
    if q.wanted != "retrain" or (found := pipe_to_check(q.cause, q.policy)) is None:
        return None
    return SofterAction("review", f"a person decides: {found}")


def pipe_to_check(cause: Cause, policy: Policy) -> str | None:
    """Return a reason if more rows hold unexpected values than a batch of training rows may; else None."""
    found = cause.unexpected
    if found is None or found.value <= policy.checks.max_failing_rows:
        return None
    return (
        f"check the pipe first: {found.value:.1%} of the rows hold values that the checks do not expect, most in "
        f"{', '.join(found.carriers)}; {policy.checks.max_failing_rows:.1%} may (checks.max_failing_rows)"
    )


def little_reference(q: BrakeInput) -> SofterAction | None:
    """A short reference cannot distinguish a rare window from a lasting change."""
    windows = q.cause.reference_windows
    if q.wanted != "retrain" or windows >= MIN_REFERENCE_WINDOWS:
        return None
    return SofterAction(
        "review",
        f"a person decides: the reference has {windows} windows, automation needs {MIN_REFERENCE_WINDOWS}",
    )


def cooling_down(q: BrakeInput) -> SofterAction | None:
    """After a retraining none is started or proposed for the cooldown, after a refused one for a part of it."""
    cooldown = q.policy.decide.cooldown
    for last, wait, what, name in (
        (q.history.last_retrain, cooldown, "was asked for", "the cooldown"),
        (q.history.last_refused, cooldown // REFUSED_PART, "was refused; it was asked for", "the wait after a refusal"),
    ):
        if not q.proposal or last is None:
            continue
        passed = to_micros(q.cause.window.end) - to_micros(last)
        if passed < wait:
            when = f"on {last:%Y-%m-%d}, {_days(passed)} ago"
            return SofterAction("monitor", f"the last retraining {what} {when}; {name} is {_days(wait)}")
    return None


def over_budget(q: BrakeInput) -> SofterAction | None:
    """Automation keeps the policy's budget; a person may exceed it."""
    if q.wanted != "retrain":
        return None
    budget, history = q.policy.decide.budget, q.history
    if history.retrains + 1 > budget.retrains:
        return SofterAction(
            "review",
            f"a person decides: {history.retrains} of {budget.retrains:g} retrainings of {MONTH.days} days are used up",
        )
    if history.spent + history.next_cost > budget.cost:
        currency = q.policy.impact.currency
        return SofterAction(
            "review",
            f"a person decides: trainings cost {history.spent:,.2f} {currency} in {MONTH.days} days, and one more "
            f"(about {history.next_cost:,.2f}) would exceed the budget of {budget.cost:,.2f}",
        )
    return None


def already_open(q: BrakeInput) -> SofterAction | None:
    """One open review is enough; a retraining that may start by itself does not wait for it."""
    if q.wanted == "retrain":
        return None
    if q.history.open_review is not None:
        return SofterAction("monitor", f"a review is already open ({q.history.open_review})")
    noted_at = q.history.noted_at
    if q.proposal or noted_at is None:
        return None
    if abs(to_micros(q.cause.window.end) - to_micros(noted_at)) > q.policy.decide.cooldown:
        return None
    return SofterAction("monitor", f"a review is already open ({q.history.noted_review})")


def in_progress(q: BrakeInput) -> SofterAction | None:
    """One retraining at a time. While a review is open, what runs is the workflow that waits for its answer."""
    if not q.proposal or not q.history.running or q.history.open_review is not None:
        return None
    return SofterAction("monitor", "a retraining is under way: it trains, or its challenger is still being compared")


BRAKES: tuple[Brake, ...] = (
    replaced,
    harmless,
    broken_pipe,
    little_reference,
    cooling_down,
    over_budget,
    already_open,
    in_progress,
)


def _days(micros: int) -> str:
    days = max(micros, 0) / units.MICROS["d"]
    return f"{days:.1f} days" if days % 1 else f"{days:.0f} days"
