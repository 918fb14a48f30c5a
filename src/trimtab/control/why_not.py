"""Why a window did not lead to another action: the values that would have had to be different. Pure.

Each way to an action is found by deciding again with changed values, until the functions that decide say that action.
So what is named is sufficient: with these values, and all else as it was, the other action follows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from trimtab import units
from trimtab.clock import to_micros
from trimtab.control.brakes import AUTOMATION_P, MIN_REFERENCE_WINDOWS, pipe_to_check
from trimtab.control.cause import COUNTED, Cause
from trimtab.control.decision import REVIEW_P, Draft
from trimtab.control.failures import ask_about_failure
from trimtab.control.history import MONTH, ControlHistory
from trimtab.control.impact import HARM_P, MIN_WINDOWS, JudgedImpact, judge
from trimtab.control.quarantine_steps import Quarantined
from trimtab.control.refresh import LabelledRows, due, rare
from trimtab.control.rollback import broken_limits, decide_rollback
from trimtab.control.routine import Situation, decide_window
from trimtab.control.way_back import LEAD, MIN_CHAMPION_WINDOWS, Lead
from trimtab.control.way_back import MIN_WINDOWS as LEAD_WINDOWS
from trimtab.policy.model import Policy
from trimtab.records.control import Suspicion
from trimtab.records.monitoring import CHECKS
from trimtab.records.record import Action, Level, SignalKind

ACTIONS: tuple[Action, ...] = ("monitor", "review", "retrain", "rollback")
"""From the softest to the strongest."""
LEVELS: tuple[Level, ...] = ("low", "medium", "high")
MOST_CHANGES = 12
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
        starts = [*_limits_broken(given), _then(given, (), _clear_lead)]
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
            way = _then(given, way, lambda g, low=low, high=high: _p_seq(g, low, high, given.cause.p_seq))  # type: ignore[misc]
        if to != level:
            way = _then(given, way, lambda g, to=to: _impact(g, to))  # type: ignore[misc]
        starts.append(way)
    if target == "review":
        starts.append(_then(given, (), _alone_unusual))
    return starts


def _from_refresh(given: Given, target: Action) -> list[Way | None]:
    """Return the changes by which the table of routine.py says an action."""
    refresh = given.policy.retrain.refresh
    if target == "review":
        return [(), _then(given, (), _suspicion_begins)]
    if target != "retrain" or refresh is None:
        return [()]
    drifted = _then(given, (), lambda g: _p_seq(g, 0.0, AUTOMATION_P, given.cause.p_seq))
    if not rare(refresh, given.policy.decide.window):
        drifted = _then(given, drifted, _small_lead)
    return [_then(given, (), _due), drifted]


def _from_limits(given: Given, target: Action) -> list[Way | None]:
    return [()] if target in ("rollback", "review") else [_then(given, (), _limits_kept)]


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


# --- p-values


def _counted(cause: Cause) -> list[SignalKind]:
    """Return the kinds whose sequential p-value counts, with the mistakes last."""
    kinds = [kind for kind in COUNTED if (s := cause.signal(kind)) is not None and s.p_seq is not None]
    return sorted(kinds, key=lambda kind: kind == "concept")


def _p_seq(given: Given, low: float, high: float, was: float) -> Change | None:
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


def _alone_unusual(given: Given) -> Change | None:
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
    found = _p_seq(given, AUTOMATION_P, 1.0, given.cause.p_seq)
    return None if found is None else dataclasses.replace(found, name="drift")


def _with_signals(cause: Cause, **values: Mapping[SignalKind, float]) -> Cause:
    """Return a cause whose signals of "all" have other values: field -> kind -> value."""
    signals = []
    for signal in cause.signals:
        changed = {name: of[signal.kind] for name, of in values.items() if signal.kind in of}
        signals.append(msgspec.structs.replace(signal, **changed) if signal.subject == "all" else signal)
    return dataclasses.replace(cause, signals=tuple(signals))


# --- money and harm


def _impact(given: Given, level: Level) -> Change | None:
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


def _harm_shown(given: Given) -> Change | None:
    cause = given.cause
    if cause.p_seq >= AUTOMATION_P:
        found = _p_seq(given, 0.0, AUTOMATION_P, cause.p_seq)
    else:
        found = _harm(given, shown=True) or _impact(given, "medium")
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


def _due(given: Given) -> Change | None:
    refresh, rows, end = given.policy.retrain.refresh, given.rows, given.cause.window.end
    if refresh is None or rows.since is None:
        return None
    new = max(rows.new, math.ceil(refresh.min_new_rows * rows.known), 1)
    later = given.with_(rows=dataclasses.replace(rows, since=end - timedelta(microseconds=refresh.every), new=new))
    needed = f"a refresh due: {units.short(refresh.every)} since the last retraining"
    was = _days(to_micros(end) - to_micros(rows.since))
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
    was = _days(to_micros(end) - to_micros(rows.since))
    return Change(name="routine", needed=f"less than {every} since the last retraining", was=was, given=later)


def _suspicion_begins(given: Given) -> Change | None:
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


def _clear_lead(given: Given) -> Change | None:
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


def _small_lead(given: Given) -> Change | None:
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


def _limits_broken(given: Given) -> list[Way | None]:
    """Return a way for each limit: a closed window in which it was surely broken."""
    window, limits = given.cause.window, given.policy.rollout.rollback_when
    found: list[Way | None] = []
    if limits.error_rate is not None:
        was = window.metrics.get("error_rate_low")
        value = limits.error_rate * (1 + BEYOND) + 1e-9
        needed = f"surely more than {100 * limits.error_rate:.3g} % of the predictions failed"
        said = None if was is None else f"{100 * was:.3g} %"
        found.append((_closed(given, "error_rate", needed, said, error_rate=value, error_rate_low=value),))
    if limits.p99 is not None:
        limit = limits.p99 / units.MICROS["ms"]
        value, was = limit * (1 + BEYOND), window.metrics.get("p99_low_ms")
        said = None if was is None else f"{was:.3g} ms"
        found.append((_closed(given, "p99", f"p99 surely above {limit:g} ms", said, p99_ms=value, p99_low_ms=value),))
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


def _limits_kept(given: Given) -> Change:
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
