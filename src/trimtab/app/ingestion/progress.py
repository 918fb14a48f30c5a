"""How far the streams of a project are: a small file of the process that reads them, for people and for metrics."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import msgspec

from trimtab.app.project.process_files import is_running, write_atomically
from trimtab.records.stream_progress import PROGRESS, IngestionProgress, StreamProgress

RATE_SECONDS = 30.0
"""Rows a second are measured over so long."""


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
