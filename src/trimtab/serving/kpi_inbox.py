"""KPI points that wait for the loop: one file a request, in a folder that all workers of a gateway share.

A file is on disk under its final name before the client is answered, so no answered point is lost. Names sort by the
time of arrival.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

FOLDER = "kpis"
"""Inside the run folder."""


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """One point; times in microseconds since the epoch."""

    stream: str
    value: float
    time: int
    received_at: int
    entity: str | None = None
    model: str | None = None


def inbox(run_folder: Path) -> Path:
    """Return the folder of the points that wait."""
    return run_folder / FOLDER


class KpiInbox:
    """Keeps the points of a worker. streams: names that may be pushed."""

    def __init__(self, folder: Path, worker: str, streams: Sequence[str]) -> None:
        self._folder = folder
        self._worker = worker
        self._count = 0
        self.streams = tuple(streams)

    def keep(self, points: Sequence[Pushed]) -> None:
        """Write the points of one request to disk. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        name = f"{points[0].received_at:020d}-{self._worker}-{os.getpid()}-{self._count:08d}"
        draft = self._folder / f".{name}"
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(points))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._folder / f"{name}.json")
        place = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
