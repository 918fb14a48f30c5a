"""A reference cut into windows, with the detector that judges other windows by the differences between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from trimtab.app.drift.row_windows import UNUSED, GivenBlocks, OneWindow, RowBlocks, RowWindows, TimeWindows
from trimtab.app.drift.table_profile import Profiles, Table, column_schemes, profiles
from trimtab.app.drift.watched_columns import Leaf, WatchedColumn, leaves, read_as, watched
from trimtab.errors import DataError, UsageError, nearest
from trimtab.stats.profile import ColumnProfile
from trimtab.stats.schemes import Bins
from trimtab.stats.sequential import ENOUGH_WINDOWS, FEWEST_WINDOWS, DriftDetector
from trimtab.stats.usual_sizes import UsualEffects
from trimtab.units import MICROS, plural, short

BLOCKS = 60
"""Windows of a reference without times, when a current table has as many rows."""
MOST_BLOCKS = 200
LENGTHS = tuple(MICROS["m"] * minutes for minutes in (24 * 60, 6 * 60, 60, 10, 1))
"""Lengths of windows to choose from: the longest that gives enough windows."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How rows become windows."""

    timestamp: str | None
    length: int | None
    """Of a window in time, in microseconds; None without a timestamp."""
    rows: int | None
    """Of a window of consecutive rows; None with a timestamp."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FittedReference:
    """The reference: its windows, its schemes, and what is usual in it."""

    name: str
    columns: tuple[WatchedColumn, ...]
    left_out: dict[str, str]
    """Columns that are not compared, with the reason."""
    cut: Cut
    schemes: dict[str, Bins]
    found: Profiles
    usual: UsualEffects
    leaves: dict[str, Leaf]

    @property
    def windows(self) -> int:
        """Reference windows that have rows."""
        return len(self.found.windows)

    def detector(self, *, horizon: int, seed: int) -> DriftDetector:
        """Return a detector that has judged no window yet. Raises DataError with fewer than three windows."""
        return DriftDetector.fit(list(self.found.windows.values()), schemes=self.schemes, horizon=horizon, seed=seed)

    def table(self, name: str, frame: pl.LazyFrame, schema: Mapping[str, Leaf], timestamp: str | None) -> Table:
        """Return another table, read as the columns of the reference; absent columns are missing in all rows."""
        columns = [replace(c, value=read_as(schema.get(c.name), c.kind)) for c in self.columns]
        return Table(name=name, frame=frame, columns=columns, timestamp=timestamp)

    def profile(self, table: Table, windows: RowWindows | None = None) -> Profiles:
        """Return the profiles of another table; of all its rows together without windows."""
        return profiles(table, windows or OneWindow(), self.schemes)


def fit_reference(
    name: str,
    frame: pl.LazyFrame,
    *,
    timestamp: str | None = None,
    window: int | None = None,
    rows: int | None = None,
    parts: Sequence[int] | None = None,
    columns: Collection[str] | None = None,
    categories: Collection[str] = (),
    current: Mapping[str, Leaf] | None = None,
    current_rows: int | None = None,
    seed: int = 0,
) -> FittedReference:
    """Return a reference, read twice: for the schemes of its columns and for the profiles of its windows.

    Args:
        name: how errors name it.
        frame: its rows.
        timestamp: column with the time of a row; without it, windows are blocks of consecutive rows.
        window: length of a window in microseconds; None chooses one. Only with a timestamp.
        rows: rows of a window; None chooses. Only without a timestamp.
        parts: rows of each window, where the windows are given.
        columns: the columns to compare; None for all.
        categories: columns whose numbers are codes.
        current: the columns of the table that it will be compared with, for types that the reference does not show.
        current_rows: rows of that table.
        seed: of the sample of rows from which bins are made.

    Raises:
        DataError: there are too few rows or windows, or values are no times.
        UsageError: a name is no column.
    """
    schema = leaves(frame.collect_schema())
    if timestamp is not None:
        require_timestamp(timestamp, frame.collect_schema(), name)
    without = {timestamp} if timestamp else set()
    chosen, left_out = watched(schema, columns=columns, categories=categories, without=without, current=current)
    if not chosen:
        raise DataError(f"{name}: there is no column to compare; it has {', '.join(schema) or 'none'}")
    table = Table(name=name, frame=frame, columns=chosen, timestamp=timestamp)
    cut, cutting, total = _given(parts) if parts else _cut(table, window, rows, current_rows)
    schemes = column_schemes(table, cutting, rows=total, seed=seed)
    found = profiles(table, cutting, schemes)
    if columns is None:
        clocks = _clocks(found)
        if len(clocks) == len(chosen):
            clocks = {}
        left_out |= clocks
        chosen = [column for column in chosen if column.name not in clocks]
        schemes = {column.name: schemes[column.name] for column in chosen}
        found = _without(found, clocks)
    if len(found.windows) < FEWEST_WINDOWS:
        raise DataError(_too_few(name, cut, len(found.windows)))
    return FittedReference(
        name=name,
        columns=tuple(chosen),
        left_out=left_out,
        cut=cut,
        schemes=schemes,
        found=found,
        usual=UsualEffects.fit(list(found.windows.values()), schemes),
        leaves=schema,
    )


def require_timestamp(timestamp: str, schema: Mapping[str, Any], name: str) -> None:
    """Raise UsageError when a table has no such column."""
    if timestamp not in schema:
        raise UsageError(f"timestamp: {name} has no column '{timestamp}'.{nearest(timestamp, schema)}")


def _given(parts: Sequence[int]) -> tuple[Cut, RowWindows, int]:
    """Return windows of known rows, as `_cut` does."""
    rows = int(np.median(parts))
    return Cut(timestamp=None, length=None, rows=rows), GivenBlocks(tuple(parts)), sum(parts)


def _cut(table: Table, window: int | None, rows: int | None, current_rows: int | None) -> tuple[Cut, RowWindows, int]:
    """Return how a reference is cut, the same as windows, and its rows."""
    if table.timestamp is None:
        total = table.rows()
        if total < ENOUGH_WINDOWS:
            raise DataError(
                f"{table.name}: has {plural(total, 'row')}; a reference needs {ENOUGH_WINDOWS} or more, so that it "
                "shows how much its own parts differ"
            )
        size = rows or max(1, min(total // BLOCKS, current_rows or total))
        count = min(total // size, MOST_BLOCKS)
        if count < FEWEST_WINDOWS:
            raise DataError(_too_few(table.name, Cut(timestamp=None, length=None, rows=size), count))
        return Cut(timestamp=None, length=None, rows=size), RowBlocks(total, size, count), total
    minutes: Counter[int] = Counter()
    total, timeless = 0, 0
    for times in table.times():
        total += times.size
        timed = times[times != UNUSED]
        timeless += times.size - timed.size
        found, counts = np.unique(timed // LENGTHS[-1], return_counts=True)
        minutes.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    if not minutes:
        raise DataError(f"{table.name}: no row has a time in column '{table.timestamp}'")
    notes = []
    if timeless:
        notes.append(f"{table.name}: {plural(timeless, 'row')} without a time in '{table.timestamp}' left out")
    if window is None:
        window, count = _length(minutes)
        notes.append(f"windows of {short(window)}, which give the reference {plural(count, 'window')}")
    return Cut(timestamp=table.timestamp, length=window, rows=None, notes=tuple(notes)), TimeWindows(window), total


def _length(minutes: Mapping[int, int]) -> tuple[int, int]:
    """Return the longest length that gives enough windows, else the shortest; and how many windows it gives."""
    for length in LENGTHS:
        count = len({minute * LENGTHS[-1] // length for minute in minutes})
        if count >= ENOUGH_WINDOWS:
            break
    return length, count


def _too_few(name: str, cut: Cut, count: int) -> str:
    if cut.length is None:
        return (
            f"{name}: windows of {plural(cut.rows or 0, 'row')} give {plural(count, 'window')}, expected "
            f"{ENOUGH_WINDOWS} or more: choose fewer rows a window"
        )
    return (
        f"{name}: windows of {short(cut.length)} give {plural(count, 'window')}, expected {ENOUGH_WINDOWS} or more (at "
        f"least {FEWEST_WINDOWS}): choose shorter windows, or compare without a timestamp"
    )


def _clocks(found: Profiles) -> dict[str, str]:
    """Return columns that only rise or only fall from window to window, such as dates and counters."""
    windows = list(found.windows.values())
    clocks = {}
    for name, first in windows[0].items() if len(windows) >= FEWEST_WINDOWS else ():
        if first.kind != "ordered":
            continue
        low = np.array([window[name].minimum for window in windows])
        high = np.array([window[name].maximum for window in windows])
        known = low <= high
        low, high = low[known], high[known]
        rises = (low[1:] >= high[:-1]).all() and np.count_nonzero(low[1:] > high[:-1]) >= FEWEST_WINDOWS
        falls = (high[1:] <= low[:-1]).all() and np.count_nonzero(high[1:] < low[:-1]) >= FEWEST_WINDOWS
        if rises or falls:
            clocks[name] = "rises or falls from window to window, as clocks and counters do; name it to compare it"
    return clocks


def _without(found: Profiles, names: Collection[str]) -> Profiles:
    def kept(window: Mapping[str, ColumnProfile]) -> dict[str, ColumnProfile]:
        return {name: column for name, column in window.items() if name not in names}

    return replace(found, windows={k: kept(w) for k, w in found.windows.items()}, total=kept(found.total))
