"""How pages, reports, alerts and commands write numbers, times and names: one form for each, in plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from trimtab.clock import to_utc
from trimtab.records.monitoring import ABSOLUTE, CHECKS, VIEW
from trimtab.records.record import SignalKind

NOT_KNOWN = "not known"
MINUS = "\u2212"
"""The true minus sign."""
SMALLEST_P = 1e-6
"""Smaller p-values are written as "< 1e-6"."""
SMALLEST_METRIC = 1e-4
"""Smaller metrics are written with an exponent."""
WHOLE_FROM = 100
"""Money of at least this size is written without cents."""
DAY = timedelta(days=1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

SIGNALS: Mapping[SignalKind, str] = MappingProxyType(
    {
        "concept": "mistakes",
        "data": "inputs",
        "prediction": "predictions",
        "quality": "missing values",
        "latency": "latency",
        "error": "errors",
        "cost": "cost",
        "kpi": "KPI",
        "confidence": "confidence",
        "skew": "skew",
        "freshness": "freshness",
        "volume": "rows",
        "infrastructure": "processes and disk",
    }
)
"""Kind of a signal -> its word for readers."""

_SIZES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0))


def metric(value: float | None, *, signed: bool = False) -> str:
    """Return a metric with three significant figures: "0.502", "12.0", "1,204".

    >>> metric(0.50234), metric(-0.0023, signed=True), metric(1204.4), metric(None)
    ('0.502', '−0.00230', '1,204', 'not known')
    """
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    size = abs(value)
    if size == 0:
        return "0"
    rounded = float(f"{size:.3g}")
    if rounded >= WHOLE_FROM:
        text = f"{size:,.0f}"
    elif rounded < SMALLEST_METRIC:
        text = _scientific(size, 3)
    else:
        text = f"{size:.{2 - math.floor(math.log10(rounded))}f}"
    return _sign(value, signed) + text


def p_value(p: float | None) -> str:
    """Return a p-value with two significant figures: "0.0083", "3.4e-5", "< 1e-6", "1".

    >>> p_value(0.00834), p_value(3.44e-5), p_value(1e-9), p_value(1.0)
    ('0.0083', '3.4e-5', '< 1e-6', '1')
    """
    if p is None or not math.isfinite(p):
        return NOT_KNOWN
    if p < SMALLEST_P:
        return "< 1e-6"
    rounded = float(f"{p:.2g}")
    if rounded >= 1:
        return "1"
    return _scientific(p, 2) if rounded < 1e-3 else f"{p:.{1 - math.floor(math.log10(rounded))}f}"


def money(value: float | None, currency: str, *, signed: bool = False) -> str:
    """Return money with its unit: whole from 100, with cents below, "< 0.01 USD" for less.

    >>> money(224_340, "USD"), money(-12.5, "EUR"), money(0.002, "USD"), money(623.4, "USD", signed=True)
    ('224,340 USD', '−12.50 EUR', '< 0.01 USD', '+623 USD')
    """
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    size = abs(value)
    if size == 0:
        return f"0 {currency}"
    if size < 0.005:
        return f"< 0.01 {currency}" if value > 0 else f"> {MINUS}0.01 {currency}"
    text = f"{size:,.0f}" if round(size, 2) >= WHOLE_FROM else f"{size:,.2f}"
    return f"{_sign(value, signed)}{text} {currency}"


def cost(value: float | None, currency: str) -> str:
    """Return money as `money` does, with two significant figures where it is less than a cent: "0.0038 USD".

    >>> cost(0.003842, "USD"), cost(0.0000291, "USD"), cost(12.5, "EUR")
    ('0.0038 USD', '2.9e-5 USD', '12.50 EUR')
    """
    if value is None or not math.isfinite(value) or not 0 < value < 0.01:
        return money(value, currency)
    return f"{_scientific(value, 2) if value < 1e-4 else f'{value:.2g}'} {currency}"


def count(number: float | None) -> str:
    """Return a count with commas for thousands: "12,004".

    >>> count(12_004), count(None)
    ('12,004', 'not known')
    """
    return NOT_KNOWN if number is None or not math.isfinite(number) else f"{number:,.0f}".replace("-", MINUS)


def answers_counted(counted: int, answered: int) -> str:
    """Return how much of a stretch a sum over labelled answers counts.

    >>> answers_counted(26_171, 28_353), answers_counted(900, 900)
    ('26,171 of 28,353 answers counted', 'all 900 answers counted')
    """
    part = f"all {count(answered)}" if counted == answered else f"{count(counted)} of {count(answered)}"
    return f"{part} answers counted"


def signed(value: float | None) -> str:
    """Return money of a column whose head names the currency: whole, with its sign.

    >>> signed(-857.07), signed(0.2), signed(12_004)
    ('−857', '0', '+12,004')
    """
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    text = f"{abs(value):,.0f}"
    return text if text == "0" else f"{_sign(value, signed=True)}{text}"


def share(value: float | None) -> str:
    """Return a share of 0 to 1 as a percentage with at most three figures; only 1 is written as "100 %".

    >>> share(0.985), share(0.23), share(0.99996), share(0.0)
    ('98.5 %', '23 %', '> 99.9 %', '0 %')
    """
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    percent = 100 * value
    if 99.95 <= percent < 100:
        return "> 99.9 %"
    if 0 < percent < 0.001:
        return "< 0.001 %"
    text = f"{percent:,.0f}" if abs(percent) >= 999.5 else f"{percent:.3g}"
    return f"{text.replace('-', MINUS)} %"


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return an interval of a metric: "0.320 to 0.640".

    >>> interval(0.32, 0.64), interval(-0.0038, 0.0085, signed=True), interval(None, 1.0)
    ('0.320 to 0.640', '−0.00380 to +0.00850', 'not known')
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NOT_KNOWN
    return f"{metric(low, signed=signed)} to {metric(high, signed=signed)}"


def window_name(start: datetime, end: datetime) -> str:
    """Return the name of a window of event time, by its UTC bounds.

    >>> from datetime import UTC
    >>> window_name(datetime(2013, 12, 29, tzinfo=UTC), datetime(2013, 12, 30, tzinfo=UTC))
    '29 Dec 2013 UTC'
    >>> window_name(datetime(2013, 12, 29, 10, tzinfo=UTC), datetime(2013, 12, 29, 10, 0, 20, tzinfo=UTC))
    '29 Dec 2013, 10:00:00 to 10:00:20 UTC'
    """
    start, end = to_utc(start), to_utc(end)
    if _midnight(start) and _midnight(end) and end > start:
        return f"{days(start, end - DAY)} UTC"
    clock = "%H:%M:%S" if start.second or end.second else "%H:%M"
    if start.date() == end.date() or (_midnight(end) and end - start < DAY):
        return f"{day(start)}, {start:{clock}} to {end:{clock}} UTC"
    return f"{day(start)}, {start:{clock}} to {day(end)}, {end:{clock}} UTC"


def day(at: datetime) -> str:
    """Return a date: "29 Dec 2013"."""
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def short_day(at: datetime) -> str:
    """Return a date without its year, where the year is plain: "29 Dec"."""
    return f"{at.day} {_MONTHS[at.month - 1]}"


def days(first: datetime, last: datetime) -> str:
    """Return the first and last day of a stretch without repeating what they share: "20 to 24 Dec 2013"."""
    if first.date() == last.date():
        return day(last)
    if first.year != last.year:
        return f"{day(first)} to {day(last)}"
    begin = str(first.day) if first.month == last.month else short_day(first)
    return f"{begin} to {day(last)}"


def month(at: datetime) -> str:
    """Return a month of UTC: "Dec 2013"."""
    return f"{_MONTHS[at.month - 1]} {at.year}"


def instant(at: datetime) -> str:
    """Return a point in time in UTC: "29 Dec 2013, 14:02 UTC". A browser shows it in the viewer's zone."""
    at = to_utc(at)
    return f"{day(at)}, {at:%H:%M} UTC"


def iso(at: datetime) -> str:
    """Return a point in time as URLs, CSV files and the API write it: "2013-12-29T00:00Z".

    >>> from datetime import UTC
    >>> iso(datetime(2013, 12, 29, tzinfo=UTC)), iso(datetime(2013, 12, 29, 1, 2, 3, 400, tzinfo=UTC))
    ('2013-12-29T00:00Z', '2013-12-29T01:02:03.000400Z')
    """
    at = to_utc(at)
    if at.microsecond:
        return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
    return f"{at:%Y-%m-%dT%H:%M:%S}Z" if at.second else f"{at:%Y-%m-%dT%H:%M}Z"


def duration(seconds: float | None) -> str:
    """Return a duration in its largest whole unit: "12 s", "3 h", "2 d"."""
    if seconds is None or not math.isfinite(seconds):
        return NOT_KNOWN
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), _UNITS[-1])
    return f"{math.floor(seconds / size)} {unit}"


def age(seconds: float | None) -> str:
    """Return how long ago something was: "3 h ago", "just now".

    >>> age(12.7), age(3 * 3600 + 5), age(0.2), age(None)
    ('12 s ago', '3 h ago', 'just now', 'not known')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOT_KNOWN
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def size(number: float | None) -> str:
    """Return a number of bytes in its largest unit, with three significant figures: "43.7 MB".

    >>> size(43_667_539), size(88), size(None)
    ('43.7 MB', '88 bytes', 'not known')
    """
    if number is None or not math.isfinite(number):
        return NOT_KNOWN
    unit, scale = next(((unit, scale) for unit, scale in _SIZES if number >= scale), ("bytes", 1.0))
    return f"{metric(number / scale) if scale > 1 else count(number)} {unit}"


def signal_kind(kind: SignalKind, subject: str) -> str:
    """Return the word for a signal: that of its kind, or a closer one.

    >>> signal_kind("kpi", "all"), signal_kind("quality", "checks"), signal_kind("quality", "distance")
    ('money', 'unexpected values', 'missing values')
    """
    if subject == CHECKS:
        return "unexpected values"
    if subject.startswith(ABSOLUTE):
        return "broken column"
    return "money" if (kind, subject) == ("kpi", "all") else SIGNALS[kind]


def signal_subject(subject: str) -> str:
    """Return what a signal is of for readers: a column, a segment, a view, all rows.

    >>> signal_subject("all"), signal_subject("absolute:distance"), signal_subject("checks")
    ('all', 'distance', 'all')
    """
    return "all" if subject == CHECKS else subject.removeprefix(ABSOLUTE).removeprefix(VIEW)


def joined(words: Sequence[str], last: str = "and") -> str:
    """Return words as a list of a sentence: "a, b and c"."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def sentence(*parts: str) -> str:
    """Return parts as one sentence: joined by semicolons, a capital at the beginning, a full stop at the end."""
    text = "; ".join(part for part in parts if part)
    return text and f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _midnight(at: datetime) -> bool:
    return (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)


def _scientific(size: float, figures: int) -> str:
    mantissa, exponent = f"{size:.{figures - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _sign(value: float, signed: bool) -> str:
    return MINUS if value < 0 else "+" if signed else ""
