"""What the loop did, one line each, for the output of `trimtab up`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from trimtab.clock import Clock
from trimtab.control.decision import counted_reason
from trimtab.records.control import Decision, Freeze, Resolution, TriggerOutcome, WorkflowStep
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata

KINDS: tuple[type[Record], ...] = (Decision, Resolution, WorkflowStep, Revision, Freeze, TriggerOutcome)

PAUSE = timedelta(seconds=1)
"""Least time between two reads of the store while this process has written nothing: other processes write, too."""


class NewEvents:
    """The records that were written since the last call of `lines`, without decisions that change nothing."""

    def __init__(self, metadata: Metadata, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._looked = clock.now()
        self._seen = {kind: metadata.count(kind) for kind in KINDS}

    def lines(self, *, now: bool = True) -> Iterator[str]:
        """Yield one line for each new record, oldest first. now: read the store also within a PAUSE."""
        if not now and self._clock.now() - self._looked < PAUSE:
            return
        self._looked = self._clock.now()
        found: list[Record] = []
        for kind in KINDS:
            count = self._metadata.count(kind)
            if count > self._seen[kind]:
                found += self._metadata.find(kind, limit=count - self._seen[kind])[::-1]
                self._seen[kind] = count
        for record in sorted(found, key=lambda record: record.created_at):
            if line := event_line(record):
                yield f"{record.created_at:%Y-%m-%d %H:%M:%S}  {line}"


def event_line(record: Record) -> str:
    """Return what a record says was done, in one line; empty for a decision to monitor."""
    if isinstance(record, Decision):
        if record.action == "monitor":
            return ""
        return f"{record.action}  {record.id}, window {record.start:%Y-%m-%d %H:%M}: {counted_reason(record)}"
    if isinstance(record, Resolution):
        return f"{record.verdict}  {record.decision}, by {record.by}: {record.reason}"
    if isinstance(record, WorkflowStep):
        return f"{record.step}  {record.decision}: {record.outcome}"
    if isinstance(record, Revision):
        serves = ", ".join(f"{a.role} {a.version} ({a.weight:g} %)" for a in record.assignments)
        return f"{record.action}  {record.model}, revision {record.number}: {serves}, by {record.by}"
    if isinstance(record, TriggerOutcome):
        return f"trigger  {record.event.removeprefix('trigger/')} {record.state}: {record.outcome}"
    if isinstance(record, Freeze):
        until = f", until {record.until:%Y-%m-%d %H:%M}" if record.until else ""
        what = "freeze" if record.frozen else "unfreeze"
        return f"{what}  {record.model or 'all models'}{until}, by {record.by}: {record.reason}"
    return ""
