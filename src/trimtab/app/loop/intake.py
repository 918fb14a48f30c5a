"""Takes what clients sent to the gateway into the metadata store: KPI points, requests to retrain, trigger events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from trimtab.app.loop.kpi_points import take_point
from trimtab.app.loop.sent_events import event_of
from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros
from trimtab.control.retrain_requests import request_retraining
from trimtab.control.trigger_events import put_event
from trimtab.serving.inbox import KPIS, RETRAININGS, TRIGGERS, AskedRetraining, AskedTrigger, Pushed, inbox
from trimtab.stores.metadata.contract import Metadata

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Intake(Generic[Item]):
    """Takes one kind of what waits in files. A file that is taken in twice, after a death, writes nothing new."""

    def __init__(self, folder: Path, read: Callable[[bytes], list[Item]], take: Callable[[Item], bool]) -> None:
        """read: decodes a file. take: writes one item; returns True if it is new."""
        self._folder = folder
        self._read = read
        self._put = take

    def step(self) -> int:
        """Take in what waits, oldest first; return how many items are new."""
        if not self._folder.is_dir():
            return 0
        return sum(self._take(path) for path in sorted(self._folder.glob("*.json")))

    def _take(self, path: Path) -> int:
        try:
            found = self._read(path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read and is set aside: %s", path, error)
            path.replace(path.with_suffix(".unreadable"))
            return 0
        taken = sum(self._put(each) for each in found)
        path.unlink()
        return taken


def kpi_intake(workspace: Workspace) -> Intake[Pushed]:
    """Return the intake of KPI points."""
    return Intake(
        inbox(workspace.run_folder, KPIS),
        msgspec.json.Decoder(list[Pushed]).decode,
        partial(take_point, workspace.metadata),
    )


def request_intake(workspace: Workspace) -> Intake[AskedRetraining]:
    """Return the intake of requests to retrain."""
    return Intake(
        inbox(workspace.run_folder, RETRAININGS),
        msgspec.json.Decoder(list[AskedRetraining]).decode,
        partial(take_request, workspace.metadata),
    )


def take_request(metadata: Metadata, asked: AskedRetraining) -> bool:
    """Write a request; the first one with an id stays."""
    at = from_micros(asked.received_at)
    found = request_retraining(
        metadata, asked.model, key=asked.id, source="api", reason=asked.reason, by=asked.by, at=at
    )
    return found.created_at == at


def trigger_intake(workspace: Workspace) -> Intake[AskedTrigger]:
    """Return the intake of events of triggers."""
    return Intake(
        inbox(workspace.run_folder, TRIGGERS),
        msgspec.json.Decoder(list[AskedTrigger]).decode,
        partial(take_event, workspace.metadata),
    )


def take_event(metadata: Metadata, asked: AskedTrigger) -> bool:
    """Write an event; the first one with an id stays."""
    event = event_of(asked)
    return put_event(metadata, event).created_at == event.created_at
