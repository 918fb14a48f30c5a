"""Reads table columns as arrays: times as int64 microseconds, numbers as float64, text as objects, keys as bytes.

All table columns that enter a computation pass through here, so training and serving see one conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.definitions.feature_types import FeatureType
from trimtab.errors import DefinitionError, nearest
from trimtab.features.value_types import EXACT, Array, Kind
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

NEVER = np.iinfo(np.int64).max
"""Stands for a null timestamp; later than all others."""

TEXT_HINT = (
    ". If its file holds numbers, say how they are written, such as FileSource(..., decimal=','), and read it again: "
    "trimtab ingest SOURCE --rebuild. In a query of a database, cast them"
)


def require(schema: Mapping[str, Any], columns: Iterable[str], *, source: str, needed_by: str) -> None:
    """Check that a source has all columns. Raises DefinitionError naming column, source and nearest column."""
    for column in columns:
        if column not in schema:
            raise DefinitionError(
                f"{needed_by} needs column '{column}', which source '{source}' does not have.{nearest(column, schema)}"
            )


def micros(column: pl.Series, *, where: str) -> Array:
    """Return times as int64 microseconds since the epoch, nulls as NEVER. Times without a zone are taken as UTC.

    Nanoseconds are rounded down to microseconds. Raises DefinitionError when the column holds no times.
    """
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if not isinstance(column.dtype, pl.Datetime):
        raise DefinitionError(f"{where}: column '{column.name}' is {column.dtype}; expected timestamps")
    physical = column.dt.cast_time_unit("us").to_physical()
    if physical.null_count():
        physical = physical.fill_null(NEVER)
    return physical.to_numpy()


def require_numbers(name: str, dtype: pl.DataType, *, where: str) -> None:
    """Check that a column holds numbers or booleans. Raises DefinitionError."""
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        hint = TEXT_HINT if dtype == pl.String else ""
        raise DefinitionError(f"{where}: column '{name}' is {dtype}; expected numbers or booleans{hint}")


def floats(column: pl.Series, *, where: str) -> Array:
    """Return numbers or booleans as float64, nulls as NaN. Raises DefinitionError for anything else."""
    require_numbers(column.name, column.dtype, where=where)
    if isinstance(column.dtype, pl.Decimal):
        column = column.cast(pl.String)  # as text, because a request's decimals are parsed from text, too
    return column.cast(pl.Float64).to_numpy()


def kind_of(dtype: pl.DataType, *, where: str) -> Kind:
    """Return the kind of values that a request brings for a column. Raises DefinitionError for nested types."""
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric() or dtype == pl.Null:
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    if isinstance(dtype, pl.Datetime | pl.Date):
        return "time"
    raise DefinitionError(f"{where} is {dtype}; expected numbers, booleans, text or timestamps")


def value_kind(dtype: pl.DataType) -> str:
    """Return the kind of a column's values, a key of ALLOWED: as `kind_of`, but decimals and dates are their own."""
    if isinstance(dtype, pl.Decimal):
        return "decimal"
    return "date" if dtype == pl.Date else kind_of(dtype, where="the column")


def exact_values(column: pl.Series, *, where: str) -> Array:
    """Return texts, dates or timestamps as objects: str, days since 1970, or microseconds since 1970; None for null."""
    if column.dtype == pl.Date:
        return np.array(column.to_physical().to_list(), dtype=object)
    if isinstance(column.dtype, pl.Datetime):
        return np.array(column.dt.cast_time_unit("us").to_physical().to_list(), dtype=object)
    return np.array(column.cast(pl.String).to_list(), dtype=object)


def typed_column(column: pl.Series, kind: FeatureType, *, where: str) -> pl.Series:
    """Return a column as the training frame holds a feature of a type: categories as Categorical, text as String.

    Raises DefinitionError for values that the type cannot hold.
    """
    if kind == "number":
        return pl.Series(column.name, as_float32(floats(column, where=where)), nan_to_null=True)
    if kind in ("integer", "boolean") and column.dtype.is_float():
        _check_whole(column, kind, where=where)
    if kind == "integer":
        largest: Any = column.max()
        if column.dtype == pl.UInt64 and largest is not None and largest > np.iinfo(np.int64).max:
            raise DefinitionError(f"{where}: column '{column.name}' holds {largest}, which does not fit into int64")
        return column.cast(pl.Int64)
    if kind == "timestamp":
        moments = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column.dt.cast_time_unit("us")
        return moments.to_physical().cast(pl.Datetime("us", "UTC"))
    wanted: Any = {"category": pl.String, "text": pl.String, "boolean": pl.Boolean, "date": pl.Date}.get(kind)
    plain = column if wanted is None else column.cast(wanted)
    return plain.cast(pl.Categorical) if kind == "category" else plain


def _check_whole(column: pl.Series, kind: FeatureType, *, where: str) -> None:
    """Check that floats are whole numbers that float64 holds exactly, or 0 and 1. Raises DefinitionError."""
    values = column.drop_nulls()
    bad = values.filter(
        values.is_in([0.0, 1.0]).not_() if kind == "boolean" else ~(values.abs() <= EXACT) | (values != values.round())
    )
    if len(bad):
        expected = "0 and 1" if kind == "boolean" else "whole numbers up to 2^53, which are exact as floats"
        raise DefinitionError(
            f"{where}: feature '{column.name}', declared as {kind}, holds {bad[0]}; expected {expected}"
        )


def as_float32(values: Array) -> Array:
    """Return values as a model's float32 inputs, converted to float64 first, as for requests."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float64, copy=False).astype(np.float32)


def transform_input(column: pl.Series, *, where: str) -> Array:
    """Return a column as a transform's input: float64 (null is NaN), datetime64[us] in UTC (NaT), or objects (None)."""
    kind = kind_of(column.dtype, where=f"{where}: column '{column.name}'")
    if kind == "text":
        return np.array(column.cast(pl.String).to_list(), dtype=object)
    if kind == "time":
        moments = micros(column, where=where).astype(np.int64)
        return np.where(moments == NEVER, np.iinfo(np.int64).min, moments).view("datetime64[us]")  # the least is NaT
    return np.ascontiguousarray(floats(column, where=where))


def plain_keys(keys: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """Return key columns as text, int64 or booleans, so that equal keys of two tables have equal types.

    Raises DefinitionError for columns of other types.
    """
    return keys.select(_plain_key(pl.col(name), name, dtype, where) for name, dtype in keys.schema.items())


def check_same_types(wanted: pl.DataFrame, rows: pl.DataFrame, *, where: str) -> None:
    """Check that two frames of plain key columns have equal types. Raises DefinitionError."""
    for name, dtype in rows.schema.items():
        if wanted.schema[name] != dtype and pl.Null not in (dtype, wanted.schema[name]):
            raise DefinitionError(
                f"{where}: key '{name}' is {dtype} in the view's source but {wanted.schema[name]} where it is looked "
                f"up, so they would never match. Let both be text: FileSource(..., dtypes={{'{name}': 'text'}}) in "
                "both sources, and read their files again: trimtab ingest SOURCE --rebuild"
            )


def encode_keys(keys: pl.DataFrame) -> list[bytes]:
    """Return what `value_types.encode` returns for each row of a frame of plain key columns, several times as fast."""
    parts = [_encoded(pl.col(name), dtype) for name, dtype in keys.schema.items()]
    return [key.encode() for key in keys.select(key=_joined(parts))["key"].to_list()]


def key_text(schema: Mapping[str, pl.DataType], *, where: str) -> pl.Expr:
    """Return an expression for the text that `encode_keys` encodes, of key columns as they are in a table."""
    plain = {name: _plain_key(pl.col(name), name, dtype, where) for name, dtype in schema.items()}
    return _joined([_encoded(column, _plain_type(schema[name])) for name, column in plain.items()])


def _joined(parts: Sequence[pl.Expr]) -> pl.Expr:
    lengths = [[part.str.len_bytes().cast(pl.String), pl.lit(":"), part] for part in parts[:-1]]
    return pl.concat_str([piece for pieces in lengths for piece in pieces] + list(parts[-1:]))


def _plain_type(dtype: pl.DataType) -> pl.DataType:
    return pl.String() if isinstance(dtype, pl.Categorical | pl.Enum) else dtype


def _plain_key(column: pl.Expr, name: str, dtype: pl.DataType, where: str) -> pl.Expr:
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if dtype.is_integer():
        return column if dtype == pl.UInt64 else column.cast(pl.Int64)
    if dtype in (pl.String, pl.Boolean, pl.Null):
        return column
    raise DefinitionError(
        f"{where}: key '{name}' is {dtype}; expected text, integers or booleans. To read the files of the source again "
        "with keys as text or whole numbers: trimtab ingest SOURCE --rebuild"
    )


def _encoded(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Boolean:
        text = pl.when(column).then(pl.lit("t")).otherwise(pl.lit("f"))
    elif dtype == pl.String:
        text = pl.lit("s") + column
    else:
        text = pl.lit("i") + column.cast(pl.String)
    return pl.when(column.is_null()).then(pl.lit("n")).otherwise(text)
