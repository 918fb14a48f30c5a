"""Reads table columns as arrays: moments as int64 microseconds, numbers as float64, text as objects.

Called wherever a table's columns enter a computation, so that training and serving see one conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from trimtab.errors import DefinitionError, nearest
from trimtab.features.kinds import Array, Kind

NEVER = np.iinfo(np.int64).max
"""The moment of a null timestamp."""


TEXT_HINT = (
    ". If its file holds numbers, say how they are written, such as FileSource(..., decimal=','), and read it again: "
    "trimtab ingest SOURCE --rebuild"
)


def require(schema: Mapping[str, Any], columns: Iterable[str], *, source: str, needed_by: str) -> None:
    """Check that a source has all columns. Raises DefinitionError naming column, source and nearest column."""
    for column in columns:
        if column not in schema:
            raise DefinitionError(
                f"{needed_by} needs column '{column}', which source '{source}' does not have.{nearest(column, schema)}"
            )


def micros(column: pl.Series, *, where: str) -> Array:
    """Return moments as int64 microseconds since the epoch, nulls as NEVER. Times without a zone are UTC.

    Nanoseconds are cut to microseconds. Raises DefinitionError when the column holds no times.
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
        column = column.cast(pl.String)  # through text, because a request's decimals are read from text, too
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


def transform_input(column: pl.Series, *, where: str) -> Array:
    """Return a column as a transform sees it: float64 (NaN), datetime64[us] in UTC (NaT), or objects (None)."""
    kind = kind_of(column.dtype, where=f"{where}: column '{column.name}'")
    if kind == "text":
        return np.array(column.cast(pl.String).to_list(), dtype=object)
    if kind == "time":
        moments = micros(column, where=where).astype(np.int64)
        return np.where(moments == NEVER, np.iinfo(np.int64).min, moments).view("datetime64[us]")  # the least is NaT
    return np.ascontiguousarray(floats(column, where=where))
