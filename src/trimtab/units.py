"""Parses durations, shares, money rates and sizes: "7d", "1%", "500/day", "500MB", "0.1sd".

Every function raises ValueError with the nearest valid form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from trimtab.errors import nearest

MICROS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
MAX_MICROS = 2**63 - 1
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
WORDS = {
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "week": "w",
    "std": "sd",
    "percent": "%",
}
"""Other spellings of units -> the unit that an error proposes."""
RATE_SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
"""Periods of requests and tokens: "600/min"."""
PERIOD_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}


class PerPeriod(NamedTuple):
    """A number and the period it is counted over."""

    value: float
    period: str


_PER_PERIOD = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([a-z]+)\s*")
_NUMBER = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%]*)\s*$")


def micros(text: str) -> int:
    """Return a duration such as "90m" or "7d" in microseconds; more than 0, and less than 2^63."""
    number, unit = _split(text, "a duration", "10ms, 30s, 15m, 3h or 7d", MICROS)
    value = round(number * MICROS[unit])
    if value <= 0:
        raise ValueError(f"'{text}' is not a duration: it must be more than zero, for example 10ms or 7d")
    if value > MAX_MICROS:
        raise ValueError(f"'{text}' is not a duration: it must be less than {MAX_MICROS // MICROS['d']}d")
    return value


def duration(text: str) -> timedelta:
    """Return a duration such as "90m" or "7d" as a timedelta."""
    return timedelta(microseconds=micros(text))


def short(value: int) -> str:
    """Return microseconds in the largest unit up to days that divides them: 86400000000 -> "1d"."""
    for unit in ("d", "h", "m", "s", "ms"):
        if value % MICROS[unit] == 0:
            return f"{value // MICROS[unit]}{unit}"
    return f"{value}us"


def share(text: str | float) -> float:
    """Return a share such as "1%" or 0.01 as a number between 0 and 1."""
    if isinstance(text, str):
        number, unit = _split(text, "a share", "1% or 0.01", {"%": 1, "": 1})
        value = number / 100 if unit == "%" else number
    else:
        value = float(text)
    if not 0 <= value <= 1:
        hint = f"write {value:g}%" if 1 < value <= 100 and "%" not in str(text) else "for example 1% or 0.01"
        raise ValueError(f"'{text}' is not a share: expected between 0% and 100%, {hint}")
    return value


def bytes_(text: str | int) -> int:
    """Return a size such as "500MB" in bytes."""
    if isinstance(text, int):
        return text
    number, unit = _split(text, "a size", "500MB or 2GiB", SIZES)
    return round(number * SIZES[unit])


def standard_deviations(text: str | float) -> float:
    """Return "0.1sd" or 0.1 as 0.1 standard deviations."""
    if isinstance(text, int | float):
        return float(text)
    number, _ = _split(text, "a noise level", "0.1sd", {"sd": 1, "": 1})
    return number


def per_day(text: str | float, *, otherwise: str = "day") -> float:
    """Return a rate such as "500/day" or "8/month" as an amount a day (a month has 30 days).

    otherwise: the period of an amount without one.
    """
    if isinstance(text, int | float):
        return float(text) / PERIOD_DAYS[otherwise]
    amount, _, period = text.partition("/")
    period = period.strip() or otherwise
    if period not in PERIOD_DAYS:
        raise ValueError(f"'{text}' is not a rate: '{period}' is no period.{nearest(period, PERIOD_DAYS)}")
    try:
        value = float(amount) / PERIOD_DAYS[period]
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"'{text}' is not a rate: expected an amount and a period, such as 500/day")
    return value


def per_period(text: str, periods: Iterable[str] = ()) -> PerPeriod:
    """Return a rate such as "600/min" or "20/day" with its period as written. periods: valid ones; empty: any."""
    found = _PER_PERIOD.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"'{text}' is no number and period, such as 600/min or 20/day")
    named = list(periods)
    if named and found[2] not in named:
        raise ValueError(f"'{text}': unknown period '{found[2]}'.{nearest(found[2], named)}")
    return PerPeriod(float(found[1]), found[2])


def _split(text: str, what: str, example: str, units: dict[str, int]) -> tuple[float, str]:
    match = _NUMBER.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"'{text}' is not {what}: expected a number and a unit, such as {example}")
    number, unit = float(match.group(1)), match.group(2)
    if unit not in units:
        if not unit:
            raise ValueError(f"'{text}' is not {what}: it has no unit; expected such as {example}")
        word = WORDS.get(unit.casefold().removesuffix("s"), unit)
        hint = f" Did you mean '{word}'?" if word in units else nearest(unit, [u for u in units if u])
        raise ValueError(f"'{text}' is not {what}: '{unit}' is no unit.{hint}")
    return number, unit


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: "1 row", "1,200 rows". nouns: the plural where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"
