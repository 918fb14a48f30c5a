"""Finds what is reported of the rows of a batch although no check refuses them: null keys, odd times, repetitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from trimtab import timestamps
from trimtab.clock import EPOCH, from_micros
from trimtab.data.personal_data import mask
from trimtab.definitions.sources import FileSource, Source
from trimtab.records.data import CheckFailure
from trimtab.stores.tables.schema_fit import columns_of, wider

ALL = "*"
"""Column of a note on whole rows."""
NULL_KEY = "without a key"
NAIVE = "without a time zone"
FUTURE = "in the future"
OTHER_UNIT = "before 1973"
REPEATED = "repeated"
CORRECTED = "corrected"
DECIMAL_COMMAS = "have decimal commas"
NUMBER = "\0number"
"""Column of the numbers of rows; no column of a file has this name."""
SAMPLE = 1000
"""Values of a text column that are searched for decimal commas."""

_DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+\s*$"
_NUMBER = r"^\s*[+-]?\d+(,\d+)?\s*$"


@dataclass(frozen=True)
class Repetition:
    """Rows of a batch that repeat others. known: numbers, from 0, of the rows that the table has with equal values."""

    known: pl.Series
    inside: int
    """Rows that are equal to an earlier row of the same batch."""
    corrections: int = 0
    """Rows with a key that the table has with other values."""


def notes_on(
    frame: pl.DataFrame,
    source: Source,
    *,
    keys: Collection[str],
    naive: Mapping[str, int],
    repetition: Repetition,
    now: datetime,
) -> tuple[CheckFailure, ...]:
    """Return one note for each column and kind.

    keys: columns that identify rows, entities or predictions. naive: number of times without a zone, by column. now:
    times after it are in the future.
    """
    found = [
        CheckFailure(
            column=column,
            check=NAIVE,
            rows=rows,
            example=f"taken as UTC; name their zone, or that it is UTC: {_kind(source)}(..., time_zone='UTC')",
        )
        for column, rows in naive.items()
    ]
    found += [
        CheckFailure(column=key, check=NULL_KEY, rows=frame[key].null_count(), example="which belong to no entity")
        for key in sorted(set(keys) & set(frame.columns))
        if frame[key].null_count()
    ]
    for column in dict.fromkeys((source.timestamp, source.known_column)):
        found += _odd_times(frame[column], now)
    if isinstance(source, FileSource) and source.decimal == ".":
        found += _decimal_commas(frame, keys, source.pii)
    return (*found, *_repeated(source, repetition))


def note_lines(notes: Collection[CheckFailure]) -> list[str]:
    """Return one line for each note, for messages."""
    return [
        f"{'' if note.column == ALL else f'{note.column}: '}{note.rows:,} {'row' if note.rows == 1 else 'rows'} "
        f"{note.check}, {note.example}"
        for note in notes
    ]


def repetition_in(frame: pl.DataFrame, failing: pl.Series, rows: pl.LazyFrame | None, source: Source) -> Repetition:
    """Find the rows of a batch that are equal to earlier ones in all columns, among those that pass the checks.

    failing: numbers of the other rows, from 0. rows: the rows of the table so far, None without a table.
    """
    if any(dtype.is_nested() for dtype in frame.dtypes) or frame.is_empty():
        return Repetition(pl.Series("row", [], dtype=pl.UInt32), 0)
    inside = frame.height - frame.n_unique()
    known = pl.Series("row", [], dtype=pl.UInt32)
    if rows is not None:
        schema = rows.collect_schema()
        if set(schema) == set(frame.columns):
            known = _in_table(frame, rows, source.timestamp)
            known = known.filter(~known.is_in(failing.cast(pl.UInt32).implode()))
            if len(known) and source.key and not isinstance(source, FileSource):
                known = _as_last(frame, known, rows, source)
    return Repetition(known, inside, _corrections(frame, known, failing, rows, source))


def _as_last(frame: pl.DataFrame, known: pl.Series, rows: pl.LazyFrame, source: Source) -> pl.Series:
    """Return the known rows that are equal to the row of their key that was ingested last, and those without a key.

    A database gives a row as it is now: one that is as it was before another change is a correction. A file that is
    found again is none. Further rows of a key in one batch count as changes.
    """
    keys, types = list(source.key), rows.collect_schema()
    first = pl.struct(keys).is_first_distinct() | pl.any_horizontal(pl.col(keys).is_null())
    known = known.filter(frame.select(first).to_series()[known])
    keyed = frame.with_row_index(NUMBER)[known].drop_nulls(keys)
    asked = keyed.select(keys).cast(pl.Schema({key: types[key] for key in keys}), strict=False)
    last = rows.join(asked.lazy(), on=keys, how="semi").collect().unique(keys, keep="last", maintain_order=True)
    same = keyed[NUMBER].gather(_in_table(keyed.drop(NUMBER), last.lazy(), source.timestamp))
    return known.filter(known.is_in(same.implode()) | ~known.is_in(keyed[NUMBER].implode()))


def _corrections(
    frame: pl.DataFrame, known: pl.Series, failing: pl.Series, rows: pl.LazyFrame | None, source: Source
) -> int:
    keys = list(source.key)
    if not keys or rows is None or not set(keys) <= set(types := rows.collect_schema()):
        return 0
    aside = pl.concat([known, failing.cast(pl.UInt32)])
    new = frame.with_row_index(NUMBER).filter(~pl.col(NUMBER).is_in(aside.implode())).select(keys).drop_nulls()
    new = new.cast(pl.Schema({key: types[key] for key in keys}), strict=False)
    return new.lazy().join(rows.select(keys), on=keys, how="semi").collect().height


def _in_table(frame: pl.DataFrame, rows: pl.LazyFrame, timestamp: str) -> pl.Series:
    names, before = frame.columns, columns_of(rows)
    types = {}
    for name, type_ in zip(names, columns_of(frame.lazy()).types, strict=True):
        old = before.field(name).type
        both = wider(old, type_, empty=old == pa.string() != type_)
        if both is None:
            return pl.Series("row", [], dtype=pl.UInt32)
        types[name] = pl.Series(pa.array([], both)).dtype
    near = rows.filter(pl.col(timestamp).is_between(frame[timestamp].min(), frame[timestamp].max())).select(names)
    near = near.cast(pl.Schema(types), strict=False)
    numbered = frame.cast(pl.Schema(types)).with_row_index(NUMBER).lazy()
    return numbered.join(near, on=names, how="semi", nulls_equal=True, maintain_order="left").collect()[NUMBER]


def _odd_times(times: pl.Series, now: datetime) -> list[CheckFailure]:
    found = []
    future = times.filter(times > now)
    if len(future):
        example = f"the latest is {future.sort()[-1]:%Y-%m-%d %H:%M} UTC"
        found.append(CheckFailure(column=times.name, check=FUTURE, rows=len(future), example=example))
    early = times.filter((times > EPOCH) & (times < from_micros(timestamps.LEAST)))
    if len(early):
        example = f"the first is {early.sort()[0]:%Y-%m-%d %H:%M}: were these numbers in another unit?"
        found.append(CheckFailure(column=times.name, check=OTHER_UNIT, rows=len(early), example=example))
    return found


def _decimal_commas(frame: pl.DataFrame, keys: Collection[str], pii: Collection[str]) -> list[CheckFailure]:
    found = []
    for texts in frame.select(pl.col(pl.String).exclude(*keys) if keys else pl.col(pl.String)):
        some = texts.drop_nulls().head(SAMPLE)
        commas = some.filter(some.str.contains(_DECIMAL_COMMA))
        if len(commas) and some.str.contains(_NUMBER).all():
            some = mask(texts.name, commas[0], pii)
            example = f"such as '{some}', and are text; if they are numbers: FileSource(..., decimal=',')"
            found.append(CheckFailure(column=texts.name, check=DECIMAL_COMMAS, rows=len(texts), example=example))
    return found


def _kind(source: Source) -> str:
    return type(source).__name__


def _repeated(source: Source, repetition: Repetition) -> list[CheckFailure]:
    found = []
    if known := len(repetition.known):
        again = f"taken in again; to take each row once: {_kind(source)}(..., key=[...])"
        what = "left out" if source.drops_equal_rows else again
        example = f"equal to rows that the table has: {what}"
        found.append(CheckFailure(column=ALL, check=REPEATED, rows=known, example=example))
    if repetition.corrections:
        example = "to count instead of earlier ones from when it became known"
        if source.known_at is None:
            example = "which count as known at their timestamp; name when they became known: "
            example += f"{_kind(source)}(..., known_at=)"
        corrected = CheckFailure(column=ALL, check=CORRECTED, rows=repetition.corrections, example=example)
        found.append(corrected)
    if repetition.inside:
        example = f"equal to an earlier row of the same {'file' if isinstance(source, FileSource) else 'batch'}"
        found.append(CheckFailure(column=ALL, check=REPEATED, rows=repetition.inside, example=example))
    return found
