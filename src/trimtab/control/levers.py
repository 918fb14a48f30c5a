"""Changes of the single values that a decision is made from, each with what it had to be and what it was. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from trimtab import units
from trimtab.control.brakes import AUTOMATION_P, MIN_REFERENCE_WINDOWS, pipe_to_check
from trimtab.control.cause import COUNTED, Cause
from trimtab.control.decision import REVIEW_P, Draft
from trimtab.control.failures import ask_about_failure
from trimtab.control.history import MONTH, ControlHistory
from trimtab.control.impact import HARM_P, MIN_WINDOWS, JudgedImpact, judge
from trimtab.control.refresh import LabelledRows, due, passed_since
from trimtab.control.reviews import NO_SEARCH
from trimtab.control.rollback import broken_limits, decide_rollback
from trimtab.control.routine import Situation, decide_window
from trimtab.control.suspicion import Quarantined
from trimtab.control.way_back import LEAD, MIN_CHAMPION_WINDOWS, Lead
from trimtab.control.way_back import MIN_WINDOWS as LEAD_WINDOWS
from trimtab.policy.model import Policy
from trimtab.records.control import Suspicion
from trimtab.records.monitoring import CHECKS
from trimtab.records.record import Level, SignalKind

LEVELS: tuple[Level, ...] = ("low", "medium", "high")
BEYOND = 1e-3
"""Share by which a changed value lies beyond the limit that it has to pass."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that the decision about a window is made from."""

    cause: Cause
    policy: Policy
    history: ControlHistory
    rows: LabelledRows = field(default_factory=LabelledRows)
    quarantined: Quarantined = field(default_factory=Quarantined)
    leads: tuple[Lead, ...] = ()

    def decide(self) -> Draft | None:
        """Decide as the controller does; None for a closed window that broke no limit."""
        if self.cause.window.stage != "matured":
            return decide_rollback(self.cause, self.policy, self.history)
        situation = Situation(
            quarantined=self.quarantined, leads=self.leads, due=due(self.cause, self.policy, self.rows)
        )
        return ask_about_failure(decide_window(self.cause, self.policy, self.history, situation), self.history)

    @property
    def impact(self) -> JudgedImpact:
        """The impact of the window."""
        return judge(self.cause, self.policy.impact)

    def with_(self, **values: Any) -> Given:
        """Return a copy with other values."""
        return dataclasses.replace(self, **values)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One value that would have had to be different. name: of the value; of a brake, as in Decision.held_by.

    needed: what it had to be, in words. was: what it was; empty where `needed` says it.
    """

    name: str
    needed: str
    was: str = ""
    given: Given
    """Everything with this change, and those before it."""

    @property
    def text(self) -> str:
        """The change in words."""
        return f"{self.needed} (was {self.was})" if self.was else self.needed


# --- p-values


def _counted(cause: Cause) -> list[SignalKind]:
    """Return the kinds whose sequential p-value counts, with the mistakes last."""
    kinds = [kind for kind in COUNTED if (s := cause.signal(kind)) is not None and s.p_seq is not None]
    return sorted(kinds, key=lambda kind: kind == "concept")


def other_p_seq(given: Given, low: float, high: float, was: float) -> Change | None:
    """Return the change to a sequential p-value between two limits."""
    kinds = _counted(given.cause)
    if not kinds:
        return None
    below = given.cause.p_seq >= high
    value = max(high * (1 - BEYOND), (low + high) / 2 if low else 0.0) if below else low * (1 + BEYOND)
    each = value / len(kinds)
    values = {kinds[0]: each} if below else {k: each for k in kinds if (given.cause.signal(k).p_seq or 0.0) < each}  # type: ignore[union-attr]
    needed = f"p_seq below {high:g}" if below else f"p_seq {low:g} or more"
    return Change(
        name="p_seq", needed=needed, was=f"{was:.2g}", given=given.with_(cause=_with_signals(given.cause, p_seq=values))
    )


def unusual_alone(given: Given) -> Change | None:
    """Return the change to a window that alone is unusual."""
    kinds = [kind for kind in COUNTED if (s := given.cause.signal(kind)) is not None and s.p is not None]
    if not kinds:
        return None
    cause = _with_signals(given.cause, p={kinds[0]: REVIEW_P * (1 - BEYOND) / len(kinds)})
    needed = f"p of this window alone below {REVIEW_P:g}"
    return Change(name="alone", needed=needed, was=f"{given.cause.p:.2g}", given=given.with_(cause=cause))


def _alone_usual(given: Given) -> Change | None:
    kinds = [kind for kind in COUNTED if (s := given.cause.signal(kind)) is not None and s.p is not None]
    each = REVIEW_P * (1 + BEYOND) / max(len(kinds), 1)
    values = {kind: each for kind in kinds if (given.cause.signal(kind).p or 0.0) < each}  # type: ignore[union-attr]
    needed = f"p of this window alone {REVIEW_P:g} or more"
    return Change(
        name="alone",
        needed=needed,
        was=f"{given.cause.p:.2g}",
        given=given.with_(cause=_with_signals(given.cause, p=values)),
    )


def _no_drift(given: Given) -> Change | None:
    found = other_p_seq(given, AUTOMATION_P, 1.0, given.cause.p_seq)
    return None if found is None else dataclasses.replace(found, name="drift")


def _with_signals(cause: Cause, **values: Mapping[SignalKind, float]) -> Cause:
    """Return a cause whose signals of "all" have other values: field -> kind -> value."""
    signals = []
    for signal in cause.signals:
        changed = {name: of[signal.kind] for name, of in values.items() if signal.kind in of}
        signals.append(msgspec.structs.replace(signal, **changed) if signal.subject == "all" else signal)
    return dataclasses.replace(cause, signals=tuple(signals))


# --- money and harm


def other_impact(given: Given, level: Level) -> Change | None:
    """Return the change to a level of impact."""
    policy, impact = given.policy.impact, given.impact
    if impact.low is None and (given.cause.no_money or not (policy.cost or given.cause.has_money)):
        return None if level == "high" else _harm(given, shown=level == "medium")
    limit = {"low": policy.medium, "medium": policy.medium, "high": policy.high}[level]
    high = level == "high" or (level == "medium" and impact.level == "low")
    limit = policy.high if level == "medium" and not high else limit
    amount = limit + abs(limit) * 1e-9 if high else limit - abs(limit) * 1e-6
    windows = max(MIN_WINDOWS, math.ceil(given.cause.over))
    cause = dataclasses.replace(
        given.cause, losses=(amount,) * windows, lengths=(), totals=(), rivals={}, over=float(windows)
    )
    more = "or more" if high else "at most"
    needed = (
        f"{limit:,.0f} {policy.currency} a day {more}, surely"
        if high
        else f"less than {limit:,.0f} {policy.currency} a day, surely"
    )
    return Change(name="impact", needed=needed, was=_amount(impact), given=given.with_(cause=cause))


def _amount(impact: JudgedImpact) -> str:
    """Return the lower end of the avoidable money a day, in words."""
    if impact.low is None:
        return "not known"
    if not math.isfinite(impact.low):
        return f"{impact.per_day:,.0f} in the mean of too few windows to be sure"
    return (
        f"{impact.low:,.0f}; {impact.per_day:,.0f} in the mean"
        if impact.low != impact.per_day
        else f"{impact.low:,.0f}"
    )


def _harm(given: Given, *, shown: bool) -> Change | None:
    """Return the change to mistakes that are, or are not, surely more than expected."""
    concept = given.cause.signal("concept")
    if concept is None or concept.p_seq is None:
        return None
    value = HARM_P * (1 - BEYOND) if shown else HARM_P * (1 + BEYOND)
    needed = f"p_seq of the mistakes {'below' if shown else 'not below'} {HARM_P:g}"
    cause = _with_signals(given.cause, p_seq={"concept": value})
    return Change(name="harm", needed=needed, was=f"{concept.p_seq:.2g}", given=given.with_(cause=cause))


# --- the brakes


def _not_replaced(given: Given) -> Change:
    version, champion = given.cause.window.version, given.history.champion
    needed = f"version {version} still champion; version {champion} had replaced it"
    return _past(given, "replaced", needed, champion=version)


def _not_frozen(given: Given) -> Change:
    return _past(given, "frozen", f"no freeze ({given.history.frozen})", frozen=None)


def _tunable(given: Given) -> Change:
    return _past(given, NO_SEARCH, "a prompt that a search may change (tune: in its file)", no_search="")


def _harm_shown(given: Given) -> Change | None:
    cause = given.cause
    if cause.p_seq >= AUTOMATION_P:
        found = other_p_seq(given, 0.0, AUTOMATION_P, cause.p_seq)
    else:
        found = _harm(given, shown=True) or other_impact(given, "medium")
    return None if found is None else dataclasses.replace(found, name="no_harm_shown")


def _sound_pipe(given: Given) -> Change:
    """Return the change to values that look sound."""
    cause = given.cause
    doubt = (pipe_to_check(cause, given.policy) or "").removeprefix("check the pipe first: ")
    broken = {s.id for s in (*cause.broken, *cause.stale)}
    signals = [
        msgspec.structs.replace(s, value=0.0) if (s.kind, s.subject) == ("quality", CHECKS) else s
        for s in cause.signals
        if s.id not in broken
    ]
    sound = _with_signals(dataclasses.replace(cause, signals=tuple(signals)), p_seq={"quality": 1.0})
    return Change(name="broken_pipe", needed=f"no sign of a broken pipe ({doubt})", given=given.with_(cause=sound))


def _long_reference(given: Given) -> Change | None:
    windows = given.cause.reference_windows
    if given.cause.signal("data") is None:
        return None
    signals = tuple(
        msgspec.structs.replace(s, reference_windows=MIN_REFERENCE_WINDOWS)
        if (s.kind, s.subject) == ("data", "all")
        else s
        for s in given.cause.signals
    )
    cause = dataclasses.replace(given.cause, signals=signals)
    needed = f"{MIN_REFERENCE_WINDOWS} reference windows or more"
    return Change(name="little_reference", needed=needed, was=str(windows), given=given.with_(cause=cause))


def _no_cooldown(given: Given) -> Change:
    wait, last = given.policy.decide.cooldown, given.history.last_retrain
    needed = f"no retraining in the {units.short(wait)} before; one was asked for on {last:%Y-%m-%d}"
    return _past(given, "cooldown", needed, last_retrain=given.cause.window.end - timedelta(microseconds=wait))


def _no_retry_pause(given: Given) -> Change:
    last = given.history.last_refused
    needed = f"no retraining without a bundle shortly before; one was asked for on {last:%Y-%m-%d}"
    return _past(given, "retry_after", needed, refused=0)


def _in_budget(given: Given) -> Change | None:
    budget, history, currency = given.policy.decide.budget, given.history, given.policy.impact.currency
    if history.retrains + 1 > budget.retrains:
        if budget.retrains < 1:
            return None
        needed = f"fewer than {budget.retrains:g} retrainings in {MONTH.days} days (were {history.retrains})"
        return _past(given, "budget", needed, retrains=math.floor(budget.retrains) - 1)
    following = min(history.next_cost, budget.cost)
    needed = (
        f"trainings within {budget.cost:,.2f} {currency} in {MONTH.days} days, the next one included (were "
        f"{history.spent + history.next_cost:,.2f})"
    )
    return _past(given, "budget", needed, next_cost=following, spent=min(history.spent, budget.cost - following))


def _no_open_review(given: Given) -> Change:
    review = given.history.open_review or given.history.noted_review
    return _past(given, "review_open", f"no open review ({review})", open_review=None, noted_review=None, noted_at=None)


def _none_under_way(given: Given) -> Change:
    running = given.policy.decide.max_in_flight - 1 + (given.history.open_review is not None)
    return _past(given, "retraining_under_way", "no retraining under way", running=running)


def _nothing_failed(given: Given) -> Change:
    return _past(given, "failure", f"no failed retraining ({given.history.failure})", failure=None)


def _past(given: Given, name: str, needed: str, **values: Any) -> Change:
    return Change(name=name, needed=needed, given=given.with_(history=dataclasses.replace(given.history, **values)))


# --- refresh, new data, suspicions, shadows


def refresh_due(given: Given) -> Change | None:
    """Return the change by which a refresh is due."""
    refresh, rows, end = given.policy.retrain.refresh, given.rows, given.cause.window.end
    if refresh is None or rows.since is None:
        return None
    new = max(rows.new, math.ceil(refresh.min_new_rows * rows.known), 1)
    since = end - timedelta(microseconds=refresh.every)
    later = given.with_(rows=dataclasses.replace(rows, since=since, new=new, by_clock=False))
    needed = f"a refresh due: {units.short(refresh.every)} since the last retraining"
    was = _days(passed_since(rows.since, given.cause, given.policy, rows))
    if rows.share < refresh.min_new_rows:
        needed += f", and {refresh.min_new_rows:.3g} of the labelled rows new"
        was += f", and {rows.share:.3g}"
    return Change(name="due", needed=needed, was=was, given=later)


def _not_due(given: Given) -> Change | None:
    """Return the change by which neither the refresh nor new data ask for a retraining."""
    found, retrain, rows = due(given.cause, given.policy, given.rows), given.policy.retrain, given.rows
    if found is None or rows.since is None:
        return None
    end = given.cause.window.end
    later = given.with_(rows=dataclasses.replace(rows, since=end, new=0, by_clock=False))
    if found.trigger == "data":
        needed = f"fewer than {retrain.on_new_data:,} new labelled rows"
        return Change(name="data", needed=needed, was=f"{rows.new:,}", given=later)
    every = units.short(retrain.refresh.every) if retrain.refresh is not None else ""
    was = _days(passed_since(rows.since, given.cause, given.policy, rows))
    return Change(name="routine", needed=f"less than {every} since the last retraining", was=was, given=later)


def suspicion_begins(given: Given) -> Change | None:
    """Return the change by which the rows are suspected."""
    window = given.cause.window
    if not given.policy.retrain.quarantine.enabled:
        return None
    one = Suspicion(
        id=f"{window.model}/suspicion/{window.start:%Y-%m-%d}", created_at=window.created_at, model=window.model,
        start=window.start, end=window.end, rule="inputs", subject="", value=0.0, limit=0.0, known_at=window.end,
        reason="a leap",
    )  # fmt: skip
    needed = "a leap of the inputs, of missing values or of the loss, by which these rows are suspected"
    return Change(
        name="quarantine",
        needed=needed,
        given=given.with_(quarantined=Quarantined(found=(one,), suspected=True, run=1)),
    )


def _nothing_suspected(given: Given) -> Change:
    found = given.quarantined.found
    what = f"a leap of {found[0].subject}" if found else "the end of a suspicion"
    needed = f"no suspicion of these rows ({what})"
    return Change(name="quarantine", needed=needed, given=given.with_(quarantined=Quarantined()))


def clear_lead(given: Given) -> Change | None:
    """Return the change to a shadow that leads so far that it serves again."""
    if given.policy.retrain.refresh is None and given.policy.rollout.watch != "rollback":
        return None
    if not given.leads:
        return None
    best = given.leads[0]
    lead = dataclasses.replace(
        best, windows=max(best.windows, LEAD_WINDOWS), gain=abs(best.gain) or 1.0, errors=LEAD, over_champion=1.0,
        champion_windows=max(best.champion_windows, MIN_CHAMPION_WINDOWS),
    )  # fmt: skip
    needed = f"a shadow that leads by {LEAD:g} standard errors over {LEAD_WINDOWS} labelled windows"
    was = f"version {best.version}, by {best.errors:.1f} over {best.windows}"
    return Change(name="lead", needed=needed, was=was, given=given.with_(leads=(lead,)))


def small_lead(given: Given) -> Change | None:
    """Return the change to a shadow that is better in the mean."""
    if not given.leads:
        return None
    best = given.leads[0]
    if best.leads:
        return None
    lead = dataclasses.replace(best, windows=max(best.windows, 1), gain=1.0, errors=0.0, over_champion=1.0)
    needed = "a shadow that is better in the mean than the champions since it served"
    was = f"version {best.version}, by {best.gain:.3g}"
    return Change(name="small_lead", needed=needed, was=was, given=given.with_(leads=(lead,)))


def _no_lead(given: Given) -> Change:
    text = next((lead.text for lead in given.leads if lead.clearly), "")
    return Change(name="lead", needed=f"no shadow that leads clearly ({text})", given=given.with_(leads=()))


# --- the limits of rollback_when


def limits_broken(given: Given) -> list[Change]:
    """Return a change for each limit: a closed window in which it was surely broken."""
    window, limits = given.cause.window, given.policy.rollout.rollback_when
    found: list[Change] = []
    if limits.error_rate is not None:
        was = window.metrics.get("error_rate_low")
        value = limits.error_rate * (1 + BEYOND) + 1e-9
        needed = f"surely more than {100 * limits.error_rate:.3g} % of the predictions failed"
        said = None if was is None else f"surely {100 * was:.3g} % or more"
        found.append(_closed(given, "error_rate", needed, said, error_rate=value, error_rate_low=value))
    if limits.p99 is not None:
        limit = limits.p99 / units.MICROS["ms"]
        value, was = limit * (1 + BEYOND), window.metrics.get("p99_low_ms")
        said = None if was is None else f"surely {was:.3g} ms or more"
        found.append(_closed(given, "p99", f"p99 surely above {limit:g} ms", said, p99_ms=value, p99_low_ms=value))
    return found


def _closed(given: Given, name: str, needed: str, was: str | None, **metrics: float) -> Change:
    window = given.cause.window
    changed = msgspec.structs.replace(window, stage="closed", metrics={**window.metrics, **metrics})
    return Change(
        name=name,
        needed=needed,
        was=was or "not measured",
        given=given.with_(cause=dataclasses.replace(given.cause, window=changed)),
    )


def _restorable(given: Given) -> Change | None:
    """Return the change to another version that a rollback may restore."""
    version = given.cause.window.version
    if given.history.previous is not None and not given.history.restored:
        return None
    needed = (
        "another version that served before" if given.history.previous is None else "no rollback to this version before"
    )
    return _past(given, "limit", needed, previous=given.history.previous or version - 1, restored=False)


def limits_kept(given: Given) -> Change:
    """Return the change to a window that broke no limit."""
    window = given.cause.window
    kept = msgspec.structs.replace(window, metrics={**window.metrics, "error_rate_low": 0.0, "p99_low_ms": 0.0})
    said = "; ".join(broken_limits(window, given.policy.rollout.rollback_when))
    changed = given.with_(cause=dataclasses.replace(given.cause, window=kept))
    return Change(name="limit", needed=f"no limit broken ({said})", given=changed)


def _days(micros: int) -> str:
    return f"{micros / units.MICROS['d']:.3g} d"


Lever = Callable[[Given], Change | None]
"""Returns the change of one value; None where it cannot be changed so."""
LEVERS: Mapping[str, Lever] = MappingProxyType(
    {
        "replaced": _not_replaced,
        "frozen": _not_frozen,
        NO_SEARCH: _tunable,
        "no_harm_shown": _harm_shown,
        "broken_pipe": _sound_pipe,
        "little_reference": _long_reference,
        "cooldown": _no_cooldown,
        "retry_after": _no_retry_pause,
        "budget": _in_budget,
        "review_open": _no_open_review,
        "retraining_under_way": _none_under_way,
        "failure": _nothing_failed,
        "limit": _restorable,
        "alone": _alone_usual,
        "drift": _no_drift,
        "routine": _not_due,
        "data": _not_due,
        "quarantine": _nothing_suspected,
        "lead": _no_lead,
    }
)
"""By the name of a brake, or of what leads to an action."""
