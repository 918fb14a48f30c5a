"""Turns tables of several libraries into Polars frames."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from trimtab.errors import DataError

EXPECTED = "expected a pandas, Polars or pyarrow table, or a dict of arrays"


def lazy_frame(table: Any, *, what: str = "the window") -> pl.LazyFrame:
    """Return a table as a lazy Polars frame; the values are not copied where the library allows it.

    Args:
        table: pandas or Polars frame, Polars lazy frame, pyarrow table or record batch, or a mapping of column name to
            a one-dimensional array.
        what: how an error names it.

    Raises:
        DataError: it is none of these, or its columns are not equally long or named twice.
    """
    if isinstance(table, pl.LazyFrame):
        return table
    if isinstance(table, pl.DataFrame):
        return table.lazy()
    try:
        return _converted(table, what).lazy()
    except (PolarsError, pa.ArrowException, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{what} cannot be read as a table: {(str(error).splitlines() or [''])[0]}") from None


def _converted(table: Any, what: str) -> pl.DataFrame:
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(table, pandas.DataFrame):
        _refuse_twice([str(name) for name in table.columns], what)
        return pl.DataFrame(pl.from_pandas(table.rename(columns=str)))
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        _refuse_twice(table.column_names, what)
        found = pl.from_arrow(table)
        return found if isinstance(found, pl.DataFrame) else found.to_frame()
    if isinstance(table, Mapping):
        return pl.DataFrame({str(name): values for name, values in table.items()})
    raise DataError(f"{what} is a {type(table).__module__}.{type(table).__qualname__}; {EXPECTED}")


def _refuse_twice(names: list[str], what: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{what}: the column '{twice[0]}' appears twice")
