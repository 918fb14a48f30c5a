"""What holds automation back for a while: a freeze by a person, and the quiet hours of the policy.

Both end by event time, so a replay is held back where the live system was.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from trimtab.clock import Clock
from trimtab.errors import Conflict, UsageError
from trimtab.policy.decide import WEEKDAYS, Decide, Weekday
from trimtab.records.control import Freeze
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.contract import Metadata, latest

ALL_MODELS = ""
"""`Freeze.model` of a freeze of all models."""


def active_freeze(metadata: Metadata, model: str, time: datetime) -> Freeze | None:
    """Return the freeze that holds a model at an event time, its own or that of all models; None without one."""
    for scope in dict.fromkeys((ALL_MODELS, model)):
        newest = latest(metadata, Freeze, model=scope)
        if newest is not None and newest.frozen and (newest.until is None or time < newest.until):
            return newest
    return None


def freeze_reason(freeze: Freeze) -> str:
    """Return the sentence that says who has frozen what, until when and why."""
    what = "all models are frozen" if freeze.model == ALL_MODELS else f"{freeze.model} is frozen"
    until = f" until {freeze.until:%Y-%m-%d %H:%M}" if freeze.until else ""
    return f"{what}{until} by {freeze.by}: {freeze.reason}"


class QuietHours(Protocol):
    """Hours of a day that a section of the policy names."""

    @property
    def quiet_hours(self) -> tuple[int, int] | None:
        """Begin and end in minutes since midnight; None without them."""
        ...

    @property
    def quiet_days(self) -> list[Weekday]:
        """Days on which they begin; empty for every day."""
        ...

    @property
    def timezone(self) -> str:
        """Time zone in which they count."""
        ...


def quiet_until(policy: QuietHours, time: datetime) -> datetime | None:
    """Return when the quiet hours end that a time lies in, or None when it lies in none."""
    if policy.quiet_hours is None:
        return None
    local = time.astimezone(ZoneInfo(policy.timezone))
    minute, (begin, end) = local.hour * 60 + local.minute, policy.quiet_hours
    day = local  # on which the quiet hours began
    if begin < end:
        inside = begin <= minute < end
    else:
        inside = minute >= begin or minute < end
        day = local if minute >= begin else local - timedelta(days=1)
    if not inside or (policy.quiet_days and WEEKDAYS[day.weekday()] not in policy.quiet_days):
        return None
    last = day if begin < end else day + timedelta(days=1)
    hour, rest = divmod(end, 60)
    midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=1) if hour == 24 else midnight.replace(hour=hour, minute=rest)).astimezone(UTC)


def quiet_reason(policy: Decide, time: datetime) -> str | None:
    """Return the sentence that says that a time lies in the quiet hours, or None when it does not."""
    if policy.quiet_hours is None or quiet_until(policy, time) is None:
        return None
    end = policy.quiet_hours[1]
    return f"quiet hours until {end // 60:02}:{end % 60:02} {policy.timezone} (decide.quiet_hours)"


def hold_reason(metadata: Metadata, policy: Decide, model: str, time: datetime) -> str | None:
    """Return why nothing of a model is retrained or promoted by itself at an event time, or None when it may be."""
    frozen = active_freeze(metadata, model, time)
    return quiet_reason(policy, time) if frozen is None else freeze_reason(frozen)


def event_time(metadata: Metadata, model: str, clock: Clock) -> datetime:
    """Return the end of the newest window of a model, of any model when the name is empty; without one, the time."""
    newest = latest(metadata, WindowReport, **({"model": model} if model else {}))
    return newest.end if newest is not None else clock.now()


def closed_until(metadata: Metadata, model: str) -> datetime | None:
    """Return the end of the newest closed window of a model, which its revisions and answers note; None without one."""
    newest = latest(metadata, WindowReport, model=model, stage="closed")
    return newest.end if newest is not None else None


def set_freeze(
    metadata: Metadata, model: str, *, frozen: bool, reason: str, by: str, clock: Clock, until: datetime | None = None
) -> Freeze:
    """Write the start or the end of a freeze.

    Args:
        metadata: the store of records.
        model: name of a model, or ALL_MODELS.
        frozen: True begins a freeze, or changes the reason and the end of the present one; False ends it.
        reason: why.
        by: name of who asks for it.
        clock: gives the time of the record.
        until: event time at which it ends by itself.

    Raises:
        UsageError: the reason or the name is empty, `until` has passed, or there is no such freeze to end.
    """
    for value, what in ((reason, "reason"), (by, "name of who asks for it")):
        if not value.strip():
            raise UsageError(f"a freeze, and its end, need a {what}: it stands in the record of decisions")
    now = event_time(metadata, model, clock)
    if until is not None and until <= now:
        raise UsageError(f"--until: {until:%Y-%m-%d %H:%M} has passed; event time is {now:%Y-%m-%d %H:%M}")
    while True:
        last = latest(metadata, Freeze, model=model)
        if not frozen:
            _expect_frozen(metadata, model, last, now)
        number = last.number + 1 if last else 1
        made = Freeze(
            id=f"freeze/{model}/{number}",
            created_at=clock.now(),
            model=model,
            number=number,
            frozen=frozen,
            until=until,
            reason=reason.strip(),
            by=by.strip(),
        )
        try:
            metadata.put(made)
        except Conflict:
            continue  # another process took the number
        return made


def _expect_frozen(metadata: Metadata, model: str, last: Freeze | None, now: datetime) -> None:
    """Raise UsageError when there is no freeze of exactly this scope."""
    if last is not None and last.frozen and (last.until is None or now < last.until):
        return
    what = f"model '{model}' is not frozen" if model else "no freeze of all models is on"
    other = active_freeze(metadata, model, now)
    if other is not None:
        raise UsageError(f"{what} by itself; {freeze_reason(other)}. To end that: trimtab unfreeze")
    single = sorted({f.model for f in metadata.find(Freeze) if active_freeze(metadata, f.model, now)})
    hint = f" Frozen: {', '.join(single)}; to end one: trimtab unfreeze {single[0]}" if single else ""
    raise UsageError(f"{what}.{hint}")
