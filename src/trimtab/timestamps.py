"""Parses timestamps of requests, labels and files: ISO 8601 text, or microseconds since 1970.

Seconds, milliseconds and nanoseconds are integers too. Read as microseconds they give a day in January 1970 or a time
far beyond the year 9999, so every row would silently get a wrong time. Therefore integers before about 1973 are
refused, except 0. Times of those years must be written as text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from trimtab.clock import from_micros, parse_time, to_micros

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 and 9999 in microseconds since the epoch. Today's nanoseconds lie beyond them."""
LEAST = 10**14
"""Microseconds from 1970 to 1973-03-03. A number nearer to 1970 most likely has another unit."""
EXPECTED = "expected ISO 8601 text such as 2026-01-31T12:00:00Z, or microseconds since 1970 as an integer"

_DIGITS = re.compile(r"\s*[+-]?\d{1,40}\s*")
_UNITS = (("s", "seconds", 1_000_000, 1), ("ms", "milliseconds", 1_000, 1), ("ns", "nanoseconds", 1, 1_000))
_LIKELY = (to_micros(datetime(1980, 1, 1, tzinfo=UTC)), to_micros(datetime(2100, 1, 1, tzinfo=UTC)))


def micros(value: object) -> int | None:
    """Return a timestamp in microseconds since the epoch; None when the value is not a timestamp."""
    if type(value) is int:
        return value if LEAST <= value <= LATEST or EARLIEST <= value <= -LEAST or value == 0 else None
    if isinstance(value, str):
        try:
            return to_micros(parse_time(value))
        except (ValueError, OverflowError):
            pass
    return None


def hint(value: object) -> str:
    """Return how a refused number reads in other units, as a text for an error; "" when no unit fits."""
    number = _whole(value)
    if number is None:
        return ""
    told = [f"as microseconds it is {from_micros(number):%Y-%m-%d}"] if abs(number) < LEAST else []
    meant = _meant(number)
    if meant is not None:
        _, unit, found = meant
        told.append(f"as {unit} it would be {from_micros(found).isoformat().replace('+00:00', 'Z')}")
    return f" ({'; '.join(told)})" if told else ""


def likely_unit(value: object) -> str | None:
    """Return "s", "ms" or "ns" when a number is a timestamp of 1980 to 2100 in that unit."""
    number = _whole(value)
    meant = None if number is None else _meant(number)
    return None if meant is None else meant[0]


def _meant(number: int) -> tuple[str, str, int] | None:
    """Return the unit, its name and the microseconds when a number is a likely timestamp in another unit."""
    for unit, name, times, by in _UNITS:
        found = number * times // by
        if _LIKELY[0] <= found <= _LIKELY[1]:
            return unit, name, found
    return None


def _whole(value: object) -> int | None:
    """Return the value of an integer, a whole float or a text of digits as an integer; None for other values."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return None
