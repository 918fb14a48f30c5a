"""Rows that say what became of predictions, read from files or tables and checked whole. Called by app.

late            taken, however long after the prediction; known_at says when the outcome became known
no outcome yet  a row without a label or without its known_at is passed over, and counted
invalid         refused, and with it everything that came in the same file or table version
What is repeated or contradictory only the label log knows: app.known_labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from trimtab.data.files import SUFFIXES, unchanged
from trimtab.data.reading import read_table
from trimtab.data.times import NULL_TEXTS
from trimtab.definitions import Task
from trimtab.errors import DataError, nearest

MOST_NAMED = 20
"""Wrong values of a file that the message names."""
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 and 9999, microseconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class OutcomeColumns:
    """The columns that hold ids, labels and the moments at which they became known (None: they are known now)."""

    prediction_id: str
    label: str
    known_at: str | None

    @property
    def names(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys(name for name in (self.prediction_id, self.label, self.known_at) if name is not None))


@dataclass(frozen=True, kw_only=True)
class CheckedOutcomes:
    """Rows that have an outcome, in their order.

    rows: columns id (text), label (float64) and known_at (int64, microseconds since the epoch; null for now).
    """

    rows: pl.DataFrame
    waiting: int
    """Rows without an outcome yet."""


class Wrong(NamedTuple):
    """A value that cannot be used. row: the first is 0."""

    row: int
    column: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"row {self.row + 1}: {self.column} is {self.value!r:.60}; expected {self.expected}"


def column_names(path: Path) -> list[str]:
    """Return the names of a file's columns. Raises DataError."""
    if not path.is_file() or path.suffix not in SUFFIXES:
        what = "no Parquet or CSV file" if path.is_file() else "not there"
        raise DataError(f"{path} is {what}; expected a file that ends in {' or '.join(SUFFIXES)}")
    try:
        read = pl.read_parquet_schema(path) if path.suffix == ".parquet" else pl.read_csv(path, n_rows=0).schema
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    return list(read)


def read_outcomes(path: Path, columns: OutcomeColumns, task: Task) -> CheckedOutcomes:
    """Read a Parquet or CSV file. Raises DataError naming file, row, column and what was expected there."""
    found = column_names(path)
    for name in columns.names:
        if name not in found:
            raise DataError(f"{path}: there is no column '{name}'.{nearest(name, found)}")
    times = () if columns.known_at is None else (columns.known_at,)
    like = pa.schema([pa.field(columns.prediction_id, pa.string())])  # ids that look like numbers stay as they are
    with unchanged(path):
        table = read_table(path, times=times, named_by="this command", like=like)
    frame = pl.from_arrow(table.select(columns.names))
    assert isinstance(frame, pl.DataFrame)
    return check_outcomes(frame, columns, task=task, place=str(path))


def check_outcomes(frame: pl.DataFrame, columns: OutcomeColumns, *, task: Task, place: str) -> CheckedOutcomes:
    """Return the rows that have an outcome. place: file or table, for the message. Raises DataError."""
    ids, label = _ids(frame[columns.prediction_id], place), frame[columns.label]
    values = _numbers(label, place)
    moments = pl.Series([None] * frame.height, dtype=pl.Int64)
    if columns.known_at is not None:
        moments = frame[columns.known_at].cast(pl.Datetime("us", "UTC")).dt.epoch("us")
    wrong = [
        *_wrong(frame[columns.prediction_id], ids.is_null() | (ids == ""), "the id of a prediction"),
        *_wrong(label, _is_no_label(label, values, task), "0 or 1" if task == "binary" else "a number"),
        *_wrong(moments.rename(columns.known_at or ""), _is_no_moment(moments), "microseconds of the years 1 to 9999"),
    ]
    if wrong:
        named = "".join(f"\n  {each}" for each in sorted(wrong, key=lambda each: each.row)[:MOST_NAMED])
        more = f"\n  and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise DataError(f"{place}: {len(wrong)} values are no outcomes, so none was taken:{named}{more}")
    rows = pl.DataFrame({"id": ids, "label": values, "known_at": moments})
    there = pl.col("label").is_not_null()
    if columns.known_at is not None:
        there &= pl.col("known_at").is_not_null()
    rows = rows.filter(there)
    return CheckedOutcomes(rows=rows, waiting=frame.height - rows.height)


def _ids(series: pl.Series, place: str) -> pl.Series:
    if series.dtype.is_float() or series.dtype.is_temporal() or series.dtype.is_nested():
        raise DataError(f"{place}: {series.name} is {series.dtype}; expected the ids of predictions as text")
    return series.cast(pl.String)


def _numbers(series: pl.Series, place: str) -> pl.Series:
    """Return labels as float64, null where there is none, or no number."""
    if series.dtype.is_temporal() or series.dtype.is_nested() or series.dtype == pl.Binary:
        raise DataError(f"{place}: {series.name} is {series.dtype}; expected numbers")
    if series.dtype == pl.String:
        series = series.str.strip_chars()
    return series.cast(pl.Float64, strict=False).fill_nan(None)


def _is_no_label(series: pl.Series, values: pl.Series, task: Task) -> pl.Series:
    wrong = values.is_infinite()
    if task == "binary":
        wrong |= ~values.is_in([0.0, 1.0])
    no_number = values.is_null() & series.is_not_null()
    if series.dtype == pl.String:
        return wrong.fill_null(False) | (no_number & ~series.str.strip_chars().is_in(NULL_TEXTS))
    return wrong.fill_null(False)


def _is_no_moment(moments: pl.Series) -> pl.Series:
    return (~moments.is_between(EARLIEST, LATEST)).fill_null(False)


def _wrong(series: pl.Series, mask: pl.Series, expected: str) -> list[Wrong]:
    rows = mask.arg_true().to_list()
    return [Wrong(row, series.name, series[row] if n < MOST_NAMED else None, expected) for n, row in enumerate(rows)]
