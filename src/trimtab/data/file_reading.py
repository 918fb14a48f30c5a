"""Turns a file, or rows that arrived otherwise, into an Arrow table of types that every table store supports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.data.csv_files import DTYPES, hint_of_separator, read_csv
from trimtab.data.json_rows import read_json_lines
from trimtab.data.personal_data import values_hidden
from trimtab.data.times import ISO, TimeFormat, count_naive, to_utc_micros
from trimtab.definitions.sources import FileSource, Source
from trimtab.errors import DataError, nearest

SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
"""Signed type for each unsigned one, which Delta Lake does not have."""
JSON_LINES = (".jsonl", ".ndjson")
EXACT = 2**53
"""Whole numbers up to this one are exact in float64; larger ids may have been rounded."""


@dataclass(frozen=True)
class Content:
    """The rows of one file or pull. naive: number of times without a zone, which were taken as UTC, by column."""

    rows: pa.Table
    naive: dict[str, int] = field(default_factory=dict)


def read_file(path: Path, source: FileSource, *, like: pa.Schema | None, keys: Collection[str] = ()) -> Content:
    """Read a Parquet, CSV or JSON lines file. All times become UTC microseconds, naive ones from the source's zone.

    like, keys: as in `content_of`. Raises DataError naming the file, and row, column and value where possible.
    """
    if path.suffix != ".csv":
        table = _read_json(path, source, like) if path.suffix in JSON_LINES else _read_parquet(path)
        return content_of(table, source, place=str(path), like=like, keys=keys)
    naive: dict[str, int] = {}
    table = read_csv(path, source, times=_times(source), keys=keys, like=like, naive=naive)
    hint = partial(hint_of_separator, path, source.separator, source.encoding)
    return content_of(table, source, place=str(path), like=like, keys=keys, naive=naive, hint=hint)


def content_of(
    table: pa.Table,
    source: Source,
    *,
    place: str,
    like: pa.Schema | None,
    keys: Collection[str] = (),
    naive: Mapping[str, int] | None = None,
    hint: Callable[[], str] = str,
) -> Content:
    """Return rows that came from outside in types that every table store supports; all times are UTC microseconds.

    place: file or other origin, for messages. like: columns of the table into which the rows go; numbers get their
    types if no value changes. A column of type null has no value there yet, and gets the type that it has here. keys:
    columns that identify rows, entities or predictions. naive: number of times without a zone that were parsed before.
    hint: gives more for the message about a missing column. Raises DataError naming place, row, column and value.
    """
    names = table.column_names
    for name in sorted({source.timestamp, source.known_column, *source.key, *source.dtypes}):
        if name not in names:
            raise DataError(
                f"{place}: there is no column '{name}', which source '{source.name}' names."
                f"{hint() or nearest(name, names)}"
            )
    known = {} if like is None else {field.name: field.type for field in like if not pa.types.is_null(field.type)}
    how = TimeFormat(source.date_format, source.time_unit, source.time_zone)
    times, found, columns = _times(source), dict(naive or {}), {}
    for name, column in zip(names, table.columns, strict=True):
        where = f"{place}: column '{name}'"
        is_time = name in times
        wanted = DTYPES[source.dtypes[name]] if name in source.dtypes else known.get(name)
        if is_time or _is_timestamp(column.type):
            found[name] = found.get(name, 0) or count_naive(column)
        with values_hidden(name, source.pii):
            if name in keys and not is_time:
                column, wanted = _key(column, wanted, where)
            elif name in source.dtypes and not is_time:
                column = _as(column, wanted, where)
            columns[name] = normalised(column, place=where, is_time=is_time, wanted=wanted, how=how)
    reported = {} if source.time_zone is not None else {name: rows for name, rows in found.items() if rows}
    return Content(pa.table(columns), reported)


def _times(source: Source) -> set[str]:
    """Return the columns that are read as times."""
    return {source.timestamp, source.known_column, *(name for name, kind in source.dtypes.items() if kind == "time")}


def normalised(
    column: pa.ChunkedArray,
    *,
    place: str,
    is_time: bool,
    wanted: pa.DataType | None,
    first: int = 1,
    how: TimeFormat = ISO,
) -> pa.ChunkedArray:
    """Return a column of a file in a type that tables support.

    place: file and column, for the message. is_time: the column holds times. wanted: its type in the table, None for a
    new column. first: the number of its first row, for the message. how: how its times are written.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    type_ = column.type
    if is_time or pa.types.is_timestamp(type_) or (_is_date(type_) and wanted == DTYPES["time"]):
        return to_utc_micros(column, place=place, first=first, how=how)
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return column.cast(pa.string())
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return column.cast(pa.binary())
    if pa.types.is_null(type_):
        return column.cast(wanted or pa.string())
    if pa.types.is_float16(type_):
        return _wanted(column.cast(pa.float32()), wanted)
    if pa.types.is_unsigned_integer(type_):
        return _wanted(_signed(column, place), wanted)
    if pa.types.is_time(type_) or pa.types.is_duration(type_):
        raise DataError(f"{place}: is {type_}, which tables do not support; expected a number or a timestamp")
    return _wanted(column, wanted)


def _read_parquet(path: Path) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None
    names: Collection[str] = table.column_names
    twice = [name for name in names if table.column_names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the column '{twice[0]}' appears twice")
    return table


def _read_json(path: Path, source: FileSource, like: pa.Schema | None) -> pa.Table:
    """Read JSON lines. Columns of the table that no line has are null, since a missing key is null."""
    texts = [name for name, kind in source.dtypes.items() if kind == "text"]
    table = read_json_lines(path, encoding=source.encoding, texts=texts)
    return table if like is None else with_columns(table, like)


def with_columns(rows: pa.Table, like: pa.Schema) -> pa.Table:
    """Return rows with nulls in the columns of a table that they lack."""
    for name, type_ in zip(like.names, like.types, strict=True):
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, type_))
    return rows


def _key(column: pa.ChunkedArray, wanted: pa.DataType | None, place: str) -> tuple[pa.ChunkedArray, pa.DataType | None]:
    """Return a key column as text, int64 or booleans, and its type in the table, or None if that is a float."""
    if wanted is not None and pa.types.is_floating(wanted):
        wanted = None  # a table written by an earlier version, which read ids as floats
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    type_ = column.type
    if wanted is not None and pa.types.is_string(wanted) and not pa.types.is_boolean(type_):
        return (column, wanted) if _is_text(type_) else (_as_text(column, place), wanted)
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return _whole(column, place), wanted
    if pa.types.is_uint64(type_):
        try:
            return column.cast(pa.int64()), wanted
        except pa.ArrowInvalid:
            return column.cast(pa.string()), wanted
    if pa.types.is_integer(type_):
        return column.cast(pa.int64()), wanted
    return column, wanted


def _whole(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Return whole floats as int64: pandas writes integers as floats if some are missing."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    series = pl.Series(column)
    wrong = ((series != series.round(0)) | (series.abs() > EXACT)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{place}: row {row + 1}: the key {series[row]} is a {column.type}"
            f"{', and ids beyond 2^53 are rounded in it' if abs(series[row]) > EXACT else ''}; expected text, whole "
            "numbers or booleans. Write the column as text or integers"
        )
    return pa.chunked_array([series.cast(pl.Int64).to_arrow()])


def _as(column: pa.ChunkedArray, wanted: pa.DataType | None, place: str) -> pa.ChunkedArray:
    """Return a column in the type that the source's dtypes name. Raises DataError when a value does not fit."""
    if wanted is None or column.type == wanted:
        return column
    if pa.types.is_string(wanted):
        return column.cast(pa.string()) if _is_text(column.type) else _as_text(column, place)
    try:
        return pc.cast(column, wanted, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = str(error).splitlines()[0]
        raise DataError(f"{place}: is {column.type}; expected {wanted}, as dtypes says: {what}") from None


def _as_text(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    """Return integers, dates and booleans as text."""
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = _whole(column, place)
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{place}: is {column.type}, which cannot be written as text") from None


def _wanted(column: pa.ChunkedArray, wanted: pa.DataType | None) -> pa.ChunkedArray:
    """Return numbers in the table's type if no value changes, else unchanged. Integers become text if it is text."""
    if wanted is not None and pa.types.is_string(wanted) and pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if wanted is None or column.type == wanted or not (_is_number(column.type) and _is_number(wanted)):
        return column
    if pa.types.is_floating(column.type) and pa.types.is_float32(wanted):
        return column
    try:
        return pc.cast(column, wanted, safe=True)
    except pa.ArrowInvalid:
        return column


def _signed(column: pa.ChunkedArray, place: str) -> pa.ChunkedArray:
    try:
        return pc.cast(column, SIGNED[column.type], safe=True)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{place}: {error}. Whole numbers beyond 64 bits are kept as text: FileSource(..., dtypes={{...: 'text'}})"
        ) from None


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_date(type_: pa.DataType) -> bool:
    return bool(pa.types.is_date(type_))


def _is_timestamp(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_))
