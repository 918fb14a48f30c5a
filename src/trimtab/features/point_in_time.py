"""Computes features as they could be known at given times.

A source row with timestamp ts that became known at k counts for time t when max(ts, k) <= t < ts + window; in a view
with window_by="known_at" when max(ts, k) <= t < max(ts, k) + window.
Moments are first rounded down to a multiple of the view's `every`. A row without timestamp or known_at never counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from trimtab.definitions.views import FeatureView
from trimtab.errors import DataError, nearest
from trimtab.features.aggregates import aggregate
from trimtab.features.table_columns import NEVER, micros
from trimtab.features.timelines import EntityRows
from trimtab.features.value_types import Array
from trimtab.features.view_rows import Rows, distinct_keys, exact_types, numbers_of, read_rows
from trimtab.features.view_windows import floor_to

_PHYSICAL: dict[Any, Any] = {pl.Date: pl.Int32, pl.Datetime("us", "UTC"): pl.Int64}
"""Type of a column of times -> that of its numbers."""


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
    numbered = distinct_keys(view, keys.select(view.entity.keys))
    entities = numbers_of(view, keys.select(view.entity.keys), numbered)
    timeless = at == NEVER
    moments = np.where(timeless, 0, at)
    asked = floor_to(moments[~timeless], view.every_micros)
    first, last = (int(asked.min()), int(asked.max())) if len(asked) else (0, 0)
    found = read_rows(view, rows, numbered, first=first, last=last)
    rows_of = EntityRows.of(found.entities, numbered.height, found.times, found.known, found.chosen)
    values = aggregate(view, rows_of, found, entities, moments)
    columns = []
    types = exact_types(view, rows.lazy().collect_schema())
    for name in list(values):
        column = values.pop(name)  # so that there are never two copies of all columns in memory
        full, exact = f"{view.name}__{name}", column.dtype == object
        column[timeless] = None if exact else np.nan
        if exact:
            columns.append(pl.Series(full, column.tolist(), dtype=_PHYSICAL.get(types[full])).cast(types[full]))
        else:
            columns.append(pl.Series(full, column, nan_to_null=True))
    return pl.DataFrame(columns)


def point_in_time_join(labels: pl.DataFrame, views: Sequence[tuple[FeatureView, Rows]], *, at: str) -> pl.DataFrame:
    """Return `labels` with the features of each view as they could be known at each row's time.

    Args:
        labels: a frame with the key columns of all views; every row is kept, in its order.
        views: pairs of a view and the rows of its source.
        at: the column of `labels` with the time (a datetime); a row with null there gets null features.

    Returns:
        `labels` with further float64 columns named `view__feature`.

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
    _check_labels(labels, [at, *(key for view, _ in views for key in view.entity.keys)])
    moments = micros(labels[at], where="point_in_time_join")
    joined = [labels]
    for view, rows in views:
        taken = [name for frame in joined for name in frame.columns if name in view.feature_names]
        if taken:
            raise DataError(f"column '{taken[0]}' exists already; rename it, or list view '{view.name}' only once")
        joined.append(view_values(view, rows, labels, moments))
    return pl.concat(joined, how="horizontal")


def _check_labels(labels: pl.DataFrame, needed: Sequence[str]) -> None:
    for column in needed:
        if column not in labels.columns:
            raise DataError(f"the labels have no column '{column}'.{nearest(column, labels.columns)}")
