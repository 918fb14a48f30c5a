"""The pulse of the loop: the file by which others see that it turns, and what it has come to. It is no record.

The file is there while a loop should run: a loop that ends in order takes it away.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

PULSE = "loop.json"
"""Name of the file in the run folder."""


class ModelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the loop has come to for one model. Fields are None, or empty, as long as there is nothing to show."""

    model: str
    revision: int | None = None
    """Number of the newest revision."""
    window_end: float | None = None
    """End of the newest matured window of the champion: event time, seconds since 1970."""
    label_coverage: float | None = None
    """Of that window: share of the rows with a label."""
    losses: dict[str, float] = {}
    """Of that window, by metric: the one by which versions are compared."""
    money_lost: float | None = None
    """Of that window, in the policy's currency."""
    impact_per_day: float | None = None
    """Of the newest decision of the matrix."""
    p_seq: dict[str, float] = {}
    """Of that window, by kind of signal: the sequential p-value of all columns together."""
    decisions: dict[str, int] = {}
    """By action: all decisions so far."""
    open_reviews: int = 0
    """Reviews that wait for an answer."""


class LoopPulse(msgspec.Struct, frozen=True, kw_only=True):
    """The loop of a project. at: when it last ended a step. trouble: what keeps it from the next one, if it knows."""

    pid: int
    at: datetime
    trouble: str | None = None
    models: tuple[ModelFigures, ...] = ()

    @property
    def at_s(self) -> float:
        """When it last ended a step, in seconds since 1970."""
        return self.at.timestamp()
