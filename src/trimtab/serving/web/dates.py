"""The Date header, which answers must have (RFC 9110, 6.6.1); made once a second. Used by connection."""

from __future__ import annotations

from trimtab.clock import Clock

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Dates:
    """Tells the date as a line of a head. One for all connections of a worker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._line = b""
        self._until = float("-inf")

    def line(self, now: float) -> bytes:
        """Return the header with its line break. now: seconds of a clock that never goes back, as the loop has."""
        if now >= self._until:
            moment = self._clock.now()
            # strftime would speak the language of the process
            day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
            self._line = f"date: {day}, {moment:%d} {month} {moment:%Y %H:%M:%S} GMT\r\n".encode()
            self._until = now + 1.0 - moment.microsecond / 1e6
        return self._line
