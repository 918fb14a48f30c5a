"""Opens a table that belongs to no project lazily: a Parquet or CSV file, a folder, a glob, or a Delta table.

Nothing is known about such a table but its path. So the separator, decimal commas and the types of a CSV file are
inferred from its content.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from trimtab.data.csv_files import SEPARATORS, hint_of_encoding, refuse_twice
from trimtab.data.source_files import nearest_existing
from trimtab.data.times import NULL_TEXTS
from trimtab.errors import DataError, MissingExtra

CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET = (".parquet", ".pq")
DELTA_LOG = "_delta_log"
INFERRED_ROWS = 10_000
"""Rows of a CSV file from which types are inferred. Where a later row does not fit, all rows are read for it."""
_GLOB = set("*?[")
_DECIMAL_COMMA = r"^\s*[+-]?\d+(,\d+)?\s*$"


@dataclass(frozen=True)
class TableScan:
    """A table that is read when its rows are asked for."""

    path: str
    frame: pl.LazyFrame
    typed: bool
    """False for CSV, whose types are inferred."""
    files: int
    notes: tuple[str, ...] = ()
    """What was inferred and is worth knowing, in words."""


def scan_table(path: str | Path, *, texts: Collection[str] = ()) -> TableScan:
    """Return a table as a lazy frame.

    Args:
        path: a Parquet or CSV file, a folder of such files or of a Delta table, or a glob. A Delta table with @ and a
            version or a time, such as flights@3 or flights@2026-03-01T00:00:00Z, is read as it was.
        texts: columns of a CSV file that are text, whatever their values look like.

    Raises:
        DataError: there is no such file, or it cannot be read; names the file and what was expected.
    """
    name, found = str(path), Path(path).expanduser()
    if (found / DELTA_LOG).is_dir():
        return _delta(name, found, None)
    folder, _, version = name.rpartition("@")
    if folder and not found.exists() and (Path(folder).expanduser() / DELTA_LOG).is_dir():
        return _delta(name, Path(folder).expanduser(), int(version) if version.isdigit() else version)
    files = _files(name, found)
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"{name}: has Parquet and CSV files ({files[0].name}, ...): expected files of one kind")
    return _parquet(name, files) if kinds == {"parquet"} else _csv(name, files, texts)


def _files(name: str, path: Path) -> list[Path]:
    if _GLOB & set(name) and not path.exists():
        fixed = next(parent for parent in path.parents if not _GLOB & set(str(parent)))
        files = [file for file in fixed.glob(str(path.relative_to(fixed))) if file.is_file()]
    elif path.is_dir():
        files = _data_files(path.iterdir()) or _data_files(path.rglob("*"))
    elif path.is_file():
        return [path]
    else:
        raise DataError(f"there is no '{name}'.{nearest_existing(path)}")
    if not files:
        raise DataError(f"'{name}' has no file that ends in {', '.join((*PARQUET, *CSV))}")
    return sorted(files)


def _data_files(paths: object) -> list[Path]:
    files = [path for path in paths if isinstance(path, Path) and path.is_file()]  # type: ignore[attr-defined]
    return [file for file in files if file.name.lower().endswith((*PARQUET, *CSV)) and file.name[0] not in "._"]


def _kind(file: Path) -> str:
    with file.open("rb") as opened:
        head = opened.read(4)
    if head == b"PAR1" or file.name.lower().endswith(PARQUET):
        return "parquet"
    return "csv"


def _parquet(name: str, files: Sequence[Path]) -> TableScan:
    schemas = {}
    for file in files:
        try:
            schemas[file] = pl.read_parquet_schema(file)
        except (PolarsError, OSError) as error:
            raise DataError(f"{file}: {_empty(file) or f'not a Parquet file: {_first_line(error)}'}") from None
    if len({tuple(schema.items()) for schema in schemas.values()}) == 1:
        return TableScan(name, pl.scan_parquet(list(files), glob=False), True, len(files))
    return _together(name, [(file, pl.scan_parquet(file, glob=False)) for file in files], typed=True, notes=[])


def _delta(name: str, folder: Path, version: int | str | None) -> TableScan:
    try:
        frame = pl.scan_delta(str(folder), version=version)
        frame.collect_schema()
    except ImportError:
        raise MissingExtra("deltalake", "all") from None
    except Exception as error:  # delta-rs raises errors of its own and bare Exception
        raise DataError(f"{name}: not a Delta table that can be read: {_first_line(error)}") from None
    return TableScan(name, frame, True, 1)


def _csv(name: str, files: Sequence[Path], texts: Collection[str]) -> TableScan:
    notes: list[str] = []
    frames = [(file, _csv_frame(file, texts, notes)) for file in files]
    if len(frames) == 1:
        return TableScan(name, frames[0][1], False, 1, tuple(notes))
    return _together(name, frames, typed=False, notes=notes)


def _csv_frame(file: Path, texts: Collection[str], notes: list[str]) -> pl.LazyFrame:
    wrong = _empty(file)
    if wrong:
        raise DataError(f"{file}: {wrong}")
    head = _head(file)
    separator = _separator(head)
    if separator != ",":
        notes.append(f"{file}: read with separator '{SEPARATORS[separator]}'")
    overrides: dict[str, pl.DataType] = {}
    try:
        schema = _scan_csv(file, separator).collect_schema()
        refuse_twice(file, schema.names())
        _refuse_numbers_as_names(file, schema.names())
        overrides = {column: pl.String() for column in texts if column in schema}
        comma = separator != "," and _decimal_commas(file, separator, schema)
        if comma:
            notes.append(f"{file}: read with decimal commas")
        frame = _scan_csv(file, separator, comma=comma, overrides=overrides)
        overrides |= _late_misfits(frame, file, separator, comma)
        frame = _scan_csv(file, separator, comma=comma, overrides=overrides)
        overrides |= _leading_zeros(file, separator, frame.collect_schema(), notes)
        return _scan_csv(file, separator, comma=comma, overrides=overrides)
    except (PolarsError, UnicodeError) as error:
        hint = hint_of_encoding(file, "utf-8", of_source=False) if not file.name.endswith(".gz") else ""
        raise DataError(f"{file}: not a CSV file: {_first_line(error)}.{hint}") from None


def _scan_csv(
    file: Path, separator: str, *, comma: bool = False, overrides: Mapping[str, pl.DataType] | None = None
) -> pl.LazyFrame:
    return pl.scan_csv(
        file,
        separator=separator,
        decimal_comma=comma,
        null_values=list(NULL_TEXTS),
        schema_overrides=dict(overrides or {}),
        infer_schema_length=INFERRED_ROWS,
        try_parse_dates=True,
        glob=False,
    )


def _late_misfits(frame: pl.LazyFrame, file: Path, separator: str, comma: bool) -> dict[str, pl.DataType]:
    """Return the types of columns in which a row beyond the inferred ones does not fit."""
    try:
        for _ in frame.select(pl.all().null_count()).collect_batches(engine="streaming"):
            pass
        return {}
    except PolarsError as error:
        if "could not parse" not in str(error):
            raise
    schema = pl.scan_csv(
        file,
        separator=separator,
        decimal_comma=comma,
        null_values=list(NULL_TEXTS),
        infer_schema_length=None,
        try_parse_dates=True,
        glob=False,
    ).collect_schema()
    return dict(schema)


def _leading_zeros(file: Path, separator: str, schema: pl.Schema, notes: list[str]) -> dict[str, pl.DataType]:
    """Return text as the type of columns of whole numbers such as 007: they are codes."""
    whole = [name for name, dtype in schema.items() if dtype == pl.Int64]
    if not whole:
        return {}
    head = pl.scan_csv(file, separator=separator, infer_schema=False, glob=False).select(whole).head(1_000).collect()
    found = [name for name in whole if head[name].str.contains(r"^\s*0\d").any()]
    if found:
        notes.append(f"{file}: text because of leading zeros: {', '.join(found)}")
    return {name: pl.String() for name in found}


def _decimal_commas(file: Path, separator: str, schema: pl.Schema) -> bool:
    words = [name for name, dtype in schema.items() if dtype == pl.String]
    head = pl.scan_csv(file, separator=separator, infer_schema=False, glob=False).select(words).head(1_000).collect()
    for column in head:
        values = column.drop_nulls()
        if len(values) and values.str.contains(_DECIMAL_COMMA).all() and values.str.contains(",", literal=True).any():
            return True
    return False


def _together(name: str, frames: Sequence[tuple[Path, pl.LazyFrame]], *, typed: bool, notes: list[str]) -> TableScan:
    """Return files of several schemas as one table: an absent column is null, a column of several types is text."""
    types: dict[str, list[tuple[Path, pl.DataType]]] = {}
    schemas = [(file, frame, frame.collect_schema()) for file, frame in frames]
    for file, _, schema in schemas:
        for column, dtype in schema.items():
            types.setdefault(column, []).append((file, dtype))
    wanted: dict[str, pl.DataType] = {}
    for column, seen in types.items():
        kinds = list(dict.fromkeys(dtype for _, dtype in seen if dtype != pl.Null))
        if len(kinds) < 2:
            continue
        numbers = all(dtype.is_numeric() for dtype in kinds)
        wanted[column] = pl.Float64() if numbers else pl.String()
        if not numbers:
            file, dtype = next((f, d) for f, d in seen if d == kinds[1])
            notes.append(f"{name}: '{column}' is {kinds[0]} in some files and {dtype} in others ({file.name}): text")
        if any(dtype.is_nested() for dtype in kinds):
            raise DataError(f"{name}: column '{column}' is {kinds[0]} in some files and {kinds[1]} in others")
    for column, seen in types.items():
        if len(seen) < len(schemas):
            notes.append(f"{name}: only {len(seen)} of {len(schemas)} files have '{column}'; missing in the others")
    parts = [
        frame.with_columns(pl.col(c).cast(dtype) for c, dtype in wanted.items() if c in schema)
        for _, frame, schema in schemas
    ]
    return TableScan(name, pl.concat(parts, how="diagonal_relaxed"), typed, len(schemas), tuple(notes))


def _refuse_numbers_as_names(file: Path, names: Sequence[str]) -> None:
    """Raise DataError when all names of a header are numbers: then the first row is data."""
    if names and all(
        name.replace(".", "", 1).replace("-", "", 1).removesuffix("_duplicated_0").isdigit() for name in names
    ):
        raise DataError(
            f"{file}: its first line has numbers ({', '.join(names[:4])}); expected the names of the columns"
        )


def _empty(file: Path) -> str:
    return "the file is empty: expected names of columns and rows" if file.stat().st_size == 0 else ""


def _head(file: Path) -> str:
    with gzip.open(file, "rb") if file.name.endswith(".gz") else file.open("rb") as content:
        return (content.read(65_536).decode("utf-8", errors="replace").splitlines() or [""])[0]


def _separator(line: str) -> str:
    """Return the separator of a line of names: the most frequent of the common ones outside of quotes."""
    outside = "".join(part for place, part in enumerate(line.split('"')) if place % 2 == 0)
    return max((",", ";", "\t", "|"), key=outside.count)


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
