"""Reads CSV files and gives their columns types.

Types come from the source's `dtypes`, else from the table into which the file is ingested; a column that the table does
not have yet gets the first of integer, number, boolean, text that fits all its values. Numbers with leading zeros, such
as "007", are text, and so are integers beyond 64 bits, which floats would round. Keys are integers, booleans or text,
never floats.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from trimtab.data.personal_data import values_hidden
from trimtab.data.times import NULL_TEXTS, TimeFormat, count_naive, to_utc_micros
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError

TRUTHS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
DTYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}
"""Column type in a table for each word of FileSource.dtypes."""
SEPARATORS = {";": ";", "\t": "\\t", "|": "|", ",": ","}
"""Common separators, and how a definition writes them."""

_LEADING_ZERO = r"^\s*[+-]?0\d"
_WHOLE = r"^\s*[+-]?\d+\s*$"
_HEAD = 4096
_SAVE_AS = "; save it as UTF-8"


def read_csv(
    path: Path,
    source: FileSource,
    *,
    times: Collection[str],
    keys: Collection[str],
    like: pa.Schema | None,
    naive: dict[str, int],
) -> pa.Table:
    """Read a CSV file with names in its first line; an empty field is null.

    times: columns to be parsed as times. keys: columns that identify rows, entities or predictions. like: columns of
    the table into which the file is ingested, of type null where no row has a value yet. naive: the number of times
    without a zone is written here, by column.
    Raises DataError naming file, row (the first below the names is 1), column and value.
    """
    texts = read_texts(path, source)
    known = {} if like is None else {field.name: field.type for field in like}
    how = TimeFormat(source.date_format, source.time_unit, source.time_zone)
    columns = {}
    for series in texts:
        name, place = series.name, f"{path}: column '{series.name}'"
        type_ = DTYPES[source.dtypes[name]] if name in source.dtypes else known.get(name)
        if name in times or (type_ is not None and pa.types.is_timestamp(type_)):
            column = pa.chunked_array([_as_string(series)])
            naive[name] = count_naive(column)
            with values_hidden(name, source.pii):
                columns[name] = to_utc_micros(column, place=place, how=how)
        elif type_ is None or pa.types.is_null(type_) or (name in keys and pa.types.is_floating(type_)):
            infer = _key if name in keys else _inferred
            columns[name] = _as_string_or(infer(series, source.decimal))
        else:
            with values_hidden(name, source.pii):
                columns[name] = _as_type(series, type_, place, source)
    return pa.table(columns)


def read_texts(path: Path, source: FileSource, *, rows: int | None = None) -> pl.DataFrame:
    """Read all columns of a CSV file as text. rows: most rows to read, None for all.

    Raises DataError that names the separator or encoding which the file seems to have.
    """
    try:
        texts = pl.read_csv(
            path, infer_schema=False, separator=source.separator, encoding=_polars_name(source.encoding), n_rows=rows
        )
    except (PolarsError, UnicodeError) as error:
        hint = hint_of_encoding(path, source.encoding) or hint_of_separator(path, source.separator, source.encoding)
        raise DataError(f"{path}: not a CSV file: {str(error).splitlines()[0]}.{hint}") from None
    refuse_twice(path, texts.columns)
    return texts


def refuse_twice(path: Path, names: Collection[str]) -> None:
    """Raise DataError when a file has two columns of one name."""
    twice = [name.rsplit("_duplicated_", 1)[0] for name in names if "_duplicated_" in name]
    if twice:
        raise DataError(f"{path}: the column '{twice[0]}' appears twice")


def hint_of_separator(path: Path, separator: str, encoding: str = "utf-8", *, of_source: bool = True) -> str:
    """Return a hint which separator the first line of a file seems to have, "" if it is the one that was used.

    of_source: the hint names the option of FileSource; else it says that commas are expected.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD).decode(encoding, errors="replace")
    line = (head.splitlines() or [""])[0]
    seen = max(SEPARATORS, key=line.count)
    if seen == separator or line.count(seen) <= line.count(separator):
        return ""
    return (
        f" It was read with separator '{SEPARATORS.get(separator, separator)}', but its first line has "
        f"'{SEPARATORS[seen]}' {line.count(seen)} times"
        + (f": FileSource(..., separator='{SEPARATORS[seen]}')" if of_source else ". Expected commas")
    )


def hint_of_encoding(path: Path, encoding: str, *, of_source: bool = True) -> str:
    """Return a hint where a file is not in its encoding and which other it may have, "" if it is in its encoding.

    of_source: the hint names the option of FileSource; else it asks for the encoding that is expected.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") and not encoding.lower().startswith(("utf-16", "utf16", "utf_16")):
        return " It begins like UTF-16" + (": FileSource(..., encoding='utf-16')" if of_source else _SAVE_AS)
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wrong = f" Line {line} is not {encoding}: {content[error.start : error.start + 1]!r}"
        return wrong + (
            ". Name its encoding, such as FileSource(..., encoding='windows-1252')" if of_source else _SAVE_AS
        )
    return ""


def _polars_name(encoding: str) -> str:
    return "utf8" if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig") else encoding


def _as_string(series: pl.Series) -> pa.Array:
    return series.to_arrow().cast(pa.string())


def _as_string_or(series: pl.Series) -> pa.Array:
    return _as_string(series) if series.dtype == pl.String else series.to_arrow()


def _as_type(series: pl.Series, type_: pa.DataType, place: str, source: FileSource) -> pa.Array:
    """Return the texts as a type, or as a wider number. Raises DataError naming the first text that does not fit."""
    if pa.types.is_string(type_):
        return _as_string(series)
    texts = _without_nulls(series)
    if pa.types.is_boolean(type_):
        parsed = texts.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    elif pa.types.is_date(type_):
        parsed = texts.str.to_date("%Y-%m-%d", strict=False)
    elif pa.types.is_integer(type_):
        whole = _whole(texts, source.decimal)
        parsed = whole.cast(pl.Series(pa.array([], type_)).dtype, strict=False)
        if parsed.null_count() > texts.null_count():  # a wider type, which the table accepts if no value changes
            numbers = whole if texts.str.contains(_WHOLE).all() else _number(texts, source.decimal)
            if numbers.null_count() == texts.null_count() and series.name not in source.dtypes:
                return numbers.to_arrow()
    else:
        parsed = _decimal_point(texts, source.decimal).cast(pl.Series(pa.array([], type_)).dtype, strict=False)
    wrong = (parsed.is_null() & texts.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        where = "in dtypes" if series.name in source.dtypes else "in the table"
        raise DataError(
            f"{place}: row {row + 1}: '{series[row]}' is not of type {type_}, which this column has {where}."
            f"{_remedy(series, row, source)}"
        )
    return parsed.to_arrow().cast(type_)


def _remedy(series: pl.Series, row: int, source: FileSource) -> str:
    if source.decimal == "." and "," in (series[row] or "") and _number(series[row : row + 1], ",").null_count() == 0:
        return " Are these decimal commas? FileSource(..., decimal=',')"
    if series.name in source.dtypes:
        return ""
    return (
        f" If it belongs there, let the column be text: FileSource(..., dtypes={{'{series.name}': 'text'}}), and read "
        f"all files again: trimtab ingest {source.name} --rebuild"
    )


def _inferred(series: pl.Series, decimal: str) -> pl.Series:
    texts = _without_nulls(series)
    if texts.null_count() == len(texts):
        return texts  # no type yet: R writes NA for missing values
    if not texts.str.contains(_LEADING_ZERO).any():
        numbers = texts.str.strip_chars().cast(pl.Int64, strict=False)
        if numbers.null_count() == texts.null_count():
            return numbers
        if texts.str.contains(_WHOLE).all():  # beyond 64 bits: ids, which floats would round to equal values
            return series
        numbers = _number(texts, decimal)
        if numbers.null_count() == texts.null_count():
            return numbers
    return _truths_or(series, texts)


def _key(series: pl.Series, decimal: str) -> pl.Series:
    """Return integers, also written as 7.0, as pandas does if some are missing; else booleans, else text."""
    texts = _without_nulls(series)
    if texts.null_count() == len(texts):
        return series
    if not texts.str.contains(_LEADING_ZERO).any():
        numbers = _whole(texts, decimal)
        if numbers.null_count() == texts.null_count():
            return numbers
    return _truths_or(series, texts)


def _truths_or(series: pl.Series, texts: pl.Series) -> pl.Series:
    truths = texts.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
    return truths if truths.null_count() == texts.null_count() else series


def _whole(texts: pl.Series, decimal: str) -> pl.Series:
    """Return integers as int64, also those written as 7.0; null for all other texts."""
    return texts.str.strip_chars().str.replace(rf"[{decimal}]0*$", "").cast(pl.Int64, strict=False)


def _number(texts: pl.Series, decimal: str) -> pl.Series:
    return _decimal_point(texts, decimal).cast(pl.Float64, strict=False)


def _decimal_point(texts: pl.Series, decimal: str) -> pl.Series:
    """Return numbers written with a decimal point. With decimal commas, a text with a point becomes null."""
    plain = texts.str.strip_chars()
    if decimal == ".":
        return plain
    return plain.set(plain.str.contains(".", literal=True).fill_null(False), None).str.replace(",", ".", literal=True)


def _without_nulls(series: pl.Series) -> pl.Series:
    """Return the texts with null for those in NULL_TEXTS."""
    return series.set(series.is_in(NULL_TEXTS), None)
