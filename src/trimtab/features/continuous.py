"""Finishes features at the time of a read: those that change with time alone, and ratios and differences of them.

A decayed sum or the time since the last row has another value at each moment, so it cannot be stored as a timeline.
What is stored changes only when a row comes or goes:

since_last        the timestamp of the latest row, in microseconds
decayed_sum       (a, n): the sum as it would be n half-lives after 1970, n = floor(newest timestamp / half-life)
decayed_count     the same, with 1 as the value of each row

`Layout` says in which columns a view's values are stored, and `Layout.features` makes features of them. Training sets,
stand-alone joins and requests all use it. Timestamps are exact up to the year 2255, where microseconds pass 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from trimtab.definitions.aggregations import ZERO_IF_EMPTY, Aggregation
from trimtab.definitions.derived_features import combined
from trimtab.definitions.views import FeatureView
from trimtab.features.value_types import Array
from trimtab.features.view_windows import floor_to

SECOND = 1_000_000
"""Microseconds."""
NEVER_SEEN = 4000
"""Half-lives after which nothing is left of any float64: it has 2^2098 between its largest and its smallest number."""


class Layout:
    """The columns in which the values of a view are stored.

    They are the view's features in their order; a decayed sum or count takes two columns. Ratios and differences of
    continuous features take none; parts of them that are no features themselves follow at the end.
    """

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        own = [each for each in view.aggregations if not (each.of and each.continuous)]
        named = {_bare(each) for each in own}
        derived = [each for each in view.aggregations if each.of and each.continuous]
        hidden = dict.fromkeys(leaf for each in derived for leaf in each.leaves if leaf not in named)
        self.stored = (*own, *hidden)
        """What is stored, in order."""
        self.is_plain = not any(each.continuous for each in view.aggregations)
        """Whether stored values are the features themselves."""
        self.places: dict[Aggregation, int] = {}
        """First column of each stored aggregation, without its name."""
        self.width = 0
        """Number of columns."""
        for each in self.stored:
            self.places[_bare(each)] = self.width
            self.width += width_of(each)

    @cached_property
    def feature_places(self) -> tuple[int, ...]:
        """Column of each feature of the view; -1 for one that has none."""
        return tuple(self.places.get(_bare(each), -1) for each in self.view.aggregations)

    def columns(self, found: Mapping[Aggregation, tuple[Array, ...]]) -> list[Array]:
        """Return the stored columns. found: values of each of the view's leaves, as many as it has columns."""

        def value(aggregation: Aggregation) -> Array:
            if aggregation.of:
                return combined(aggregation.kind, value(aggregation.of[0]), value(aggregation.of[1]))  # type: ignore[no-any-return]  # of arrays
            return found[_bare(aggregation)][0]

        return [column for each in self.stored for column in ((value(each),) if each.of else found[_bare(each)])]

    def features(self, columns: Sequence[Array], at: Array) -> list[Array]:
        """Return the view's features, in order, from the stored columns.

        Args:
            columns: float64, shape (rows,), or objects of the latest texts and times.
            at: time of each row, int64 microseconds since the epoch.
        """
        if self.is_plain:
            return list(columns)
        moments = floor_to(at, self.view.every_micros)

        def value(aggregation: Aggregation) -> Array:
            place = self.places.get(_bare(aggregation))
            if place is None:
                return combined(aggregation.kind, value(aggregation.of[0]), value(aggregation.of[1]))  # type: ignore[no-any-return]  # of arrays
            if aggregation.kind == "since_last":
                return (moments - columns[place]) / SECOND
            if width_of(aggregation) == 2:
                return faded(columns[place], columns[place + 1], moments, int(aggregation.arg or 1))
            return columns[place]

        return [value(each) for each in self.view.aggregations]

    def empty(self) -> list[Array]:
        """Return the stored columns of an entity without rows, shape (1,)."""
        found = {
            leaf: tuple(np.array([0.0 if leaf.kind in ZERO_IF_EMPTY else np.nan]) for _ in range(width_of(leaf)))
            for leaf in self.view.leaves
        }
        return self.columns(found)


def width_of(aggregation: Aggregation) -> int:
    """Return in how many columns an aggregation is stored."""
    return 2 if aggregation.kind in ("decayed_sum", "decayed_count") else 1


def faded(value: Array, halvings: Array, at: Array, half_life: int) -> Array:
    """Return a decayed sum at a time.

    Args:
        value: the sum as it would be at `halvings` half-lives since the epoch, NaN for none.
        halvings: whole numbers as float64.
        at: microseconds since the epoch, not before that time.
        half_life: microseconds.
    """
    since = at - np.nan_to_num(halvings).astype(np.int64) * half_life
    whole = np.clip(since // half_life, 0, NEVER_SEEN)
    with np.errstate(all="ignore"):
        left: Array = np.ldexp(value * np.exp2(-(since % half_life) / half_life), -whole)
    return left


def _bare(aggregation: Aggregation) -> Aggregation:
    return aggregation if aggregation.name_ is None else replace(aggregation, name_=None)
