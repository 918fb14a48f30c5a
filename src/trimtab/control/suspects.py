"""What a person says about suspected rows: they are let in, or further ones are held."""

from __future__ import annotations

from datetime import datetime

import msgspec

from trimtab.clock import Clock
from trimtab.control.suspicion import Known, overlaps, read
from trimtab.errors import UsageError
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.contract import Metadata, newest_where

DAY = "%Y-%m-%d %H:%M"

HELD = "held"
STATES = {
    "let_in": "let in by a person",
    "new_world": "used again: a new world",
    "rule_dropped": "used again: rule dropped",
}


class SuspectedStretch(msgspec.Struct, frozen=True, kw_only=True):
    """Windows in a row that are or were suspected for one cause. state: held, or how the suspicion ended."""

    start: datetime
    end: datetime
    windows: int
    rule: str
    subject: str
    state: str
    reason: str


def suspected_stretches(metadata: Metadata, model: str) -> list[SuspectedStretch]:
    """Return what is and was suspected of a model, newest first."""
    known = read(metadata, model)
    found: list[SuspectedStretch] = []
    for suspicion in sorted(known.suspicions, key=lambda s: s.start):
        end = known.end_of(suspicion)
        state = HELD if end is None else STATES[end.outcome]
        last = found[-1] if found else None
        same = last is not None and (last.end, last.rule, last.subject, last.state) == (
            suspicion.start,
            suspicion.rule,
            suspicion.subject,
            state,
        )
        if last is not None and same:
            found[-1] = msgspec.structs.replace(last, end=suspicion.end, windows=last.windows + 1)
        else:
            found.append(
                SuspectedStretch(
                    start=suspicion.start,
                    end=suspicion.end,
                    windows=1,
                    rule=suspicion.rule,
                    subject=suspicion.subject,
                    state=state,
                    reason=suspicion.reason,
                )
            )
    return found[::-1]


def let_in(
    metadata: Metadata, model: str, start: datetime, end: datetime | None, *, reason: str, by: str, clock: Clock
) -> tuple[SuspicionEnd, ...]:
    """End the suspicions of a stretch: its rows train and judge again from the next window on.

    start: the first suspected window. end: of the stretch; left out, that of the windows in a row from `start` on.
    Raises UsageError when no suspicion begins there, or without a reason.
    """
    _need(reason, "let-in")
    known = read(metadata, model)
    found = _stretch(known, start, end)
    if not found:
        begin = sorted({s.start for s in known.open()})
        hint = f" Held are the windows from {', '.join(f'{s:{DAY}}' for s in begin)}." if begin else " Nothing is held."
        raise UsageError(f"no suspicion of model '{model}' that holds begins at {start:{DAY}} UTC.{hint}")
    ends = tuple(
        SuspicionEnd(
            id=f"{s.id}/end",
            created_at=clock.now(),
            model=model,
            start=s.start,
            suspicion=s.id,
            outcome="let_in",
            known_at=_event_time(metadata, model, clock),
            reason=reason.strip(),
            by=by,
        )
        for s in found
    )
    metadata.put(*ends)
    return ends


def hold(
    metadata: Metadata, model: str, start: datetime, end: datetime, *, reason: str, by: str, clock: Clock
) -> Suspicion:
    """Hold the rows of a stretch of event time until they are let in.

    Raises UsageError for a stretch that does not end after it begins, one that is held already, or without a reason.
    """
    _need(reason, "hold")
    if end <= start:
        raise UsageError(f"a stretch ends after it begins: {end:{DAY}} is not after {start:{DAY}}")
    known = read(metadata, model)
    same = [s for s in known.suspicions if s.rule == "person" and s.start == start]
    if any(s.start <= start and end <= s.end for s in known.open()):
        raise UsageError(f"the rows from {start:{DAY}} to {end:{DAY}} UTC are held already: trimtab suspects")
    suspicion = Suspicion(
        id=f"{model}/suspicion/{start.isoformat().replace('+00:00', 'Z')}/person/{len(same) + 1}",
        created_at=clock.now(),
        model=model,
        start=start,
        end=end,
        rule="person",
        subject=by,
        value=0.0,
        limit=0.0,
        known_at=_event_time(metadata, model, clock),
        reason=reason.strip(),
    )
    metadata.put(suspicion)
    return suspicion


def _need(reason: str, verb: str) -> None:
    if not reason.strip():
        raise UsageError(f"{verb} needs a reason: it stands in the records")


def _stretch(known: Known, start: datetime, end: datetime | None) -> list[Suspicion]:
    """Return the suspicions that hold, from the one that begins at `start` on, without a gap."""
    opened = sorted(known.open(), key=lambda s: s.start)
    if end is not None:
        return [s for s in opened if overlaps(s, [(start, end)])]
    found = [s for s in opened if s.start == start]
    for suspicion in opened:
        if found and suspicion.start > start and suspicion.start <= max(s.end for s in found):
            found.append(suspicion)
    return found


def _event_time(metadata: Metadata, model: str, clock: Clock) -> datetime:
    """Return the end of the newest window that the controller can have judged; without one, the time."""
    where = {"model": model, "stage": "matured"}
    window = newest_where(metadata, WindowReport, lambda w: w.role == "champion", **where)
    return window.end if window else clock.now()
