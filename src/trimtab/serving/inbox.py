"""What clients send to the loop: KPI points, requests to retrain, events of triggers; one file a request, in folders of
the run folder.

All workers of a gateway share a folder. A file is on disk under its final name before the client is answered, so
nothing that was answered is lost. Names sort by the time of arrival.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

KPIS, RETRAININGS, TRIGGERS = "kpis", "retrainings", "triggers"
"""Folders inside the run folder."""


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """One point; times in microseconds since the epoch."""

    stream: str
    value: float
    time: int
    received_at: int
    entity: str | None = None
    model: str | None = None


class AskedRetraining(msgspec.Struct, frozen=True, kw_only=True):
    """A request to retrain a model; id: the client's, so that the same request again is the same one."""

    model: str
    id: str
    reason: str
    by: str
    received_at: int


class AskedTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a trigger; id: the client's, so that the same event again is the same one."""

    name: str
    id: str
    reason: str
    by: str
    received_at: int
    commit: str | None = None
    reference: str | None = None


def inbox(run_folder: Path, name: str) -> Path:
    """Return the folder of what waits."""
    return run_folder / name


class Inbox:
    """Keeps on disk what a worker was sent."""

    def __init__(self, folder: Path, worker: str, names: Sequence[str]) -> None:
        """names: the KPI streams, models or triggers that things may be sent for."""
        self._folder = folder
        self._worker = worker
        self._count = 0
        self.names = tuple(names)

    def keep(self, items: Sequence[Pushed] | Sequence[AskedRetraining] | Sequence[AskedTrigger]) -> None:
        """Write what came in one request to disk. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        name = f"{items[0].received_at:020d}-{self._worker}-{os.getpid()}-{self._count:08d}"
        draft = self._folder / f".{name}"
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(items))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._folder / f"{name}.json")
        place = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
