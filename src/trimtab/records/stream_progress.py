"""How far streams are: the file that the process which reads them leaves for others. It is no record of the store."""

from __future__ import annotations

from datetime import datetime

import msgspec

PROGRESS = "ingestion.json"
"""Name of the file in the run folder."""


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

    @property
    def flows(self) -> int:
        """1 if the stream has no trouble, else 0."""
        return int(self.trouble is None)


class IngestionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """All streams of one process."""

    pid: int
    since: datetime
    streams: tuple[StreamProgress, ...]
