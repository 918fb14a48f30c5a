"""Computes features as they could be known at given times.

A source row with timestamp ts that became known at k counts for time t when max(ts, k) <= t < ts + window; in a view
with window_by="known_at" when max(ts, k) <= t < max(ts, k) + window.
Moments are first rounded down to a multiple of the view's `every`. A row without timestamp or known_at never counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trimtab.definitions.views import FeatureView, Selection
from trimtab.errors import DataError, DefinitionError, nearest
from trimtab.features.aggregates import aggregate
from trimtab.features.table_columns import NEVER, micros, require
from trimtab.features.timelines import EntityRows
from trimtab.features.value_types import Array
from trimtab.features.view_rows import Rows, distinct_keys, exact_types, numbers_of, read_rows, value_columns
from trimtab.features.view_windows import floor_to
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")


def view_values(view: FeatureView, rows: Rows, keys: pl.DataFrame, at: Array) -> pl.DataFrame:
    """Return the view's features for each (entity, time).

    Args:
        view: the view.
        rows: the table of its source; a LazyFrame must give the same rows in the same order each time it is collected.
        keys: the entity's key columns, n rows.
        at: int64 microseconds since the epoch, shape (n,); NEVER gives nulls.

    Returns:
        A frame of n rows in the given order: columns named as `view.feature_names`, float64 but for the latest texts,
        dates and timestamps. An entity that is null or
        unknown has count 0 and null in the other features.

    Raises:
        DefinitionError: a column is missing or has a wrong type.
    """
    rows = rows_of_view(view, rows)
    numbered = distinct_keys(view, keys.select(view.entity.keys))
    entities = numbers_of(view, keys.select(view.entity.keys), numbered)
    timeless = at == NEVER
    moments = np.where(timeless, 0, at)
    asked = floor_to(moments[~timeless], view.every_micros)
    first, last = (int(asked.min()), int(asked.max())) if len(asked) else (0, 0)
    found = read_rows(view, rows, numbered, first=first, last=last)
    by_entity = EntityRows.of(found.entities, numbered.height, found.times, found.known, found.chosen)
    values = aggregate(view, by_entity, found, entities, moments)
    columns = []
    types = exact_types(view, rows.lazy().collect_schema())
    for name in list(values):
        column = values.pop(name)  # so that there are never two copies of all columns in memory
        full, exact = f"{view.name}__{name}", column.dtype == object
        column[timeless] = None if exact else np.nan
        if exact:
            physical = {pl.Date: pl.Int32, pl.Datetime("us", "UTC"): pl.Int64}.get(types[full])
            columns.append(pl.Series(full, column.tolist(), dtype=physical).cast(types[full]))
        else:
            columns.append(pl.Series(full, column, nan_to_null=True))
    return pl.DataFrame(columns)


def rows_of_view(view: FeatureView, rows: Rows, without: Array | None = None) -> pl.LazyFrame:
    """Return the rows that a view aggregates: those of its source, or of a view with its features.

    A view over a view gets for each row of the source the features of that view at the time from which the row counts:
    of the row's entity, the row itself included. Columns have the short names of the features.

    Args:
        view: the view.
        rows: the table of its source.
        without: numbers of rows that do not count, because others replace them; they stay in the table.

    Raises:
        DefinitionError: a feature has the name of a column, or a column is missing.
    """
    table = rows.lazy()
    if view.over is None:
        return table
    inner, source = view.over, view.source
    wanted = set(value_columns(view))
    names = [name for name in (a.name for a in inner.aggregations) if name in wanted]
    if not names:
        return table
    for name in set(names) & set(table.collect_schema()):
        raise DefinitionError(
            f"FeatureView '{view.name}': '{name}' is a column of source '{source.name}' and a feature of view "
            f"'{inner.name}'; give the feature another name: name='...'"
        )
    needed = list(dict.fromkeys([*inner.entity.keys, source.timestamp, source.known_column]))
    require(table.collect_schema(), needed, source=source.name, needed_by=f"FeatureView '{inner.name}'")
    frame = table.select(needed).collect()
    where = f"FeatureView '{inner.name}', source '{source.name}'"
    counts_from = np.maximum(*(micros(frame[name], where=where) for name in (source.timestamp, source.known_column)))
    kept = np.full(frame.height, True)
    kept[np.empty(0, dtype=np.int64) if without is None else without] = False
    made = view_values(inner, table.filter(pl.Series(kept)), frame, counts_from)
    short = made.select(pl.col(f"{inner.name}__{name}").alias(name) for name in names)
    return pl.concat([table, short.lazy()], how="horizontal")


def point_in_time_join(
    labels: pl.DataFrame, views: Sequence[tuple[FeatureView | Selection, Rows]], *, at: str
) -> pl.DataFrame:
    """Return `labels` with the features of each view as they could be known at each row's time.

    Args:
        labels: a frame with the key columns of all views; every row is kept, in its order.
        views: pairs of a view, or some of its features as view[["a", "b"]], and the rows of its source.
        at: the column of `labels` with the time (a datetime); a row with null there gets null features.

    Returns:
        `labels` with further columns named `view__feature`: float64, but for texts, dates and timestamps of rows.

    Raises:
        DataError: `labels` lacks a column, or has one of the new ones already.
        DefinitionError: a view's source lacks a column or has one of a wrong type.

    >>> import polars as pl, trimtab as tt
    >>> from datetime import datetime
    >>> weather = tt.FileSource("weather", "weather.parquet", timestamp="observed_at")
    >>> wind = tt.FeatureView("wind", tt.Entity("origin"), weather, [tt.mean("speed", "1h")])
    >>> rows = pl.DataFrame({"origin": ["JFK"], "observed_at": [datetime(2013, 1, 1, 9)], "speed": [4.0]})
    >>> labels = pl.DataFrame({"origin": ["JFK", "JFK"], "t": [datetime(2013, 1, 1, 8), datetime(2013, 1, 1, 9)]})
    >>> point_in_time_join(labels, [(wind, rows)], at="t")["wind__speed_mean_1h"].to_list()
    [None, 4.0]
    """
    chosen = [(each.view if isinstance(each, Selection) else each, each.feature_names, rows) for each, rows in views]
    _check_labels(labels, [at, *(key for view, _, _ in chosen for key in view.entity.keys)])
    moments = micros(labels[at], where="point_in_time_join")
    joined = [labels]
    for view, names, rows in chosen:
        taken = [name for frame in joined for name in frame.columns if name in names]
        if taken:
            raise DataError(f"column '{taken[0]}' exists already; rename it, or list view '{view.name}' only once")
        joined.append(view_values(view, rows, labels, moments).select(names))
    return pl.concat(joined, how="horizontal")


def _check_labels(labels: pl.DataFrame, needed: Sequence[str]) -> None:
    for column in needed:
        if column not in labels.columns:
            raise DataError(f"the labels have no column '{column}'.{nearest(column, labels.columns)}")
