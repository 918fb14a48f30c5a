"""Writes a view's values into the online store as timelines: a value and the time from which on it holds.

A timeline has an entry at every time at which a value can change: when a row becomes known and when it leaves a
window. For rows known by `until`, entries after `until` are written, too. So a read after `until` returns what the rows
known by `until` give at that time, and values expire even if materialization has stopped.

A later run continues at the watermark: it writes the changes of the entities that have new rows. That alone would miss
a row that arrives only after the watermark has passed its effective time. So each run stores how many rows of every
entity were known; the next run counts again, and writes the whole timeline of each entity for which the count at the
watermark has changed. Rows are only ever added, so every entry that was written before is written again. After the
rows of a table were replaced, all timelines are written anew (`full`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from trimtab.clock import from_micros, to_micros
from trimtab.definitions.views import FeatureView
from trimtab.errors import UsageError
from trimtab.features.aggregates import aggregate
from trimtab.features.packing import KNOWN_ROWS, pack, pack_counts, table_of, unpack_counts
from trimtab.features.table_columns import encode_keys
from trimtab.features.timelines import EntityRows
from trimtab.features.value_types import Array
from trimtab.features.view_rows import ENTITY, Rows, ViewRows, choose_rows, distinct_keys, read_moments
from trimtab.features.view_windows import ceil_to, finite_windows
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.online.contract import Entry, Online

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

READ_AT_ONCE = 4096
"""Entities whose number of known rows is read in one round trip."""

BEGINNING = np.iinfo(np.int64).min // 2
"""A time before all rows from which a window can be subtracted without overflow."""

log = logging.getLogger(__name__)


def materialize(
    view: FeatureView,
    rows: Rows,
    online: Online,
    *,
    until: int,
    since: int | None = None,
    full: bool = False,
    replaced: Array | None = None,
) -> int:
    """Write the view's timelines up to `until`.

    Idempotent; several runs give the same timelines as one. An `until` before the watermark changes nothing.

    Args:
        view: the view.
        rows: the table of its source; a LazyFrame must give the same rows in the same order each time it is collected.
        online: the store.
        until: microseconds since the epoch; becomes the watermark.
        since: if before the watermark, all changes after this time (microseconds) are written again.
        full: all timelines are written anew and replace the stored ones.
        replaced: row numbers from 0, as `corrections.replaced` returns them. Values are computed without these rows.
            They still count as times of change and as known rows, so a correction is noticed like any late row. An
            entity that loses a row to another entity by a correction is written again from the beginning.

    Returns:
        The number of entries that changed the store.

    Raises:
        DefinitionError: a column is missing or has a wrong type.
        UsageError: `since` or `full` is given, and `until` lies before the watermark.
    """
    watermark = online.watermark(view.version_id)
    if watermark is not None and until < watermark:
        if full or since is not None:
            raise UsageError(
                f"view '{view.name}' is materialized up to {watermark} already; expected `until` at or after that, "
                f"not {until}"
            )
        return 0
    known = _known_rows(view, rows.lazy(), until=until, replaced=replaced)
    recounted = np.full(len(known.keys), True)
    entries: list[Iterable[Entry]] = []
    if watermark is None or full:
        entries.append(_entries(known, known.rows, since=None, skip_repeats=True))
    elif since is not None:
        entries.append(_entries(known, known.rows, since=min(since, watermark), skip_repeats=False))
    else:
        late, grown, corrected = _compare_counts(known, online, watermark)
        if late.any():
            log.warning(
                "view '%s': %d of %d entities have new rows for times that are materialized already; all values of "
                "these entities are written again",
                view.name,
                late.sum(),
                len(late),
            )
        if (again := late | corrected).any():
            entries.append(_entries(known, known.rows.only(again[known.rows.entities]), since=None, skip_repeats=False))
        lasting = grown[known.rows.entities] & known.rows.lasting(watermark)
        entries.append(_entries(known, known.rows.only(lasting), since=watermark, skip_repeats=True))
        recounted = again | grown
    rows_of, replaced_of = known.counts(until)
    entries.append(
        (KNOWN_ROWS + known.keys[n], until, pack_counts(int(rows_of[n]), int(replaced_of[n])))
        for n in np.flatnonzero(recounted)
    )
    return online.write(view.version_id, chain(*entries), until=until, replace=full)


def last_known(view: FeatureView, rows: pl.LazyFrame) -> int:
    """Return the latest time at which a row of the source becomes known and can count.

    Args:
        view: the view.
        rows: the table of its source.

    Returns:
        Microseconds since the epoch, 0 without rows.
    """
    last = rows.select(_effective(view).max()).collect().item()
    return 0 if last is None else to_micros(last)


def any_known(view: FeatureView, rows: pl.LazyFrame, *, after: int, until: int) -> bool:
    """Return True if a row of the source becomes known in (after, until], both microseconds since the epoch."""
    between = _effective(view).is_between(from_micros(after), from_micros(until), closed="right")
    return bool(rows.select(between.any()).collect().item())


def _effective(view: FeatureView) -> pl.Expr:
    """Return the time from which on a row can count, null if it never does."""
    times = [pl.col(name).cast(pl.Datetime("us", "UTC")) for name in (view.source.timestamp, view.source.known_column)]
    return pl.when(pl.all_horizontal(time.is_not_null() for time in times)).then(pl.max_horizontal(times))


@dataclass(frozen=True)
class _Known:
    """The rows known by `until`, and the encoded keys of the entities by number. effective: microseconds by row."""

    rows: ViewRows
    keys: list[bytes]
    effective: Array
    replaced: Array | None = None

    def standing(self, rows: ViewRows) -> ViewRows:
        """Return the rows that no other row replaces."""
        if self.replaced is None or not len(self.replaced):
            return rows
        return rows.only(~self._is_replaced(rows))

    def counts(self, moment: int) -> tuple[Array, Array]:
        """Return for each entity how many rows were known by a given time, and how many of them are replaced."""
        entities, by_then = self.rows.entities, self.effective <= moment
        gone = entities[by_then & self._is_replaced(self.rows)]
        size = len(self.keys)
        return np.bincount(entities[by_then], minlength=size), np.bincount(gone, minlength=size)

    def _is_replaced(self, rows: ViewRows) -> Array:
        places = np.arange(len(rows.times)) if rows.chosen is None else rows.chosen
        return np.isin(places, np.empty(0, dtype=np.int64) if self.replaced is None else self.replaced)


def _known_rows(view: FeatureView, source: pl.LazyFrame, *, until: int, replaced: Array | None) -> _Known:
    moments = read_moments(view, source)
    numbered = distinct_keys(view, moments.select(view.entity.keys))
    rows = choose_rows(view, source, moments, numbered, first=BEGINNING, last=until)
    rows = rows.only(np.maximum(rows.times, rows.known) <= until)
    return _Known(rows, encode_keys(numbered.drop(ENTITY)), np.maximum(rows.times, rows.known), replaced)


def _compare_counts(known: _Known, online: Online, watermark: int) -> tuple[Array, Array, Array]:
    """Compare the number of known rows of each entity with what the last run stored.

    Returns three bool arrays by entity: another number of rows was known by the watermark; only rows after the
    watermark are new; no row is new, but one was replaced by a correction.
    """
    prefix = online.prefix(known.rows.view.version_id)
    stored: list[tuple[int, int]] = []
    for first in range(0, len(known.keys), READ_AT_ONCE):
        wanted = [(prefix, KNOWN_ROWS + key) for key in known.keys[first : first + READ_AT_ONCE]]
        stored += [unpack_counts(value) for value in online.read(wanted, watermark)]
    stored_rows, stored_replaced = np.array(stored, dtype=np.int64).reshape(-1, 2).T
    before, replaced = known.counts(watermark)
    late = before != stored_rows
    grown = (np.bincount(known.rows.entities, minlength=len(known.keys)) > before) & ~late
    return late, grown, (replaced != stored_replaced) & ~late & ~grown


def _entries(known: _Known, rows: ViewRows, *, since: int | None, skip_repeats: bool) -> Iterator[Entry]:
    """Compute the entries after `since` of the entities of `rows`, which holds all of their rows that still count.

    skip_repeats: leave out values equal to the previous one, except where an earlier run may have written another one.
    """
    view = rows.view
    points = _changes(view, rows.entities, rows.times, rows.known, since=since)
    standing = known.standing(rows)
    ordered = EntityRows.of(standing.entities, len(known.keys), standing.times, standing.known, standing.chosen)
    columns = list(aggregate(view, ordered, standing, points.entities, points.moments).values())
    table, exact = table_of(columns), {n: column for n, column in enumerate(columns) if column.dtype == object}
    kept = ~_repeats(points, table, exact) | points.settled if skip_repeats else np.full(len(table), True)
    keys = known.keys
    owners = [keys[entity] for entity in points.entities[kept].tolist()]
    exact_kept = {place: column[kept] for place, column in exact.items()}
    yield from zip(owners, points.moments[kept].tolist(), pack(table[kept], exact_kept), strict=True)


@dataclass(frozen=True)
class _Changes:
    """Times at which values can change, each once, sorted by (entity, time); arrays of shape (n,).

    settled: bool; a row known by `since` changes a value at this time, so an earlier run may have written it.
    """

    entities: Array
    moments: Array
    settled: Array


def _changes(view: FeatureView, entities: Array, times: Array, known: Array, *, since: int | None) -> _Changes:
    """Return all times after `since` (None: all) at which one of the rows enters or leaves a window.

    entities: int64 by row. times, known: microseconds by row. Moments are rounded up to a multiple of `every`.
    """
    effective = np.maximum(times, known)
    moments, owners, sources = [effective], [entities], [effective]
    for window in finite_windows(view):
        counted = effective < times + window
        moments.append(times[counted] + window)
        owners.append(entities[counted])
        sources.append(effective[counted])
    points = pl.DataFrame(
        {
            "entity": np.concatenate(owners),
            "moment": ceil_to(np.concatenate(moments), view.every_micros),
            "settled": np.concatenate(sources) <= (since if since is not None else np.iinfo(np.int64).min),
        }
    )
    if since is not None:
        points = points.filter(pl.col("moment") > since)
    points = points.group_by("entity", "moment").agg(pl.col("settled").any()).sort("entity", "moment")
    return _Changes(*(points[name].to_numpy() for name in ("entity", "moment", "settled")))


def _repeats(points: _Changes, table: Array, exact: Mapping[int, Array]) -> Array:
    """Return for each entry whether it equals the previous one of the same entity. exact: columns of objects."""
    repeats = np.zeros(len(table), dtype=bool)
    raw = table.view(np.int64)
    repeats[1:] = (points.entities[1:] == points.entities[:-1]) & (raw[1:] == raw[:-1]).all(axis=1)
    for column in exact.values():
        repeats[1:] &= (column[1:] == column[:-1]).astype(bool)
    return repeats
