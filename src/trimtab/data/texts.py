"""Gives the columns of a CSV file their types; called by the readers of files.

Types come from the table that the file goes to; a column that it does not have yet gets the first of whole
number, number, truth value, text that fits all its values. Numbers with leading zeros, such as "007", are text.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from trimtab.data.times import NULL_TEXTS, to_utc_micros
from trimtab.errors import DataError

TRUTHS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}

_LEADING_ZERO = r"^\s*[+-]?0\d"


def read_csv(path: Path, *, times: Collection[str], like: pa.Schema | None) -> pa.Table:
    """Read a CSV file: comma-separated, UTF-8, names in the first line; an empty field is null.

    times: columns to be parsed as times. like: columns of the table that it goes to. Raises DataError naming
    file, row (the first below the names is 1), column and value.
    """
    try:
        texts = pl.read_csv(path, infer_schema=False)
    except PolarsError as error:
        raise DataError(f"{path}: not a CSV file: {str(error).splitlines()[0]}") from None
    twice = [name.rsplit("_duplicated_", 1)[0] for name in texts.columns if "_duplicated_" in name]
    if twice:
        raise DataError(f"{path}: the column '{twice[0]}' is there twice")
    known = {} if like is None else {field.name: field.type for field in like}
    columns = {}
    for series in texts:
        place = f"{path}: column '{series.name}'"
        type_ = known.get(series.name)
        if series.name in times or (type_ is not None and pa.types.is_timestamp(type_)):
            columns[series.name] = to_utc_micros(pa.chunked_array([series.to_arrow().cast(pa.string())]), place=place)
        elif type_ is not None:
            columns[series.name] = _as_type(series, type_, place)
        else:
            columns[series.name] = _inferred(series).to_arrow()
    return pa.table(columns)


def _as_type(series: pl.Series, type_: pa.DataType, place: str) -> pa.Array:
    """Return the texts as the table's type, or raise DataError with the first that is none."""
    if pa.types.is_string(type_):
        return series.to_arrow().cast(pa.string())
    texts = _without_nulls(series)
    if pa.types.is_boolean(type_):
        parsed = texts.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    elif pa.types.is_date(type_):
        parsed = texts.str.to_date("%Y-%m-%d", strict=False)
    else:
        parsed = texts.str.strip_chars().cast(pl.Series(pa.array([], type_)).dtype, strict=False)
    wrong = (parsed.is_null() & texts.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{place}: row {row + 1}: '{series[row]}' is no {type_}, which this column is in the table")
    return parsed.to_arrow().cast(type_)


def _inferred(series: pl.Series) -> pl.Series:
    texts = _without_nulls(series)
    if texts.null_count() == len(texts):
        return series
    if not texts.str.contains(_LEADING_ZERO).any():
        for dtype in (pl.Int64(), pl.Float64()):
            numbers = texts.str.strip_chars().cast(dtype, strict=False)
            if numbers.null_count() == texts.null_count():
                return numbers
    truths = texts.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    return truths if truths.null_count() == texts.null_count() else series


def _without_nulls(series: pl.Series) -> pl.Series:
    """Return the texts with null for those that mean no value."""
    return series.set(series.is_in(NULL_TEXTS), None)
