"""Computes all aggregations of a view for (entity, moment) pairs from its rows. Used by point_in_time.

One function for training sets, materialised timelines and stand-alone joins: there is no second definition of a
feature that could differ from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from trimtab.definitions import Aggregation, FeatureView
from trimtab.features.kinds import Array
from trimtab.features.queries import Picks, Queries
from trimtab.features.timelines import EntityRows
from trimtab.features.windows import floor_to, window_of


class Column(Protocol):
    """A column of the source as float64, NaN for null."""

    def whole(self) -> Array:
        """Return all values by index in the table."""
        ...

    def pick(self, picks: Picks) -> Array:
        """Return the picked values by query, NaN for none."""
        ...


class Values(Protocol):
    """The columns of the source."""

    def columns(self, names: Iterable[str]) -> Iterable[tuple[str, Column]]:
        """Return each column once, in any order."""
        ...


def aggregate(view: FeatureView, rows: EntityRows, values: Values, entities: Array, at: Array) -> dict[str, Array]:
    """Return the view's features at (entity, t), by aggregation name: float64, NaN for null, shape (queries,).

    entities: numbers as in `rows`; nobody has a number behind the last. at: int64 microseconds.
    """
    queries = Queries.of(rows, entities, floor_to(at, view.every_micros))
    found: dict[str, Array] = {}
    by_column: dict[str, list[Aggregation]] = {}
    for aggregation in view.aggregations:
        if aggregation.column is None:
            found[aggregation.name] = queries.counts(window_of(view, aggregation))
        else:
            by_column.setdefault(aggregation.column, []).append(aggregation)
    for name, column in values.columns(by_column):
        windows = {a: window_of(view, a) for a in by_column[name]}
        numbers = {a: window for a, window in windows.items() if a.kind != "last"}
        found.update((a.name, column.pick(queries.last(w))) for a, w in windows.items() if a.kind == "last")
        if numbers:
            found.update(queries.summaries(column.whole(), numbers))
    return {a.name: found[a.name] for a in view.aggregations}
