"""Converts columns of timestamps, dates, ISO 8601 texts and numbers since 1970 to UTC microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from polars.exceptions import PolarsError

from trimtab import clock, timestamps
from trimtab.errors import DataError

UTC_MICROS = pa.timestamp("us", tz="UTC")

NULL_TEXTS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "NaT")
"""Texts that mean null in a column that is not text."""

ONE_FORMAT = ". For another format: FileSource(..., date_format='%d.%m.%Y %H:%M:%S')"
_OFFSET = r"[T ]\d.*(Z|[+-]\d{2}(:?\d{2})?)$"
_CLOCK_TIME = r"[T ]\d"
_DIGITS = r"^[+-]?\d+(\.0*)?$"
_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True)
class TimeFormat:
    """How the times of a source are written; the fields are those of FileSource."""

    date_format: str | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    time_zone: str | None = None


ISO = TimeFormat()
"""ISO 8601 or microseconds, the format of files without a FileSource."""


def to_utc_micros(column: pa.ChunkedArray, *, place: str, first: int = 1, how: TimeFormat = ISO) -> pa.ChunkedArray:
    """Return timestamps, dates, ISO 8601 texts or whole numbers as UTC microseconds.

    place: file and column, for the message. first: the number of the first row. how: format, unit and zone; without a
    zone naive times are taken as UTC. Raises DataError naming row and value.
    """
    type_ = column.type
    if pa.types.is_timestamp(type_):
        return _within(_unit(column, place, how), place, first)
    if pa.types.is_date(type_):
        return _within(_in_zone(pc.cast(column, pa.timestamp("us")), place, how), place, first)
    if pa.types.is_null(type_):
        return column.cast(UTC_MICROS)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return _parse(column.cast(pa.string()), place, first, how)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return _numbers(column, place, first, how)
    raise DataError(f"{place}: is {type_}; expected timestamps, dates, ISO 8601 texts or microseconds since 1970")


def count_naive(column: pa.ChunkedArray) -> int:
    """Return how many values have a time of day but no time zone."""
    type_ = column.type
    if pa.types.is_timestamp(type_):
        return 0 if type_.tz else len(column) - column.null_count
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        naive = pc.and_(pc.match_substring_regex(column, _CLOCK_TIME), pc.invert(_has_zone(column)))
        return int(pc.sum(naive).as_py() or 0)
    return 0


def _has_zone(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(pc.utf8_trim_whitespace(texts), _OFFSET)


def _unit(column: pa.ChunkedArray, place: str, how: TimeFormat) -> pa.ChunkedArray:
    try:
        # nanoseconds are truncated, coarser units checked for overflow; a zone is only a label on UTC values
        fine = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=column.type.unit != "ns")
    except pa.ArrowInvalid as error:
        raise DataError(f"{place}: {error}") from None
    return pc.cast(fine, UTC_MICROS) if column.type.tz else _in_zone(fine, place, how)


def _in_zone(naive: pa.ChunkedArray, place: str, how: TimeFormat) -> pa.ChunkedArray:
    """Return naive timestamps[us] as UTC, read in the source's zone."""
    if how.time_zone in (None, "UTC"):
        return pc.cast(naive, UTC_MICROS)
    try:
        return pc.cast(pc.assume_timezone(naive, how.time_zone), UTC_MICROS)
    except pa.ArrowInvalid as error:  # an hour that a clock shows twice, or never, when summer time begins or ends
        what = str(error).splitlines()[0].removesuffix(" is in a gap between")
        raise DataError(f"{place}: {what}; write it with an offset, such as 2013-03-10T02:30:00-05:00") from None


def _within(column: pa.ChunkedArray, place: str, first: int) -> pa.ChunkedArray:
    """Return the column. Raises DataError for timestamps outside of the years 1 to 9999, which datetime cannot hold."""
    numbers = column.cast(pa.int64())
    outside = pc.or_(pc.less(numbers, timestamps.EARLIEST), pc.greater(numbers, timestamps.LATEST))
    row = _first_true(outside)
    if row is not None:
        value = numbers[row].as_py()
        raise DataError(
            f"{place}: row {first + row}: {value} microseconds since 1970 are outside of the years 1 to 9999; were "
            "these numbers in another unit?"
        )
    return column


def _numbers(column: pa.ChunkedArray, place: str, first: int, how: TimeFormat) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):
        series = pl.Series(column).cast(pl.Float64).fill_nan(None)
        whole = series.cast(pl.Int64, strict=False)
        wrong = ((whole != series) | (whole.is_null() & series.is_not_null())).arg_true()
        if len(wrong):
            _refuse(series[int(wrong[0])], place, first + int(wrong[0]), how)
        column = pa.chunked_array([whole.to_arrow()])
    elif pa.types.is_uint64(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataError(f"{place}: {error}; {timestamps.EXPECTED}") from None
    numbers = column.cast(pa.int64())
    if how.time_unit == "ns":
        series = pl.Series(numbers)  # towards the past, as polars and pandas do
        return _as_times(pa.chunked_array([(series // 1_000).to_arrow()]), place, first)
    if how.time_unit is not None:
        try:
            return _as_times(pc.multiply_checked(numbers, _PER_UNIT[how.time_unit]), place, first)
        except pa.ArrowInvalid:
            raise DataError(f"{place}: some values are out of range for time_unit='{how.time_unit}'") from None
    near = pc.and_(pc.less(pc.abs(numbers), timestamps.LEAST), pc.not_equal(numbers, 0))
    far = pc.or_(pc.less(numbers, timestamps.EARLIEST), pc.greater(numbers, timestamps.LATEST))
    row = _first_true(pc.or_(near, far))
    if row is not None:
        _refuse(numbers[row].as_py(), place, first + row, how)
    return numbers.cast(UTC_MICROS)


def _as_times(numbers: pa.ChunkedArray, place: str, first: int) -> pa.ChunkedArray:
    return _within(numbers.cast(UTC_MICROS), place, first)


def _refuse(value: Any, place: str, row: int, how: TimeFormat) -> None:
    remedy = f". For another unit: FileSource(..., time_unit='{timestamps.likely_unit(value) or 'ms'}')"
    raise DataError(
        f"{place}: row {row}: {value} is not a timestamp{timestamps.hint(value)}; {timestamps.EXPECTED}"
        f"{'' if how is ISO else remedy}"
    )


def _first_true(mask: pa.ChunkedArray) -> int | None:
    found = pc.index(mask, pa.scalar(True)).as_py()
    return None if found < 0 else int(found)


def _parse(column: pa.ChunkedArray, place: str, first: int, how: TimeFormat) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(column)
    nothing = pa.scalar(None, pa.string())
    texts = pc.if_else(pc.is_in(texts, pa.array(NULL_TEXTS)), nothing, texts)
    if how.date_format is not None:
        return _by_format(texts, place, first, how)
    digits = pc.match_substring_regex(texts, _DIGITS)
    dates = pc.all(pc.equal(pc.utf8_length(texts), len("20130131"))).as_py()
    if how.time_unit is not None or (pc.all(digits).as_py() and not dates):
        return _digits(texts, digits, place, first, how)
    with_zone = pc.match_substring_regex(texts, _OFFSET)
    try:
        zoned = pc.cast(pc.if_else(with_zone, texts, nothing), UTC_MICROS)
        plain = pc.cast(pc.if_else(with_zone, nothing, texts), pa.timestamp("us"))
    except pa.ArrowInvalid:
        return _one_by_one(texts, place, first, how)
    return _within(pc.coalesce(zoned, _in_zone(plain, place, how)), place, first)


def _digits(
    texts: pa.ChunkedArray, digits: pa.ChunkedArray, place: str, first: int, how: TimeFormat
) -> pa.ChunkedArray:
    """Read texts of digits as whole numbers."""
    row = _first_true(pc.invert(digits))
    if row is not None:
        text = texts[row].as_py()
        raise DataError(
            f"{place}: row {first + row}: '{text}' is not a whole number, as time_unit='{how.time_unit}' says"
        )
    plain = pl.Series(texts).str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
    wrong = (plain.is_null() & pl.Series(texts).is_not_null()).arg_true()
    if len(wrong):
        _refuse(texts[int(wrong[0])].as_py(), place, first + int(wrong[0]), how)
    return _numbers(pa.chunked_array([plain.to_arrow()]), place, first, how)


def _by_format(texts: pa.ChunkedArray, place: str, first: int, how: TimeFormat) -> pa.ChunkedArray:
    series, format_ = pl.Series(texts.cast(pa.large_string())), how.date_format
    try:
        parsed = series.str.to_datetime(format_, time_unit="us", strict=False)
        wrong = (parsed.is_null() & series.is_not_null()).arg_true()
    except PolarsError as error:
        raise DataError(f"{place}: date_format='{format_}' cannot be used: {str(error).splitlines()[0]}") from None
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{place}: row {first + row}: '{series[row]}' is not written as date_format='{format_}' says")
    found = pa.chunked_array([parsed.to_arrow()])
    if found.type.tz:
        return _within(found.cast(UTC_MICROS), place, first)
    return _within(_in_zone(found.cast(pa.timestamp("us")), place, how), place, first)


def _one_by_one(texts: pa.ChunkedArray, place: str, first: int, how: TimeFormat) -> pa.ChunkedArray:
    """Parse texts in formats that Arrow does not know. Raises DataError naming the first text that is no time."""
    zoned: list[datetime | None] = []
    naive: list[datetime | None] = []
    for row, text in enumerate(texts.to_pylist(), start=first):
        try:
            found = None if text is None else clock.parse_time(text)
        except ValueError:
            raise DataError(
                f"{place}: row {row}: '{text}' is not a time{timestamps.hint(text)}; expected ISO 8601, such as "
                f"2013-01-31T05:00:00Z{'' if how is ISO else ONE_FORMAT}"
            ) from None
        is_naive = text is not None and datetime.fromisoformat(text).tzinfo is None
        zoned.append(None if is_naive else found)
        naive.append(found.replace(tzinfo=None) if is_naive and found is not None else None)
    plain = _in_zone(pa.chunked_array([pa.array(naive, pa.timestamp("us"))]), place, how)
    return pc.coalesce(pa.chunked_array([pa.array(zoned, UTC_MICROS)]), plain)
