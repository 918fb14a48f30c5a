"""Reads a table batch by batch: first what the schemes of its columns need, then the profile of each window.

Memory: one batch, a sample of rows, and the counts. A table may be larger than memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from trimtab.app.drift.row_windows import UNUSED, Ints, RowWindows
from trimtab.app.drift.watched_columns import WatchedColumn
from trimtab.data.times import to_utc_micros
from trimtab.errors import DataError
from trimtab.stats.profile import ColumnProfile, merge_windows, profile, profile_categories
from trimtab.stats.schemes import MAX_KNOWN, Bins, CategoryBins, NumericBins

BATCH_ROWS = 50_000
SAMPLE_ROWS = 50_000
"""Rows from which the bins of ordered columns are made; every row of a smaller reference."""
MOST_COUNTED = 200_000
"""Categories of one column that are counted at a time; beyond, the rarer half is forgotten (lossy counting, Manku &
Motwani 2002). The 31 most frequent are right unless they are rarer than one row in 100,000."""
TIME = "__time__"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with the columns that are compared and its time column."""

    name: str
    """As errors and reports name it."""
    frame: pl.LazyFrame
    columns: Sequence[WatchedColumn]
    timestamp: str | None = None
    """Column with the time of each row; rows without one belong to no window."""

    def batches(self, windows: RowWindows) -> Iterator[tuple[pl.DataFrame, Ints]]:
        """Yield the compared columns of some rows, in the order of the table, with the window of each row."""
        values = [column.value.alias(str(place)) for place, column in enumerate(self.columns)]
        times = [pl.col(self.timestamp).alias(TIME)] if self.timestamp else []
        first = 0
        for batch in self._collected(self.frame.select(*values, *times)):
            found = self._times(batch[TIME], first) if times else None
            yield batch, windows.of(first, found, batch.height) if found is None else _timed(windows, first, found)
            first += batch.height

    def times(self) -> Iterator[Ints]:
        """Yield the times of rows in microseconds since the epoch, UNUSED where there is none, batch by batch."""
        assert self.timestamp is not None
        first = 0
        for batch in self._collected(self.frame.select(pl.col(self.timestamp).alias(TIME))):
            yield self._times(batch[TIME], first)
            first += batch.height

    def rows(self) -> int:
        """Return the number of rows."""
        return int(next(self._collected(self.frame.select(pl.len()))).item())

    def _times(self, column: pl.Series, first: int) -> Ints:
        times = pa.chunked_array([column.to_arrow()])
        place = f"{self.name}: column '{self.timestamp}'"
        found = pl.Series(to_utc_micros(times, place=place, first=first + 1).cast(pa.int64()))
        return found.fill_null(UNUSED).to_numpy()

    def _collected(self, frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        try:
            yield from frame.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")
        except PolarsError as error:
            raise DataError(f"{self.name}: cannot be read: {str(error).splitlines()[0]}") from None


@dataclass
class _Tally:
    """Rows of each category of a column, and in how many windows it is: one, or more than one."""

    rows: Counter[str] = field(default_factory=Counter)
    only_window: dict[str, int] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)

    def add(self, window: int, found: Mapping[str, int]) -> None:
        self.rows.update(found)
        if len(self.rows) > MOST_COUNTED:
            self.rows = Counter(dict(self.rows.most_common(MOST_COUNTED // 2)))
        if len(self.rows) > MAX_KNOWN:  # an open vocabulary: windows do not matter
            self.only_window.clear()
            self.several.clear()
            return
        for name in found:
            if self.only_window.setdefault(name, window) != window:
                self.several.add(name)

    def bins(self) -> CategoryBins:
        return CategoryBins.from_counts(self.rows, {name: 2 if name in self.several else 1 for name in self.rows})


def column_schemes(table: Table, windows: RowWindows, *, rows: int, seed: int) -> dict[str, Bins]:
    """Return the schemes of all columns, made from a reference of so many rows."""
    random = np.random.default_rng(seed)
    share = SAMPLE_ROWS / max(rows, 1)
    samples: dict[str, list[npt.NDArray[Any]]] = {c.name: [] for c in table.columns if c.kind == "ordered"}
    tallies = {c.name: _Tally() for c in table.columns if c.kind == "category"}
    for batch, numbers in table.batches(windows):
        keep = slice(None) if share >= 1 else random.random(batch.height) < share
        stretches = list(_stretches(numbers))
        for place, column in enumerate(table.columns):
            values = batch[str(place)]
            if column.kind == "ordered":
                samples[column.name].append(values.to_numpy()[keep])
                continue
            coded = _Coded.of(values)
            for window, places in stretches:
                tallies[column.name].add(window, coded.counts(places)[0])
    numeric = {name: NumericBins.from_reference(np.concatenate(parts)) for name, parts in samples.items() if parts}
    return {
        c.name: tallies[c.name].bins() if c.kind == "category" else numeric.get(c.name, NumericBins.from_reference([]))
        for c in table.columns
    }


@dataclass(frozen=True)
class Profiles:
    """The profiles of a table."""

    windows: dict[int, dict[str, ColumnProfile]]
    """By window, oldest first."""
    total: dict[str, ColumnProfile]
    """All rows, those of no window among them."""
    rows: int
    outside: int
    """Rows of no window: without a time, or between two blocks."""
    unseen: dict[str, Counter[str]]
    """Values that the reference does not have, by category column."""
    infinite: dict[str, int]
    """Rows whose value is infinite, by column; columns without such rows are left out."""

    @property
    def window_rows(self) -> list[int]:
        """Rows of each window."""
        return [next(iter(window.values())).n for window in self.windows.values()]

    @property
    def windowed_rows(self) -> int:
        """Rows of all windows."""
        return sum(self.window_rows)


def profiles(table: Table, windows: RowWindows, schemes: Mapping[str, Bins]) -> Profiles:
    """Return the profile of each window of a table and of the whole."""
    found: dict[int, dict[str, ColumnProfile]] = {}
    unseen: dict[str, Counter[str]] = {c.name: Counter() for c in table.columns if c.kind == "category"}
    known = {name: bins.slots for name, bins in schemes.items() if isinstance(bins, CategoryBins) and not bins.open}
    infinite: Counter[str] = Counter()
    rows = 0
    for batch, numbers in table.batches(windows):
        rows += batch.height
        arrays = {c.name: batch[str(p)].to_numpy() for p, c in enumerate(table.columns) if c.kind == "ordered"}
        infinite.update({name: int(np.isinf(values).sum()) for name, values in arrays.items()})
        coded = {c.name: _Coded.of(batch[str(p)]) for p, c in enumerate(table.columns) if c.kind == "category"}
        for window, places in _stretches(numbers):
            part: dict[str, ColumnProfile] = {}
            for name, bins in schemes.items():
                if isinstance(bins, NumericBins):
                    part[name] = profile(arrays[name][places], bins)
                    continue
                counts, missing = coded[name].counts(places)
                part[name] = profile_categories({**counts, None: missing}, bins)
                if name in known:
                    _remember(unseen[name], {value: n for value, n in counts.items() if value not in known[name]})
            found[window] = merge_windows(found[window], part) if window in found else part
    empty = {name: _nothing(bins) for name, bins in schemes.items()}
    outside = found.pop(UNUSED, empty)
    total = outside
    for each in found.values():
        total = merge_windows(total, each)
    return Profiles(
        windows=dict(sorted(found.items())),
        total=total,
        rows=rows,
        outside=next(iter(outside.values())).n if outside else 0,
        unseen={name: counter for name, counter in unseen.items() if counter},
        infinite={name: count for name, count in infinite.items() if count},
    )


def _timed(windows: RowWindows, first: int, times: Ints) -> Ints:
    return np.where(times == UNUSED, UNUSED, windows.of(first, times, len(times)))


def _stretches(numbers: Ints) -> Iterator[tuple[int, slice | Ints]]:
    """Yield each window with its rows in the batch: a slice where they lie together."""
    if not numbers.size:
        return
    edges = np.flatnonzero(np.diff(numbers)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [numbers.size]])
    owners = numbers[starts]
    if np.unique(owners).size == owners.size:
        for owner, start, end in zip(owners.tolist(), starts.tolist(), ends.tolist(), strict=True):
            yield owner, slice(start, end)
        return
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    cuts = np.flatnonzero(np.diff(sorted_numbers)) + 1
    for places in np.split(order, cuts):
        yield int(numbers[places[0]]), places


@dataclass(frozen=True)
class _Coded:
    """The categories of a batch: each row's place in `names`."""

    names: list[str | None]
    """None for rows without a value."""
    codes: Ints

    @classmethod
    def of(cls, values: pl.Series) -> _Coded:
        texts = values.to_arrow(compat_level=pl.CompatLevel.oldest())
        found = texts.dictionary_encode(null_encoding="encode")
        codes = np.from_dlpack(found.indices).astype(np.int64)  # to_numpy would import pandas
        return cls(found.dictionary.to_pylist(), codes)

    def counts(self, places: slice | Ints) -> tuple[dict[str, int], int]:
        """Return how many of some rows each category has, and how many have no value."""
        rows = np.bincount(self.codes[places], minlength=len(self.names)).tolist()
        found = {name: n for name, n in zip(self.names, rows, strict=True) if n and name is not None}
        return found, sum(n for name, n in zip(self.names, rows, strict=True) if name is None)


def _remember(counter: Counter[str], new: Mapping[str, int]) -> None:
    if len(counter) < MAX_KNOWN:
        counter.update(new)
    else:
        counter.update({name: rows for name, rows in new.items() if name in counter})


def _nothing(bins: Bins) -> ColumnProfile:
    return profile([], bins) if isinstance(bins, NumericBins) else profile_categories({}, bins)
