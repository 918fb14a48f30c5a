"""Makes a batch fit the columns of a table, or says how they differ; used by table backends and by ingest."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from trimtab.errors import DataError

TIMESTAMP = pa.timestamp("us", tz="UTC")


def fit(name: str, data: pa.Table, schema: pa.Schema | None, *, add_columns: bool) -> pa.Table:
    """Return `data` with the columns of table `name` in the table's order; new columns come last.

    schema: of the table, None when it is made now. Raises DataError showing the columns that differ.
    """
    data = data.cast(pa.schema([_storable(name, field) for field in data.schema]))
    if schema is None:
        return data
    problems = difference(schema, data.schema)
    if add_columns:
        problems = [problem for problem in problems if problem.startswith("~")]
    if problems:
        raise DataError(f"the columns of the batch differ from those of table '{name}':\n  " + "\n  ".join(problems))
    have = set(data.column_names)
    new = [column for column in data.column_names if column not in set(schema.names)]
    return data.select([*(column for column in schema.names if column in have), *new])


def difference(table: pa.Schema, batch: pa.Schema) -> list[str]:
    """Return one line a column that is missing ("-"), new ("+") or of another type ("~") in `batch`."""
    before = {field.name: field.type for field in table}
    after = {field.name: field.type for field in batch}
    return [
        *(f"- {column}: {type_} is missing" for column, type_ in before.items() if column not in after),
        *(f"+ {column}: {type_} is new" for column, type_ in after.items() if column not in before),
        *(
            f"~ {column}: {type_} in the table, {after[column]} in the batch"
            for column, type_ in before.items()
            if column in after and _plain(after[column]) != _plain(type_)
        ),
    ]


def columns_of(frame: pl.LazyFrame) -> pa.Schema:
    """Return the columns of a scan as a table keeps them."""
    schema = pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


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
    """Return the type as it comes back from a table."""
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
