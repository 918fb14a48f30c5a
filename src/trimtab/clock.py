"""The current time. This is the only module that reads the time of day; all other code gets a Clock as an argument.

Wall time drives schedules. The event time of the data drives windows, labels and decisions, so a year can be replayed
in minutes. Deadlines within one process use `time.monotonic` instead.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Returns the current time and waits."""

    def now(self) -> datetime:
        """Return the current time as an aware UTC datetime."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that changes only through `move_to` and `sleep`; neither waits."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._now = to_utc(start)

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(seconds, 0))

    def move_to(self, at: datetime) -> None:
        """Set the time. An earlier time than the present one is ignored."""
        self._now = max(self._now, to_utc(at))


def to_utc(at: datetime) -> datetime:
    """Return `at` as an aware UTC datetime; a naive one is taken as UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def to_micros(at: datetime) -> int:
    """Return microseconds since the epoch, exactly."""
    delta = to_utc(at) - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of `micros` microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=int(micros))


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 date or time; without an offset it is UTC. Raises ValueError.

    Digits alone are a date only when there are eight of them: fromisoformat reads the milliseconds 1712011200000
    as the year 1712.
    """
    try:
        if text.strip().isdecimal() and len(text.strip()) != len("20130301"):
            raise ValueError
        return to_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is no date or time; expected such as 2013-03-01 or 2013-03-01T05:00Z") from None
