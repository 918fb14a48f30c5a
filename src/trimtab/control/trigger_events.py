"""Events of the policy's triggers: written once each, and the rules by which they are acted on."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from trimtab.clock import from_micros, to_micros
from trimtab.errors import Conflict, NotFound, PolicyError, UsageError
from trimtab.policy.reader import parse_policy
from trimtab.policy.trigger_rules import TriggerRule, times_after
from trimtab.records.control import PolicyVersion, TriggerEvent, TriggerOutcome
from trimtab.stores.metadata.contract import Metadata, latest

KEY = re.compile(r"[\w.:-]{1,64}", re.ASCII)
TIMING = ("on", "cron", "timezone", "source")
"""Fields of a rule that say when it starts by itself."""
MOST_PASSED = 1000


def event_id(name: str, key: str) -> str:
    """Return the id of an event."""
    return f"trigger/{name}/{key}"


def trigger_event(
    metadata: Metadata,
    name: str,
    *,
    key: str,
    cause: Literal["request", "command", "new_data", "schedule"],
    reason: str,
    by: str,
    at: datetime,
    **more: Any,
) -> TriggerEvent:
    """Write an event of a trigger, which the loop acts on. One with a known key is the first one's.

    more: further fields of TriggerEvent. Raises UsageError for a key that is none.
    """
    event = TriggerEvent(
        id=event_id(name, key), created_at=at, name=name, key=key, cause=cause, reason=reason, by=by, **more
    )
    return put_event(metadata, event)


def put_event(metadata: Metadata, event: TriggerEvent) -> TriggerEvent:
    """Write an event and return it, or the one that was there with its key. Raises UsageError."""
    if not KEY.fullmatch(event.key):
        raise UsageError(f"'{event.key:.100}' is no key of an event: expected up to 64 letters, digits or _ . : -")
    if (known := found_event(metadata, event.id)) is not None:
        return known
    with suppress(Conflict):  # another process wrote it first
        metadata.put(event)
    return metadata.get(TriggerEvent, event.id)


def found_event(metadata: Metadata, id_: str) -> TriggerEvent | None:
    """Return an event by its id, or None."""
    try:
        return metadata.get(TriggerEvent, id_)
    except NotFound:
        return None


def outcome_of(metadata: Metadata, event: str) -> TriggerOutcome | None:
    """Return what became of an event, or None while it waits."""
    return latest(metadata, TriggerOutcome, event=event)


def cooling_until(metadata: Metadata, name: str, rule: TriggerRule) -> datetime | None:
    """Return when the cooldown of a trigger ends, by its last event that was acted on; None without one."""
    last = latest(metadata, TriggerOutcome, name=name, state="done")
    if rule.cooldown is None or last is None:
        return None
    return from_micros(to_micros(last.fired_at) + rule.cooldown)


def in_force_since(metadata: Metadata, name: str, rule: TriggerRule) -> datetime | None:
    """Return since when the policy has a trigger with the same times and the same source; None without a record.

    What came before is not made up for.
    """
    since: datetime | None = None
    for version in metadata.find(PolicyVersion):
        try:
            then = parse_policy(version.text).triggers.get(name)
        except PolicyError:  # an older release wrote it
            break
        if then is None or any(getattr(then, field) != getattr(rule, field) for field in TIMING):
            break
        since = version.created_at
    return since


def passed_times(rule: TriggerRule, since: datetime, due: datetime) -> int:
    """Return how many times of a schedule lie after `since` and before `due`; at most MOST_PASSED."""
    found, time = 0, since
    while found < MOST_PASSED and (time := times_after(rule, time, 1)[0]) < due:
        found += 1
    return found
