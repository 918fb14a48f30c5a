"""Entity keys in table columns: brought to plain types, and encoded as `keys` encodes single values."""

from __future__ import annotations

import polars as pl

from trimtab.errors import DefinitionError


def encode_frame(keys: pl.DataFrame) -> list[bytes]:
    """Return the encoding of each row of a frame of key columns."""
    parts = [_part(pl.col(name), dtype) for name, dtype in keys.schema.items()]
    lengths = [[part.str.len_bytes().cast(pl.String), pl.lit(":"), part] for part in parts[:-1]]
    text = keys.select(key=pl.concat_str([piece for pieces in lengths for piece in pieces] + parts[-1:]))
    return [key.encode() for key in text["key"].to_list()]


def plain_keys(keys: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """Return key columns as text, int64 or booleans, so that equal keys of two tables have equal types.

    Raises DefinitionError for columns of other types.
    """
    return keys.select(_plain(pl.col(name), name, dtype, where) for name, dtype in keys.schema.items())


def check_same(wanted: pl.DataFrame, rows: pl.DataFrame, *, where: str) -> None:
    """Check that two frames of plain key columns have equal types. Raises DefinitionError."""
    for name, dtype in rows.schema.items():
        if wanted.schema[name] != dtype and pl.Null not in (dtype, wanted.schema[name]):
            raise DefinitionError(
                f"{where}: key '{name}' is {dtype} in the view's source but {wanted.schema[name]} where it is looked "
                f"up, so they would never match. Let both be text: FileSource(..., dtypes={{'{name}': 'text'}}) in "
                "both sources, and read their files again: trimtab ingest SOURCE --rebuild"
            )


def _plain(column: pl.Expr, name: str, dtype: pl.DataType, where: str) -> pl.Expr:
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


def _part(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Boolean:
        text = pl.when(column).then(pl.lit("t")).otherwise(pl.lit("f"))
    elif dtype == pl.String:
        text = pl.lit("s") + column
    else:
        text = pl.lit("i") + column.cast(pl.String)
    return pl.when(column.is_null()).then(pl.lit("n")).otherwise(text)
