"""The brakes: reasons to do less than the matrix says, applied in the order of BRAKES.

A brake sees an action and may soften it: retrain -> review or monitor, review -> monitor. None ever hardens. One that
leaves a review a review says why it proposes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from types import MappingProxyType
from typing import Literal

from trimtab import units
from trimtab.clock import from_micros, to_micros
from trimtab.control.cause import Cause
from trimtab.control.history import MONTH, ControlHistory
from trimtab.control.impact import HARM_P, JudgedImpact
from trimtab.control.reviews import NO_SEARCH
from trimtab.policy.model import Policy

AUTOMATION_P = 0.01
"""With `decide.require_harm`, automated retraining needs a sequential p-value below this."""

MIN_REFERENCE_WINDOWS = 30
"""With fewer reference windows a p-value is too coarse to act on without a person."""

SHOWN_CHARACTERS = 200
"""Of the reason why an earlier retraining ended without a bundle."""

MAX_DOUBLINGS = 30
"""Of the wait after retrainings without a bundle, so that it stays a time that can be counted."""

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
    """A softer action, and why. until: the event time at which the brake ends by itself, if that is known."""

    action: Wanted
    reason: str
    until: datetime | None = None


Brake = Callable[[BrakeInput], SofterAction | None]


def replaced(q: BrakeInput) -> SofterAction | None:
    """A version that no longer serves is not retrained."""
    champion, judged = q.history.champion, q.cause.window.version
    if champion is None or champion == judged:
        return None
    return SofterAction("monitor", f"version {judged} no longer serves: version {champion} is champion now")


def frozen(q: BrakeInput) -> SofterAction | None:
    """While a person has frozen the model, nothing is done."""
    history = q.history
    return None if history.frozen is None else SofterAction("monitor", history.frozen, history.frozen_until)


def nothing_to_tune(q: BrakeInput) -> SofterAction | None:
    """A prompt that no search may change is not retrained: a person has to look. So a review proposes nothing."""
    if not q.proposal or not q.history.no_search:
        return None
    return SofterAction("review", f"a person decides: {q.history.no_search}")


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
    """Return a reason if the values look broken rather than changed; else None.

    Broken are a view whose values are older than allowed, a column that an absolute rule fired on, more missing values
    than usual (at AUTOMATION_P), and more rows with unexpected values than a batch of training rows may hold.
    """
    if cause.stale:
        return f"check the pipe first: {cause.stale[0].reason}"
    if cause.broken:
        more = len(cause.broken) - 1
        others = f"; {more} more {'column looks' if more == 1 else 'columns look'} broken" if more else ""
        return f"check the pipe first: {cause.broken[0].reason}{others}"
    missing = cause.signal("quality")
    if missing is not None and missing.p_seq is not None and missing.p_seq < AUTOMATION_P:
        usual = f" where {missing.effect['expected']:.1%} are usual" if "expected" in missing.effect else ""
        return f"check the pipe first: {missing.value:.1%} of the feature values are missing{usual}"
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
    """After a retraining that made a bundle none is started or proposed for the cooldown."""
    last, wait = q.history.last_retrain, q.policy.decide.cooldown
    if not q.proposal or last is None or (passed := _since(last, q)) >= wait:
        return None
    when = f"on {last:%Y-%m-%d}, {_days(passed)} ago"
    reason = f"the last retraining was asked for {when}; the cooldown is {_days(wait)}"
    return SofterAction("monitor", reason, _later(last, wait))


def backing_off(q: BrakeInput) -> SofterAction | None:
    """After retrainings that made no bundle the next one waits: there is no cooldown, but the data are the same."""
    last, history = q.history.last_refused, q.history
    if not q.proposal or last is None or history.refused == 0:
        return None
    passed, wait = _since(last, q), back_off(q.policy, history.refused)
    if passed >= wait:
        return None
    why = history.why_refused
    shown = why if len(why) <= SHOWN_CHARACTERS else why[: SHOWN_CHARACTERS - 3] + "..."
    number = "the last retraining" if history.refused == 1 else f"{history.refused} retrainings in a row"
    return SofterAction(
        "monitor",
        f"{number} made no bundle ({shown}); the last one was asked for on {last:%Y-%m-%d}, {_days(passed)} ago, and "
        f"the next one waits for {_days(wait)} (decide.retry_after)",
        _later(last, wait),
    )


def back_off(policy: Policy, refused: int) -> int:
    """Return how long to wait (microseconds of event time) after so many retrainings in a row without a bundle."""
    first = policy.decide.retry_after
    return min(first << min(refused - 1, MAX_DOUBLINGS), max(first, policy.decide.cooldown))


def over_budget(q: BrakeInput) -> SofterAction | None:
    """Automation keeps the policy's budget; a person may exceed it."""
    if q.wanted != "retrain":
        return None
    budget, history = q.policy.decide.budget, q.history
    if history.retrains + 1 > budget.retrains:
        return SofterAction(
            "review",
            f"a person decides: {history.retrains} of {budget.retrains:g} retrainings of {MONTH.days} days are used up",
            _left([(time, 1.0) for time in history.retrained_at], budget.retrains - 1),
        )
    if history.spent + history.next_cost > budget.cost:
        currency = q.policy.impact.currency
        return SofterAction(
            "review",
            f"a person decides: trainings cost {history.spent:,.2f} {currency} in {MONTH.days} days, and one more "
            f"(about {history.next_cost:,.2f}) would exceed the budget of {budget.cost:,.2f}",
            _left(history.spent_at, budget.cost - history.next_cost),
        )
    return None


def already_open(q: BrakeInput) -> SofterAction | None:
    """One open review is enough; a retraining that may start by itself does not wait for it."""
    if q.wanted == "retrain":
        return None
    if q.history.open_review is not None:
        return SofterAction("monitor", f"a review is already open ({q.history.open_review})")
    noted_at = q.history.noted_at
    if (q.proposal and not q.history.no_search) or noted_at is None:
        return None
    if abs(to_micros(q.cause.window.end) - to_micros(noted_at)) > q.policy.decide.cooldown:
        return None
    reason = f"a review is already open ({q.history.noted_review})"
    return SofterAction("monitor", reason, _later(noted_at, q.policy.decide.cooldown))


def in_progress(q: BrakeInput) -> SofterAction | None:
    """Limit the retrainings under way. While a review is open, one of them is the workflow that waits for its answer,
    and a retraining ends it."""
    most, running = q.policy.decide.max_in_flight, q.history.running
    if q.history.open_review is not None:
        running -= 1
    if not q.proposal or running < most:
        return None
    if most == 1:
        return SofterAction(
            "monitor", "a retraining is under way: it trains, or its challenger is still being compared"
        )
    return SofterAction("monitor", f"{running} retrainings are under way; at most {most} may (decide.max_in_flight)")


NAMES: Mapping[Brake, str] = MappingProxyType(
    {
        replaced: "replaced",
        frozen: "frozen",
        nothing_to_tune: NO_SEARCH,
        harmless: "no_harm_shown",
        broken_pipe: "broken_pipe",
        little_reference: "little_reference",
        cooling_down: "cooldown",
        backing_off: "retry_after",
        over_budget: "budget",
        already_open: "review_open",
        in_progress: "retraining_under_way",
    }
)
"""The brakes in the order in which they are applied, each with the name by which a Decision says what held it back."""
BRAKES: tuple[Brake, ...] = tuple(NAMES)


def _later(time: datetime, micros: int) -> datetime:
    return from_micros(to_micros(time) + micros)


def _left(used: Sequence[tuple[datetime, float]], allowed: float) -> datetime | None:
    """Return when at most `allowed` of what was used within a month is left in it; None when that never is.

    used: event times and amounts, oldest first.
    """
    total = sum(amount for _, amount in used)
    gone = zip((time for time, _ in used), accumulate(amount for _, amount in used), strict=True)
    return None if allowed < 0 else next((time + MONTH for time, sum_ in gone if total - sum_ <= allowed), None)


def _since(time: datetime, q: BrakeInput) -> int:
    return to_micros(q.cause.window.end) - to_micros(time)


def _days(micros: int) -> str:
    days = max(micros, 0) / units.MICROS["d"]
    return f"{days:.1f} days" if days % 1 else f"{days:.0f} days"
