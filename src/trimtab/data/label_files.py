"""Reads labels, the outcomes of predictions, from files or tables, and checks them.

late            accepted, however long after the prediction; known_at is the time at which the outcome became known
no outcome yet  a row without a label or without its known_at is skipped, and counted
invalid         refused, together with all rows of the same file or table version
Repeated and contradictory labels are not detected here, because that needs the label log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.exceptions import PolarsError

from trimtab import timestamps
from trimtab.data.csv_files import TRUTHS, hint_of_separator, read_texts, refuse_twice
from trimtab.data.file_reading import EXACT, JSON_LINES, normalised
from trimtab.data.json_rows import read_json_lines
from trimtab.data.local_file import unchanged
from trimtab.data.times import NULL_TEXTS
from trimtab.definitions.models import Task
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError, nearest
from trimtab.tasks import RULES, class_names, numbers_of_classes

BLOCK_ROWS = 50_000
READ_BYTES = 2**20
SUFFIXES = (".parquet", ".csv")
MOST_NAMED = 20
"""Largest number of wrong values that the message lists."""


@dataclass(frozen=True, kw_only=True)
class OutcomeColumns:
    """The columns of ids, labels and the times at which the labels became known (None: they are known now)."""

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

    rows: columns id (text), label (float64; text of a multiclass model) and known_at (int64, microseconds since the
    epoch; null for now).
    """

    rows: pl.DataFrame
    waiting: int
    """Number of rows without an outcome yet."""


class Wrong(NamedTuple):
    """A value that cannot be used. row: the first is 0."""

    row: int
    column: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"row {self.row + 1}: {self.column} is {self.value!r:.60}; expected {self.expected}"


def column_names(path: Path, source: FileSource | None = None) -> list[str]:
    """Return the names of a file's columns.

    Args:
        path: a Parquet or CSV file; with a source, also JSON lines.
        source: gives separator and encoding of CSV; None for commas and UTF-8.

    Raises:
        DataError: the file does not exist, has another suffix, or cannot be read.
    """
    if source is not None and path.is_file() and path.suffix in JSON_LINES:
        return list(read_json_lines(path, encoding=source.encoding).column_names)
    if not path.is_file() or path.suffix not in SUFFIXES:
        problem = "is not a Parquet or CSV file" if path.is_file() else "does not exist"
        raise DataError(f"{path} {problem}; expected a file that ends in {' or '.join(SUFFIXES)}")
    try:
        if path.suffix == ".parquet":
            return list(pl.read_parquet_schema(path))
        if source is not None:
            return read_texts(path, source, rows=0).columns
        return pl.scan_csv(path, infer_schema=False).collect_schema().names()
    except (PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def read_outcomes(
    path: Path, columns: OutcomeColumns, task: Task, classes: Sequence[str] = (), known: Collection[str] = ()
) -> Iterator[CheckedOutcomes]:
    """Read the outcomes of a Parquet or CSV file in blocks.

    Args:
        path: the file.
        columns: its columns.
        task: of the model, which says what a label is.
        classes: the declared names of its classes, if it declares them.
        known: else those of its training sets.

    Yields:
        The rows of each block that have an outcome.

    Raises:
        DataError: a column is missing or a value is wrong; the latter after the last block, so the caller has to
            discard what it got. Names file, row, column and the expected value.
    """
    found = column_names(path)
    for name in columns.names:
        if name not in found:
            hint = hint_of_separator(path, ",", of_source=False) if path.suffix == ".csv" else ""
            raise DataError(f"{path}: there is no column '{name}'.{hint or nearest(name, found)}")
    times = () if columns.known_at is None else (columns.known_at,)
    with unchanged(path):
        blocks = blocks_of(path, columns.names, times=times)
        truths = path.suffix == ".csv"
        yield from check_outcomes(
            blocks, columns, task=task, classes=classes, known=known, place=str(path), truths=truths
        )


def check_outcomes(
    blocks: Iterable[pl.DataFrame],
    columns: OutcomeColumns,
    *,
    task: Task,
    place: str,
    truths: bool = False,
    classes: Sequence[str] = (),
    known: Collection[str] = (),
) -> Iterator[CheckedOutcomes]:
    """Check the outcomes of a file or a table version, block by block.

    Args:
        blocks: frames with the columns of `columns`.
        columns: names of the columns.
        task: of the model, which says what a label is.
        classes: the declared names of its classes, if it declares them. Else any text is the name of a class.
        known: else those of its training sets; a text that means missing, such as NA, is a class if it is one of them.
        place: file or table, for the message.
        truths: accept labels written as true and false, if all are.

    Yields:
        The rows of each block that have an outcome.

    Raises:
        DataError: after the last block, if any block has a wrong value.
    """
    check = _Check(columns, task, place, truths=truths, classes=classes, known=known)
    for block in blocks:
        yield check.block(block)
    check.end()


class _Check:
    """Checks one block after another; collects the first wrong values and the number of all."""

    def __init__(
        self,
        columns: OutcomeColumns,
        task: Task,
        place: str,
        *,
        truths: bool,
        classes: Sequence[str],
        known: Collection[str],
    ) -> None:
        self._with_truths = truths
        self._classes = classes
        self._known = known
        self._columns = columns
        self._task = task
        self._place = place
        self._rows = 0
        self._wrong = _Wrongs()
        self._truths = _Wrongs()
        self._mixed = False
        """Some label is not a truth value, so truth values count as wrong."""

    def block(self, frame: pl.DataFrame) -> CheckedOutcomes:
        """Return the rows of a block that have an outcome. Raises DataError for a column of a wrong type."""
        columns, place = self._columns, self._place
        given, label = frame[columns.prediction_id], frame[columns.label]
        ids = _ids(given, place)
        values = self._names(label) if self._classes or RULES[self._task].by_class else self._labels(label)
        moments = pl.Series([None] * frame.height, dtype=pl.Int64)
        if columns.known_at is not None:
            moments = frame[columns.known_at].cast(pl.Datetime("us", "UTC")).dt.epoch("us")
        known_at = moments.rename(columns.known_at or "")
        self._wrong.add(self._rows, given, ids.is_null() | (ids == ""), "the id of a prediction")
        self._wrong.add(self._rows, known_at, _is_no_moment(moments), "microseconds of the years 1 to 9999")
        self._rows += frame.height
        rows = pl.DataFrame({"id": ids, "label": values, "known_at": moments})
        there = pl.col("label").is_not_null()
        if columns.known_at is not None:
            there &= pl.col("known_at").is_not_null()
        rows = rows.filter(there)
        return CheckedOutcomes(rows=rows, waiting=frame.height - rows.height)

    def _labels(self, label: pl.Series) -> pl.Series:
        """Return labels that are numbers, null where there is none yet; note those that are not the task's."""
        values = _numbers(label, self._place)
        truths = _truths(label) if self._with_truths else _truths(values)
        self._mixed |= bool((values.is_not_null() & values.is_not_nan()).any())
        values = values.zip_with(truths.is_null(), truths)
        no_label = _is_no_label(label, values, self._task)
        self._mixed |= bool(no_label.any())
        expected = RULES[self._task].expected
        self._wrong.add(self._rows, label, no_label, expected)
        self._truths.add(self._rows, label, truths.is_not_null(), expected)
        return values.fill_nan(None)

    def _names(self, label: pl.Series) -> pl.Series:
        """Return names of classes, null where there is none yet, or the number of a named class of a binary model."""
        numbers = numbers_of_classes(self._classes) if self._classes and self._task == "binary" else {}
        known = list(numbers or self._classes or self._known)
        names = _as_known(class_names(label, where=self._place), known)
        if self._classes:
            wrong = names.is_not_null() & ~names.is_in(known)
            self._wrong.add(self._rows, label, wrong.fill_null(False), f"one of {', '.join(self._classes)}")
        return names.replace_strict(numbers, default=None, return_dtype=pl.Float64) if numbers else names

    def end(self) -> None:
        """Raise DataError if any value was wrong."""
        wrong = [self._wrong, self._truths] if self._mixed else [self._wrong]
        count = sum(one.count for one in wrong)
        if not count:
            return
        first = sorted((each for one in wrong for each in one.first), key=lambda each: each.row)[:MOST_NAMED]
        named = "".join(f"\n  {each}" for each in first)
        more = f"\n  and {count - MOST_NAMED} more" if count > MOST_NAMED else ""
        raise DataError(f"{self._place}: {count} values are wrong, so no outcome was imported:{named}{more}")


class _Wrongs:
    """Wrong values: their number, and the first ones of each column and block."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Wrong] = []

    def add(self, before: int, series: pl.Series, mask: pl.Series, expected: str) -> None:
        """Add the values of a block where `mask` is True. before: number of rows in earlier blocks."""
        rows = mask.arg_true()
        self.count += len(rows)
        if len(self.first) < 3 * MOST_NAMED:  # each of three columns
            named = rows.head(MOST_NAMED).to_list()
            self.first += [Wrong(before + row, series.name, series[row], expected) for row in named]


def blocks_of(path: Path, names: Sequence[str], *, times: Collection[str]) -> Iterator[pl.DataFrame]:
    """Yield some columns of a Parquet or CSV file, BLOCK_ROWS rows at a time.

    Columns of CSV stay text, unlike in `file_reading`, because a block does not have all values of a column.
    times: columns of times, which become UTC microseconds. Raises DataError naming the file, and row, column and
    value where possible.
    """
    blocks = _of_csv(path, names) if path.suffix == ".csv" else _of_parquet(path, names)
    first = 1
    for block in blocks:
        columns = {
            name: _column(column, name in times, first, f"{path}: column '{name}'")
            for name, column in zip(block.column_names, block.columns, strict=True)
        }
        frame = pl.from_arrow(pa.table(columns))
        assert isinstance(frame, pl.DataFrame)
        yield frame
        first += frame.height


def in_blocks(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of a frame in their order, BLOCK_ROWS at a time."""
    yield from rows.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True, engine="streaming")


def _column(column: pa.ChunkedArray, is_time: bool, first: int, place: str) -> pa.ChunkedArray:
    return normalised(column, place=place, is_time=is_time, wanted=None, first=first)


def _of_csv(path: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    try:
        texts = pl.scan_csv(path, infer_schema=False)
        refuse_twice(path, texts.collect_schema().names())
        for block in in_blocks(texts):  # all columns are read, so that a line with too many fields fails
            yield block.select(names).to_arrow().cast(pa.schema([(name, pa.string()) for name in names]))
    except PolarsError as error:
        raise DataError(f"{path}: not a CSV file: {str(error).splitlines()[0]}") from None


def _of_parquet(path: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(path, buffer_size=READ_BYTES)  # reads pages, not whole row groups
        there: Sequence[str] = file.schema_arrow.names
        twice = [name for name in names if there.count(name) > 1]
        if twice:
            raise DataError(f"{path}: the column '{twice[0]}' appears twice")
        for batch in file.iter_batches(BLOCK_ROWS, columns=list(names)):
            yield pa.Table.from_batches([batch]).select(names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None


def _ids(series: pl.Series, place: str) -> pl.Series:
    """Return ids as text. Raises DataError for floats and decimals with places, whose original text is unknown."""
    type_ = series.dtype
    if type_.is_float() and bool(((series == series.round(0)) & (series.abs() <= EXACT)).all()):
        series = series.fill_nan(None).cast(pl.Int64)  # pandas writes integers as floats if some are missing
        type_ = series.dtype
    fraction = isinstance(type_, pl.Decimal) and type_.scale > 0
    if fraction or type_.is_float() or type_.is_temporal() or type_.is_nested() or type_ == pl.Boolean:
        raise DataError(f"{place}: {series.name} is {type_}; expected the ids of predictions as text")
    try:
        return series.cast(pl.String)
    except pl.exceptions.ComputeError:
        raise DataError(f"{place}: {series.name} has bytes that are not UTF-8; expected the ids as text") from None


def _numbers(series: pl.Series, place: str) -> pl.Series:
    """Return labels as float64, null for a missing label and for a text that is no number; the text "NaN" is NaN."""
    if series.dtype.is_temporal() or series.dtype.is_nested() or series.dtype == pl.Binary:
        raise DataError(f"{place}: {series.name} is {series.dtype}; expected numbers")
    if series.dtype == pl.String:
        series = series.str.strip_chars()
    return series.cast(pl.Float64, strict=False)


def _as_known(names: pl.Series, known: Sequence[str]) -> pl.Series:
    """Return texts as the names of classes, null for a text that means missing and is no class.

    Classes are texts as they stand in the training set. Another text is taken for a class if it is one without the
    spaces around it, or the same whole number: pandas writes 1.0 for 1.
    """
    bare = names.str.strip_chars()
    number = bare.cast(pl.Float64, strict=False)
    whole = number.cast(pl.Int64, strict=False).cast(pl.String).set(number != number.round(0), None)
    for other in (bare, whole):
        names = names.zip_with(names.is_in(known) | ~other.is_in(known).fill_null(False), other)
    return names.set(bare.is_in(list(NULL_TEXTS)) & ~names.is_in(known), None)


def _truths(series: pl.Series) -> pl.Series:
    """Return texts such as "true" as 1.0 or 0.0, null for all other values."""
    if series.dtype != pl.String:
        return pl.repeat(None, len(series), dtype=pl.Float64, eager=True)
    return series.replace_strict(TRUTHS, default=None, return_dtype=pl.Float64)


def _is_no_label(series: pl.Series, values: pl.Series, task: Task) -> pl.Series:
    wrong = values.is_infinite()
    if RULES[task].has_threshold:
        wrong |= ~values.is_in([0.0, 1.0]) & values.is_not_nan()
    wrong = wrong.fill_null(False)
    if series.dtype == pl.String:
        return wrong | (values.is_null() & series.is_not_null() & ~series.str.strip_chars().is_in(NULL_TEXTS))
    return wrong


def _is_no_moment(moments: pl.Series) -> pl.Series:
    return (~moments.is_between(timestamps.EARLIEST, timestamps.LATEST)).fill_null(False)
