"""Converts a batch to the columns of a table, finds wider types for the table, and reports columns that do not fit."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl
import pyarrow as pa

from trimtab.errors import DataError

TIMESTAMP = pa.timestamp("us", tz="UTC")

FIRST_ROWS = 1000
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_MOST_DIGITS = 38
"""Most digits of a decimal in a table."""


def fit(
    name: str, data: pa.Table, schema: pa.Schema | None, *, add_columns: bool, empty: Collection[str] = ()
) -> pa.Table:
    """Return `data` with the columns of table `name` in the table's order; new columns come last.

    schema: of the table, None for a new table. empty: its columns without any value. A column whose type in the result
    is wider than the table's must be widened in the table first.
    Raises DataError, which shows the columns that differ.
    """
    data = data.cast(pa.schema([_storable(name, field) for field in data.schema]))
    if schema is None:
        return data
    problems = difference(schema, data.schema, empty=empty)
    if add_columns:
        problems = [problem for problem in problems if problem.startswith("~")]
    if problems:
        raise DataError(f"the columns of the batch differ from those of table '{name}':\n  " + "\n  ".join(problems))
    have = set(data.column_names)
    new = [column for column in data.column_names if column not in set(schema.names)]
    data = data.select([*(column for column in schema.names if column in have), *new])
    for place, field in enumerate(data.schema):
        if field.name in schema.names:
            wanted = schema.field(field.name).type
            type_ = wider(wanted, field.type, empty=field.name in empty) or wanted
            data = data.set_column(place, field.name, _cast(name, field.name, data[field.name], type_))
    return data


def widened(name: str, table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows of a table in the wider types of `schema`. Raises DataError when that would change a value."""
    types = {field.name: field.type for field in schema}
    have = table.column_names
    return pa.table({column: _cast(name, column, table[column], types[column]) for column in have})


def wider(table: pa.DataType, batch: pa.DataType, *, empty: bool = False) -> pa.DataType | None:
    """Return the type that holds the values of both unchanged; None when there is none.

    empty: no row of the table has a value in this column, so any type fits. Integers go into floats; integers beyond
    2^53, which floats do not hold exactly, are refused when the values are cast.
    """
    table, batch = _plain(table), _plain(batch)
    if table == batch:
        return table
    if empty:
        return batch
    if table in _INTEGERS and batch in _INTEGERS:
        return max(table, batch, key=_INTEGERS.index)
    numbers = (*_INTEGERS, pa.float32(), pa.float64())
    if table in numbers and batch in numbers:
        return pa.float64()
    if {table, batch} <= {pa.date32(), pa.date64(), TIMESTAMP}:
        return TIMESTAMP
    if pa.types.is_decimal(table) and pa.types.is_decimal(batch):
        scale = max(table.scale, batch.scale)
        digits = scale + max(table.precision - table.scale, batch.precision - batch.scale)
        return pa.decimal128(digits, scale) if digits <= _MOST_DIGITS else None
    return None


def difference(table: pa.Schema, batch: pa.Schema, *, empty: Collection[str] = ()) -> list[str]:
    """Return one line a column that is missing ("-"), new ("+") or of another type ("~") in `batch`.

    A type to which the table can be widened is not listed. empty: columns of the table without any value.
    """
    before = {field.name: field.type for field in table}
    after = {field.name: field.type for field in batch}
    return [
        *(f"- {column}: {type_} is missing" for column, type_ in before.items() if column not in after),
        *(f"+ {column}: {type_} is new" for column, type_ in after.items() if column not in before),
        *(
            f"~ {column}: {type_} in the table, {_plain(after[column])} in the batch"
            for column, type_ in before.items()
            if column in after and wider(type_, after[column], empty=column in empty) is None
        ),
    ]


def widenings(table: pa.Schema, batch: pa.Schema, *, empty: Collection[str] = ()) -> list[str]:
    """Return one line a column of a table that would get a wider type ("^"). empty: its columns without any value."""
    types = {
        field.name: (_plain(field.type), wider(field.type, batch.field(field.name).type))
        for field in table
        if field.name in batch.names and field.name not in empty
    }
    return [
        f"^ {column}: {before} in the table becomes {after}"
        for column, (before, after) in types.items()
        if after is not None and after != before
    ]


def columns_of(frame: pl.LazyFrame) -> pa.Schema:
    """Return the columns of a scan with their types in a table."""
    schema = pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def empty_columns(frame: pl.LazyFrame) -> frozenset[str]:
    """Return the text columns without any value. Their first files did not determine their type."""
    texts = [name for name, dtype in frame.collect_schema().items() if dtype == pl.String]
    first = frame.select(texts).head(FIRST_ROWS).collect()  # nearly all columns have a value there
    left = [name for name in texts if first[name].null_count() == first.height]
    return frozenset(
        name for name in left if frame.select(name).filter(pl.col(name).is_not_null()).head(1).collect().is_empty()
    )


def _cast(table: str, column: str, values: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    if values.type == type_:
        return values
    if values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values), type_)])
    if pa.types.is_date(values.type) and type_ == TIMESTAMP:
        values = values.cast(pa.timestamp("us"))
    try:
        return values.cast(type_, safe=True)
    except pa.ArrowInvalid as error:
        what = str(error).splitlines()[0]
        raise DataError(
            f"table '{table}': column '{column}' is {values.type}; as {type_} some of its values would change: {what}"
        ) from None


def _storable(name: str, field: pa.Field) -> pa.Field:
    type_ = _plain(field.type)
    if pa.types.is_timestamp(type_) and type_ != TIMESTAMP:
        raise DataError(f"table '{name}': column '{field.name}' is {type_}; expected {TIMESTAMP}")
    if pa.types.is_unsigned_integer(type_) or pa.types.is_float16(type_) or pa.types.is_null(type_):
        raise DataError(f"table '{name}': column '{field.name}' is {type_}; expected a signed or larger number")
    if pa.types.is_time(type_) or pa.types.is_duration(type_):
        raise DataError(f"table '{name}': column '{field.name}' is {type_}; expected a number or a timestamp")
    return pa.field(field.name, type_)


def _plain(type_: pa.DataType) -> pa.DataType:
    """Return the type that a table returns for values of `type_`."""
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return pa.binary()
    if pa.types.is_dictionary(type_):
        return _plain(type_.value_type)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return pa.list_(pa.field("element", _plain(type_.value_type)))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(child.name, _plain(child.type)) for child in type_])
    return type_
