"""How far the streams of a project are: a small file of the process that reads them, for people and for metrics."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from pathlib import Path

import msgspec

from trimtab.app.project.process_files import is_running, write_atomically

PROGRESS = "ingestion.json"
RATE_SECONDS = 30.0
"""Rows a second are measured over so long."""


class StreamProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One stream, since its process started unless it says otherwise."""

    source: str
    rows: int = 0
    """Rows that were added to the table."""
    refused: int = 0
    """Messages in quarantine."""
    batches: int = 0
    rows_per_second: float = 0.0
    lag: int | None = None
    """Messages that the broker has and the table has not; None when that is not known."""
    freshness_s: float | None = None
    """Age of the oldest message of the newest micro-batch when its online values could be read, by its timestamp."""
    version: int | None = None
    """Newest version of the table."""
    landed_at: datetime | None = None
    """Time of the newest micro-batch."""
    caught_up: bool = False
    epoch: int = 0
    """How often the topic was made anew, in all."""
    losses: int = 0
    """Losses of messages that were not read, in all."""
    last_loss: str | None = None
    trouble: str | None = None
    """Why the stream does not flow, or None."""


class IngestionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """All streams of one process."""

    pid: int
    since: datetime
    streams: tuple[StreamProgress, ...]


def read_ingestion(run_folder: Path) -> IngestionProgress | None:
    """Return the progress of the process that reads streams, or None when none runs."""
    try:
        found = msgspec.json.decode((run_folder / PROGRESS).read_bytes(), type=IngestionProgress)
    except (OSError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None


def write_ingestion(run_folder: Path, progress: IngestionProgress) -> None:
    """Replace the file."""
    write_atomically(run_folder / PROGRESS, msgspec.json.encode(progress))


def progress_line(one: StreamProgress) -> str:
    """Return one line about a stream."""
    if one.trouble is not None:
        return f"stream   {one.source}: does not flow: {one.trouble}"
    parts = [f"{one.rows:,} rows", f"{one.rows_per_second:,.0f} a second"]
    if one.refused:
        parts.append(f"{one.refused:,} in quarantine")
    parts.append("caught up" if one.caught_up else f"{one.lag:,} messages behind" if one.lag is not None else "reading")
    if one.freshness_s is not None:
        parts.append(f"freshness {one.freshness_s:.1f} s")
    if one.losses:
        parts.append(f"{one.losses} losses, the last: {one.last_loss}")
    return f"stream   {one.source}: {', '.join(parts)}"


class Rate:
    """Rows a second over the last RATE_SECONDS."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now: float, rows: int) -> None:
        """Count rows. now: seconds."""
        self._points.append((now, rows))

    def value(self, now: float) -> float:
        """Return the rate."""
        while self._points and self._points[0][0] < now - RATE_SECONDS:
            self._points.popleft()
        if not self._points:
            return 0.0
        return sum(rows for _, rows in self._points) / max(1.0, min(RATE_SECONDS, now - self._points[0][0]))
