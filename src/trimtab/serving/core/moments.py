"""Moments as clients write them: ISO 8601 text, or microseconds since 1970. Used by gateway and feedback.

Seconds and milliseconds are integers too, and as microseconds they are some day of 1970: taken so, they would score
every row at the wrong time, and nobody would notice. So integers before about 1973 are refused, zero aside.
"""

from __future__ import annotations

from datetime import UTC, datetime

from trimtab.clock import from_micros, parse_time, to_micros

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 and 9999, microseconds since the epoch: nanoseconds of today are beyond them."""
LEAST = 10**14
"""Microseconds from 1970 to 1973-03-03; what is nearer to 1970 was meant in another unit."""
EXPECTED = "expected ISO 8601 text such as 2026-01-31T12:00:00Z, or microseconds since 1970 as an integer"

_UNITS = (("seconds", 1_000_000, 1), ("milliseconds", 1_000, 1), ("nanoseconds", 1, 1_000))
_LIKELY = (to_micros(datetime(1980, 1, 1, tzinfo=UTC)), to_micros(datetime(2100, 1, 1, tzinfo=UTC)))


def micros(value: object) -> int | None:
    """Return a moment in microseconds since the epoch, None when the value is none."""
    if type(value) is int:
        return value if LEAST <= value <= LATEST or EARLIEST <= value <= -LEAST or value == 0 else None
    if isinstance(value, str):
        try:
            return to_micros(parse_time(value))
        except (ValueError, OverflowError):
            pass
    return None


def hint(value: object) -> str:
    """Return what an integer that is no moment would be in other units, for an error; "" where there is no guess."""
    if type(value) is not int:
        return ""
    meant = next(
        (
            f"as {unit} it would be {from_micros(found).isoformat().replace('+00:00', 'Z')}"
            for unit, times, by in _UNITS
            for found in [value * times // by]
            if _LIKELY[0] <= found <= _LIKELY[1]
        ),
        "",
    )
    own = f"as microseconds it is {from_micros(value):%Y-%m-%d}" if abs(value) < LEAST else ""
    told = "; ".join(part for part in (own, meant) if part)
    return f" ({told})" if told else ""
