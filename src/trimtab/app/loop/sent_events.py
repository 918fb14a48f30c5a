"""Events of triggers that clients sent to the gateway. Pages read them, so that this file loads no library of data."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros
from trimtab.control.trigger_events import event_id, found_event
from trimtab.records.control import TriggerEvent
from trimtab.serving.inbox import TRIGGERS, AskedTrigger, inbox


def waiting_events(workspace: Workspace) -> list[TriggerEvent]:
    """Return the events that clients sent and that no loop has taken in yet, the first one of each id, oldest first."""
    found: dict[str, TriggerEvent] = {}
    for path in sorted(inbox(workspace.run_folder, TRIGGERS).glob("*.json")):
        with suppress(OSError, msgspec.DecodeError):  # a loop has just taken it in, or will set it aside
            for asked in msgspec.json.decode(path.read_bytes(), type=list[AskedTrigger]):
                found.setdefault(event_id(asked.name, asked.id), event_of(asked))
    return [event for id_, event in found.items() if found_event(workspace.metadata, id_) is None]


def event_of(asked: AskedTrigger) -> TriggerEvent:
    """Return the record of an event that a client sent."""
    return TriggerEvent(
        id=event_id(asked.name, asked.id),
        created_at=from_micros(asked.received_at),
        name=asked.name,
        key=asked.id,
        cause="request",
        reason=asked.reason,
        by=asked.by,
        commit=asked.commit,
        reference=asked.reference,
    )
