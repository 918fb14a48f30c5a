"""Turns columns of times into UTC microseconds; called by the readers of files."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from trimtab import clock
from trimtab.errors import DataError

UTC_MICROS = pa.timestamp("us", tz="UTC")

NULL_TEXTS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "NaT")
"""Texts that mean "no value" in a column that is not text."""

_OFFSET = r"[T ]\d.*(Z|[+-]\d{2}(:?\d{2})?)$"


def to_utc_micros(column: pa.ChunkedArray, *, place: str, first: int = 1) -> pa.ChunkedArray:
    """Return timestamps, dates or ISO 8601 texts as UTC microseconds; one without a zone is taken as UTC.

    place: file and column for the message; first: the number of the first row. Raises DataError naming row and value.
    """
    type_ = column.type
    if pa.types.is_timestamp(type_):
        return _unit(column, place)
    if pa.types.is_date(type_):
        return pc.cast(pc.cast(column, pa.timestamp("us")), UTC_MICROS)
    if pa.types.is_null(type_):
        return column.cast(UTC_MICROS)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return _parse(column.cast(pa.string()), place, first)
    raise DataError(f"{place}: is {type_}; expected timestamps, dates or ISO 8601 texts")


def _unit(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    try:
        # Nanoseconds are cut, coarser units checked for overflow; a zone is only a label on UTC values.
        fine = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=column.type.unit != "ns")
    except pa.ArrowInvalid as error:
        raise DataError(f"{place}: {error}") from None
    return pc.cast(fine, UTC_MICROS)


def _parse(column: pa.ChunkedArray, place: str, first: int) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(column)
    texts = pc.if_else(pc.is_in(texts, pa.array(NULL_TEXTS)), pa.scalar(None, pa.string()), texts)
    with_zone = pc.match_substring_regex(texts, _OFFSET)
    nothing = pa.scalar(None, pa.string())
    try:
        zoned = pc.cast(pc.if_else(with_zone, texts, nothing), UTC_MICROS)
        plain = pc.cast(pc.cast(pc.if_else(with_zone, nothing, texts), pa.timestamp("us")), UTC_MICROS)
    except pa.ArrowInvalid:
        return _parse_one_by_one(texts, place, first)
    return pc.coalesce(zoned, plain)


def _parse_one_by_one(texts: pa.ChunkedArray, place: str, first: int) -> pa.ChunkedArray:
    """Parse forms that Arrow does not know, and find the first text that is no time."""
    parsed: list[datetime | None] = []
    for row, text in enumerate(texts.to_pylist(), start=first):
        try:
            parsed.append(None if text is None else clock.parse_time(text))
        except ValueError:
            raise DataError(
                f"{place}: row {row}: '{text}' is no time; expected ISO 8601, such as 2013-01-31T05:00:00Z"
            ) from None
    return pa.chunked_array([pa.array(parsed, UTC_MICROS)])
