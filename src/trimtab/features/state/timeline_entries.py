"""Computes the timelines of a view: values, and the times from which on they hold.

A timeline has an entry at every time at which the value changes: when a row becomes known and when it leaves a window.
For rows known by `until`, entries after `until` are computed, too. So a read after `until` returns what the rows known
by `until` give at that time, and values expire even if no step follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.definitions.views import FeatureView
from trimtab.features.aggregates import stored_columns
from trimtab.features.continuous import Layout
from trimtab.features.packing import pack, table_of
from trimtab.features.timelines import EntityRows, in_order
from trimtab.features.value_types import Array
from trimtab.features.view_rows import ViewRows
from trimtab.features.view_windows import ceil_to, finite_windows
from trimtab.stores.online.contract import Entry


def timeline_entries(
    rows: ViewRows,
    keys: Sequence[bytes],
    *,
    since: Array | None = None,
    before: Sequence[bytes | None] | None = None,
) -> Iterator[Entry]:
    """Return the entries of some entities, from a time on.

    Args:
        rows: the rows that count at some time from then on, in the order of the table.
        keys: encoded key of each entity by number.
        since: by entity, microseconds; None: from the beginning.
        before: by entity the packed value that holds just before `since`, None where nothing does. An entry that
            equals the one before it is left out.

    Yields:
        Entries, sorted by the entity's number and time.
    """
    view = rows.view
    points = _changes(view, rows.entities, rows.times, rows.known, since=since)
    ordered = EntityRows.of(rows.entities, len(keys), rows.times, rows.known, rows.chosen)
    columns = stored_columns(Layout(view), ordered, rows, points.entities, points.moments)
    table, exact = table_of(columns), {n: column for n, column in enumerate(columns) if column.dtype == object}
    kept = ~_repeats(points, table, exact)
    owners = points.entities[kept]
    exact_kept = {place: column[kept] for place, column in exact.items()}
    packed = pack(table[kept], exact_kept)
    entries = zip(owners.tolist(), points.moments[kept].tolist(), packed, strict=True)
    latest = -1
    for owner, moment, value in entries:
        if owner == latest or before is None or before[owner] != value:
            yield keys[owner], moment, value
        latest = owner


@dataclass(frozen=True)
class _Changes:
    """Times at which values can change, each once, sorted by (entity, time); arrays of shape (n,)."""

    entities: Array
    moments: Array


def _changes(view: FeatureView, entities: Array, times: Array, known: Array, *, since: Array | None) -> _Changes:
    """Return all times from `since` on (by entity; None: all) at which one of the rows enters or leaves a window.

    entities: int64 by row. times, known: microseconds by row. Moments are rounded up to a multiple of `every`.
    """
    effective = np.maximum(times, known)
    moments, owners = [effective], [entities]
    for window in finite_windows(view):
        counted = effective < times + window
        moments.append(times[counted] + window)
        owners.append(entities[counted])
    points, of = ceil_to(np.concatenate(moments), view.every_micros), np.concatenate(owners)
    if since is not None:
        kept = points >= since[of]
        points, of = points[kept], of[kept]
    order = in_order(of, points, points)
    points, of = points[order], of[order]
    first = np.append(True, (points[1:] != points[:-1]) | (of[1:] != of[:-1]))[: len(points)]
    return _Changes(of[first], points[first])


def _repeats(points: _Changes, table: Array, exact: Mapping[int, Array]) -> Array:
    """Return for each entry whether it equals the previous one of the same entity. exact: columns of objects."""
    repeats = np.zeros(len(table), dtype=bool)
    raw = table.view(np.int64)
    repeats[1:] = (points.entities[1:] == points.entities[:-1]) & (raw[1:] == raw[:-1]).all(axis=1)
    for column in exact.values():
        repeats[1:] &= (column[1:] == column[:-1]).astype(bool)
    return repeats
