"""Reads one file into an Arrow table whose types any table store keeps; called by ingest, validate and outcomes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trimtab.data.texts import read_csv
from trimtab.data.times import to_utc_micros
from trimtab.definitions import FileSource
from trimtab.errors import DataError, nearest

SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
"""Delta Lake has no unsigned numbers."""


def read_file(path: Path, source: FileSource, *, like: pa.Schema | None) -> pa.Table:
    """Read a Parquet or CSV file. All timestamps become UTC microseconds; naive ones are taken as UTC.

    like: columns of the table that the rows go to; numbers take its types where no value changes by that.
    Raises DataError naming the file, and the row, column and value where one is at fault.
    """
    times = {source.timestamp, source.known_column}
    return read_table(path, times=times, named_by=f"source '{source.name}'", like=like)


def read_table(path: Path, *, times: Collection[str], named_by: str, like: pa.Schema | None) -> pa.Table:
    """Read a file as `read_file` does. times: columns of moments, which `named_by` names."""
    table = read_csv(path, times=times, like=like) if path.suffix == ".csv" else _read_parquet(path)
    for name in sorted(times):
        if name not in table.column_names:
            raise DataError(
                f"{path}: there is no column '{name}', which {named_by} names.{nearest(name, table.column_names)}"
            )
    known = {} if like is None else {field.name: field.type for field in like}
    columns = {
        name: normalised(column, place=f"{path}: column '{name}'", is_time=name in times, wanted=known.get(name))
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns)


def _read_parquet(path: Path) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None
    names: Collection[str] = table.column_names
    twice = [name for name in names if table.column_names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the column '{twice[0]}' is there twice")
    return table


def normalised(
    column: pa.ChunkedArray, *, place: str, is_time: bool, wanted: pa.DataType | None, first: int = 1
) -> pa.ChunkedArray:
    """Return a Parquet column as tables keep it. first: the number of its first row, for the message."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    type_ = column.type
    if is_time or pa.types.is_timestamp(type_):
        return to_utc_micros(column, place=place, first=first)
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return column.cast(pa.string())
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return column.cast(pa.binary())
    if pa.types.is_null(type_):
        return column.cast(wanted or pa.string())
    if pa.types.is_float16(type_):
        return _wanted(column.cast(pa.float32()), wanted)
    if pa.types.is_unsigned_integer(type_):
        return _wanted(_cast(column, SIGNED[type_], place), wanted)
    if pa.types.is_time(type_) or pa.types.is_duration(type_):
        raise DataError(f"{place}: is {type_}, which tables do not keep; expected a number or a timestamp")
    return _wanted(column, wanted)


def _wanted(column: pa.ChunkedArray, wanted: pa.DataType | None) -> pa.ChunkedArray:
    """Return numbers in the table's type when that changes no value, else as they are."""
    if wanted is None or column.type == wanted or not (_is_number(column.type) and _is_number(wanted)):
        return column
    if pa.types.is_floating(column.type) and pa.types.is_float32(wanted):
        return column
    try:
        return pc.cast(column, wanted, safe=True)
    except pa.ArrowInvalid:
        return column


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _cast(column: pa.ChunkedArray, type_: pa.DataType, place: str) -> pa.ChunkedArray:
    try:
        return pc.cast(column, type_, safe=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"{place}: {error}") from None
