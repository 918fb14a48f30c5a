"""The one place that asks for the time. Everybody else is handed a Clock.

Wall time drives schedules and timeouts; the event time of the data drives windows, labels and
decisions, so a year can be replayed in minutes and a test never sleeps.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved; sleeping moves it."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._now = to_utc(start)

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=max(seconds, 0))

    def move_to(self, moment: datetime) -> None:
        """Set the time; it never goes backwards."""
        self._now = max(self._now, to_utc(moment))


def to_utc(moment: datetime) -> datetime:
    """Return an aware UTC datetime; a naive one is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def to_micros(moment: datetime) -> int:
    """Return microseconds since the epoch, exactly."""
    delta = to_utc(moment) - EPOCH
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
