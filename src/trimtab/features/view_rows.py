"""Reads the rows of a view's source: first keys and times, then the value columns, a few at a time.

So a wide table is never in memory as a whole. Rows that cannot count for any requested time are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from trimtab.definitions import row_filter
from trimtab.definitions.aggregations import PICKS
from trimtab.definitions.feature_types import ALWAYS
from trimtab.definitions.views import FeatureView
from trimtab.errors import DataError
from trimtab.features.aggregates import Picks
from trimtab.features.filtering import condition
from trimtab.features.table_columns import (
    NEVER,
    check_same_types,
    exact_values,
    floats,
    kind_of,
    micros,
    plain_keys,
    require,
    require_numbers,
    value_kind,
)
from trimtab.features.value_types import Array
from trimtab.features.view_windows import longest_window
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

CHUNK_BYTES = 192 << 20
"""Bytes of value columns that are read at a time."""

ANY_TYPE = (*PICKS, "distinct")
"""Kinds whose column may hold texts and times."""

WORTH_COPYING = 0.9
"""Share of useful rows above which all rows are kept: the others cannot count, and copying would cost more time."""

FAR = 1 << 62
"""Integer keys beyond this magnitude are joined, so that a key plus or minus 1 never overflows int64."""

ENTITY = "__entity"
"""Column with the number of an entity."""

Rows: TypeAlias = "pl.DataFrame | pl.LazyFrame"


@dataclass(frozen=True)
class Column:
    """A column of the table, converted to float64 when it is used."""

    series: pl.Series
    where: str

    def whole(self) -> Array:
        """Return all values, NaN for null, by index in the table."""
        return floats(self.series, where=self.where)

    def pick(self, picks: Picks) -> Array:
        """Return the picked value of each query, NaN for none. Reads chunk by chunk, without copying them together.

        Texts, dates and timestamps are objects: str, days or microseconds, and None.
        """
        read = floats if self.series.dtype.is_numeric() or self.series.dtype in (pl.Boolean, pl.Null) else exact_values
        values: Array = np.full(len(picks.order), np.nan if read is floats else None)
        first = 0
        for chunk in self.series.get_chunks():
            begin, end = np.searchsorted(picks.rows, [first, first + len(chunk)])
            if begin < end:
                values[picks.order[begin:end]] = read(chunk, where=self.where)[picks.rows[begin:end] - first]
            first += len(chunk)
        return values

    def codes(self) -> Array:
        """Return a number for each value by index in the table, the same for equal ones, -1 for null and NaN."""
        series = self.series
        if series.dtype.is_float():
            series = series.fill_nan(None) + 0.0  # so that -0.0 is 0.0
        elif isinstance(series.dtype, pl.Categorical | pl.Enum):
            series = series.cast(pl.String)
        return series.rank("dense").cast(pl.Int64).fill_null(-1).to_numpy()


@dataclass(frozen=True)
class ViewRows:
    """The rows of a view that have an entity and a time, in the order of the table.

    height: rows of the table. entities: number of each row's entity. times, known: microseconds; the same object if the
    source has no known_at. Windows are measured from `times`; a row counts from max(times, known) on. chosen: indices
    of the rows in the table, None for all of them.
    """

    view: FeatureView
    source: pl.LazyFrame
    height: int
    entities: Array
    times: Array
    known: Array
    chosen: Array | None

    def lasting(self, first: int) -> Array:
        """Return for each row whether it may still count at `first` (microseconds) or later."""
        longest = longest_window(self.view)
        return np.full(len(self.times), True) if longest is None else self.times > first - longest

    def only(self, kept: Array) -> ViewRows:
        """Return the rows where `kept` is True."""
        if bool(kept.all()):
            return self
        places = np.flatnonzero(kept)
        times = self.times[places]
        known = times if self.known is self.times else self.known[places]
        chosen = places if self.chosen is None else self.chosen[places]
        return replace(self, entities=self.entities[places], times=times, known=known, chosen=chosen)

    def columns(self, names: Iterable[str]) -> Iterator[tuple[str, Column]]:
        """Read columns of the table, each once. Raises DataError when its number of rows has changed meanwhile."""
        wanted = list(names)
        at_once = max(1, CHUNK_BYTES // (8 * max(self.height, 1)))
        for first in range(0, len(wanted), at_once):
            for column in self._read([pl.col(name) for name in wanted[first : first + at_once]]):
                yield column.name, Column(column, f"FeatureView '{self.view.name}'")

    def matching(self, where: str) -> Array:
        """Return by index in the table which rows fulfil a filter. Raises as `columns`, and DefinitionError."""
        fulfilled = condition(where, self.source.collect_schema(), view=self.view.name)
        (found,) = self._read([fulfilled.fill_null(False).alias("fulfilled")])
        return found.to_numpy()

    def _read(self, columns: Sequence[pl.Expr]) -> pl.DataFrame:
        frame = self.source.select(columns).collect()
        if frame.height != self.height:
            raise DataError(
                f"source '{self.view.source.name}' had {self.height} rows and now has {frame.height}; "
                "read one version of it"
            )
        return frame


def check_columns(view: FeatureView, schema: pl.Schema) -> None:
    """Check that the source has what the view needs. Raises DefinitionError naming column and nearest column."""
    where = f"FeatureView '{view.name}'"
    needed = [*view.entity.keys, view.source.timestamp, view.source.known_column, *value_columns(view)]
    require(schema, needed, source=view.source.name, needed_by=where)
    for leaf in view.leaves:
        if leaf.where is not None:
            condition(leaf.where, schema, view=view.name)
        if leaf.column is None:
            continue
        if leaf.kind in ANY_TYPE:
            kind_of(schema[leaf.column], where=f"{where}: column '{leaf.column}'")
        else:
            require_numbers(leaf.column, schema[leaf.column], where=where)
    for aggregation in view.aggregations:
        for leaf in aggregation.leaves if aggregation.of else ():
            if leaf.kind in PICKS and leaf.column is not None:
                require_numbers(leaf.column, schema[leaf.column], where=f"{where}: '{aggregation.name}'")


def value_columns(view: FeatureView) -> list[str]:
    """Return the columns that the view's features read, their filters included, each once."""
    columns = [leaf.column for leaf in view.leaves if leaf.column is not None]
    filters = [name for leaf in view.leaves if leaf.where is not None for name in row_filter.columns_of(leaf.where)]
    return list(dict.fromkeys([*columns, *filters]))


def exact_types(view: FeatureView, schema: pl.Schema) -> dict[str, Any]:
    """Return the type of each feature of a view that is a text, date or timestamp of a row, by its full name."""
    found: dict[str, Any] = {}
    for name, aggregation in zip(view.feature_names, view.aggregations, strict=True):
        if aggregation.kind in PICKS and aggregation.column is not None:
            kind = value_kind(schema[aggregation.column])
            if kind in ALWAYS:
                found[name] = {"text": pl.String, "date": pl.Date, "time": pl.Datetime("us", "UTC")}[kind]
    return found


def distinct_keys(view: FeatureView, keys: pl.DataFrame) -> pl.DataFrame:
    """Return each entity once, with its number in column ENTITY; keys with a null belong to no entity."""
    plain = plain_keys(keys, where=f"FeatureView '{view.name}'")
    return plain.drop_nulls().unique(maintain_order=True).with_row_index(ENTITY)


def numbers_of(view: FeatureView, keys: pl.DataFrame, numbered: pl.DataFrame) -> Array:
    """Return the number of each row's entity, len(numbered) for a key that is not among the entities."""
    where = f"FeatureView '{view.name}'"
    plain = plain_keys(keys, where=where)
    check_same_types(numbered.drop(ENTITY), plain, where=where)
    if numbered.height == 0:
        return np.zeros(keys.height, dtype=np.int64)
    names = [name for name in numbered.columns if name != ENTITY]
    if len(names) == 1 and plain.dtypes == [pl.Int64]:
        found = _looked_up(plain[names[0]], numbered[names[0]])
        if found is not None:
            return found
    joined = plain.join(numbered, on=names, how="left", maintain_order="left")[ENTITY]
    return joined.fill_null(numbered.height).to_numpy().astype(np.int64)


def _looked_up(keys: pl.Series, numbered: pl.Series) -> Array | None:
    """Return the position of each key in `numbered`, len(numbered) for one that is missing there.

    Looks keys up in an array indexed by key, which is several times as fast as a join. Returns None if the keys are too
    far apart for that.
    """
    least, most = numbered.min(), numbered.max()
    if not (isinstance(least, int) and isinstance(most, int)) or not -FAR < least <= most < FAR:
        return None
    if most - least > 4 * (len(keys) + len(numbered)):
        return None
    table = np.full(most - least + 3, len(numbered))
    table[numbered.to_numpy() - (least - 1)] = np.arange(len(numbered))
    inside = np.clip(keys.fill_null(least - 1).to_numpy(), least - 1, most + 1)
    inside -= least - 1
    numbers: Array = table[inside]
    return numbers


def read_rows(view: FeatureView, rows: Rows, numbered: pl.DataFrame, *, first: int, last: int) -> ViewRows:
    """Read keys and times of the rows that may count for the numbered entities from `first` to `last`.

    rows: a LazyFrame must give the same rows in the same order each time it is collected, as a scan does.
    numbered: from `distinct_keys`. first, last: microseconds.
    """
    source = rows.lazy()
    return choose_rows(view, source, read_moments(view, source), numbered, first=first, last=last)


def read_moments(view: FeatureView, source: pl.LazyFrame) -> pl.DataFrame:
    """Read the key columns, timestamp and known_at of all rows. Raises DefinitionError when a column is missing."""
    check_columns(view, source.collect_schema())
    return source.select(*dict.fromkeys([*view.entity.keys, view.source.timestamp, view.source.known_column])).collect()


def choose_rows(
    view: FeatureView, source: pl.LazyFrame, moments: pl.DataFrame, numbered: pl.DataFrame, *, first: int, last: int
) -> ViewRows:
    """Choose among the rows of `read_moments` those that may count for the numbered entities from `first` to `last`.

    The result may include rows that cannot count (see WORTH_COPYING).
    """
    where = f"FeatureView '{view.name}', source '{view.source.name}'"
    times = micros(moments[view.source.timestamp], where=where)
    known = times if view.source.known_at is None else micros(moments[view.source.known_at], where=where)
    if view.window_by == "known_at":  # windows run from when a row became known; the timestamp orders equal ones
        times, known = np.maximum(times, known), times  # NEVER is the greatest int64, so it stays
    entities = numbers_of(view, moments.select(view.entity.keys), numbered)
    every_row = ViewRows(view, source, moments.height, entities, times, known, None)
    possible = (times != NEVER) & (known != NEVER) & (entities < numbered.height)
    useful = possible & (times <= last) & (known <= last) & every_row.lasting(first)
    if bool(possible.all()) and np.count_nonzero(useful) > WORTH_COPYING * len(useful):
        return every_row
    return every_row.only(useful)
