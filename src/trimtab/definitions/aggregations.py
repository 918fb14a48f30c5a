"""Aggregations: one feature each, and the functions that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from trimtab import units
from trimtab.definitions import row_filter
from trimtab.definitions.arguments import check_name, check_text, duration
from trimtab.errors import DefinitionError, nearest

AggregationKind = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "last",
    "first",
    "distinct",
    "quantile",
    "std",
    "decayed_mean",
    "decayed_sum",
    "decayed_count",
    "since_last",
    "ratio",
    "difference",
]
PICKS = ("first", "last")
"""Kinds that take the value of one row, of any type."""
DECAYED = ("decayed_mean", "decayed_sum", "decayed_count")
DERIVED = ("ratio", "difference")
"""Kinds that combine two other features."""
CONTINUOUS = ("decayed_sum", "decayed_count", "since_last")
"""Kinds whose value changes all the time, without any row."""
ZERO_IF_EMPTY = ("count", "distinct", "decayed_count")
"""Kinds that are 0 without rows; all others are null."""


@dataclass(frozen=True)
class Aggregation:
    """One feature: an aggregate of one column (None for count) over one window (None: without limit).

    where: canonical filter; only rows that fulfil it count. arg: level of a quantile, half-life (microseconds) of a
    decayed kind. name_: a name in place of the usual one. of: the two features of a ratio or difference.
    """

    kind: AggregationKind
    column: str | None
    window: int | None
    """Length in microseconds; a row at t counts for times in [t, t + window)."""
    where: str | None = None
    arg: float | int | None = None
    name_: str | None = None
    of: tuple[Aggregation, ...] = ()

    @property
    def name(self) -> str:
        """Name of the feature: late_mean_7d, count_1d; `last` without a window is the column's own name."""
        if self.name_ is not None:
            return self.name_
        if self.kind in DERIVED:
            return f"{self.of[0].name}_{'over' if self.kind == 'ratio' else 'minus'}_{self.of[1].name}"
        kind: str | None = self.kind
        if self.kind == "last" and self.window is None:
            kind = None
        elif self.kind == "quantile":
            kind = f"p{100 * float(self.arg or 0):g}".replace(".", "_")
        length = int(self.arg or 0) if self.kind in DECAYED else self.window
        parts = [self.column, kind, units.short(length) if length is not None else None]
        if self.where is not None:
            parts.append(f"where_{row_filter.in_words(self.where)}")
        return "_".join(part for part in parts if part)

    @property
    def continuous(self) -> bool:
        """Whether the value changes with time alone, so that it is finished when it is read."""
        return self.kind in CONTINUOUS or any(each.continuous for each in self.of)

    @property
    def leaves(self) -> tuple[Aggregation, ...]:
        """What is computed from rows for it, without names: itself, or the parts of a ratio or difference."""
        if self.of:
            return tuple(leaf for each in self.of for leaf in each.leaves)
        return (self if self.name_ is None else replace(self, name_=None),)

    def spec(self) -> list[Any]:
        """Return it as plain values; what has its default is left out, so that older specs keep their hashes."""
        more = {
            "where": self.where,
            "arg": self.arg,
            "name": self.name_,
            "of": [each.spec() for each in self.of] or None,
        }
        given = {name: value for name, value in more.items() if value is not None}
        return [self.kind, self.column, self.window, *([given] if given else [])]

    @classmethod
    def of_spec(cls, spec: Sequence[Any]) -> Aggregation:
        """Return the aggregation of a spec.

        Raises:
            DefinitionError: this release does not know its kind.
        """
        kind, column, window, *rest = spec
        more = rest[0] if rest else {}
        if kind not in get_args(AggregationKind):
            raise DefinitionError(
                f"this release knows no aggregation '{kind}'.{nearest(kind, get_args(AggregationKind))}"
            )
        of = tuple(cls.of_spec(each) for each in more.get("of", ()))
        return cls(kind, column, window, more.get("where"), more.get("arg"), more.get("name"), of)


def count(*windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features that count the rows of windows; 0 for a window without rows.

    Args:
        windows: durations, such as "1d".
        where: a condition on columns of the row, such as "channel == 'web'"; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.count("1d", "7d")]
    ['count_1d', 'count_7d']
    >>> [feature.name for feature in tt.count("1d", where="amount > 100")]
    ['count_1d_where_amount_gt_100']
    """
    if not windows:
        raise DefinitionError("count() needs at least one window, for example count('1d')")
    return _many("count", None, windows, where=where, name=name)


def sum_(column: str, *windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the sum of a column over windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.sum("amount", "7d")]
    ['amount_sum_7d']
    """
    return _aggregate("sum", column, windows, where=where, name=name)


def mean(column: str, *windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the mean of a column over windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.mean("late", "7d", "30d")]
    ['late_mean_7d', 'late_mean_30d']
    """
    return _aggregate("mean", column, windows, where=where, name=name)


def min_(column: str, *windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the smallest value of a column in windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.min("temperature", "1d")]
    ['temperature_min_1d']
    """
    return _aggregate("min", column, windows, where=where, name=name)


def max_(column: str, *windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the largest value of a column in windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.max("temperature", "1d")]
    ['temperature_max_1d']
    """
    return _aggregate("max", column, windows, where=where, name=name)


def last(
    *columns: str, window: str | None = None, where: str | None = None, name: str | None = None
) -> list[Aggregation]:
    """Return features with the latest value of columns, by timestamp among the rows that were known; it may be null.

    Args:
        columns: columns of the view's source: numbers, booleans, text, dates or timestamps.
        window: a duration, such as "3h"; without it the latest row has no age limit but the view's ttl.
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one column alone.

    Raises:
        DefinitionError: no column is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.last("wind", "rain", window="3h")]
    ['wind_last_3h', 'rain_last_3h']
    """
    return _picks("last", columns, window, where=where, name=name)


def first(
    *columns: str, window: str | None = None, where: str | None = None, name: str | None = None
) -> list[Aggregation]:
    """Return features with the earliest value of columns, by timestamp among the rows that were known; it may be null.

    Args:
        columns: columns of the view's source: numbers, booleans, text, dates or timestamps.
        window: a duration, such as "3h": the earliest row in it; without it the earliest of all, or in the view's ttl.
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one column alone.

    Raises:
        DefinitionError: no column is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.first("channel")]
    ['channel_first']
    """
    return _picks("first", columns, window, where=where, name=name)


def distinct(column: str, *windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the exact number of different values of a column in windows; 0 for a window without values.

    Args:
        column: a column of the view's source: numbers, booleans, text, dates or timestamps. Null and NaN are no values.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.distinct("merchant", "7d")]
    ['merchant_distinct_7d']
    """
    return _aggregate("distinct", column, windows, where=where, name=name)


def quantile(
    column: str, q: float, *windows: str, where: str | None = None, name: str | None = None
) -> list[Aggregation]:
    """Return features with an exact quantile of a column over windows; null for a window without values.

    Between two values it is interpolated linearly, as numpy.quantile does by default.

    Args:
        column: a numeric column of the view's source.
        q: level from 0 to 1; 0.5 is the median.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.quantile("amount", 0.95, "7d")]
    ['amount_p95_7d']
    """
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
        raise DefinitionError(f"quantile('{column}'): q is {q!r}; expected a number from 0 to 1, such as 0.95")
    return _aggregate("quantile", column, windows, where=where, name=name, arg=float(q), shown=f"'{column}', {q}")


def std(column: str, *windows: str, where: str | None = None, name: str | None = None) -> list[Aggregation]:
    """Return features with the standard deviation of a column over windows; null for fewer than two values.

    It is that of a sample (n - 1), as in SQL and pandas, computed exactly and rounded once, as statistics.stdev does.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".
        where: a condition on columns of the row; only rows that fulfil it count.
        name: name of the feature in place of the usual one; for one window alone.

    Raises:
        DefinitionError: no window is given, or an argument is wrong.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.std("amount", "30d")]
    ['amount_std_30d']
    """
    return _aggregate("std", column, windows, where=where, name=name)


def _aggregate(
    kind: AggregationKind,
    column: str,
    windows: Sequence[str],
    *,
    where: str | None,
    name: str | None,
    arg: float | None = None,
    shown: str = "",
) -> list[Aggregation]:
    check_text(f"{kind}: column", column, "late")
    if not windows:
        given = shown or f"'{column}'"
        raise DefinitionError(f"{kind}({given}) needs at least one window, for example {kind}({given}, '7d')")
    return _many(kind, column, windows, where=where, name=name, arg=arg)


def _picks(
    kind: AggregationKind, columns: Sequence[str], window: str | None, *, where: str | None, name: str | None
) -> list[Aggregation]:
    if not columns:
        raise DefinitionError(f"{kind}() needs at least one column, for example {kind}('wind_speed')")
    for column in columns:
        check_text(f"{kind}: column", column, "wind_speed")
    check_one(kind, name, len(columns))
    size = None if window is None else duration(kind, window)
    return [made(kind, column, size, where=where, name=name) for column in columns]


def _many(
    kind: AggregationKind,
    column: str | None,
    windows: Sequence[str],
    *,
    where: str | None,
    name: str | None,
    arg: float | None = None,
) -> list[Aggregation]:
    check_one(kind, name, len(windows))
    return [made(kind, column, duration(kind, w), where=where, name=name, arg=arg) for w in windows]


def made(
    kind: AggregationKind,
    column: str | None,
    window: int | None,
    *,
    where: str | None,
    name: str | None,
    arg: float | int | None = None,
) -> Aggregation:
    """Return an aggregation with its filter in canonical spelling. Raises DefinitionError for what is no filter."""
    condition = None if where is None else row_filter.canonical(kind, where)
    return Aggregation(kind, column, window, condition, arg, name)


def check_one(kind: str, name: str | None, features: int) -> None:
    """Check the name of a feature, which several features cannot share. Raises DefinitionError."""
    if name is None:
        return
    check_name(f"{kind}: feature", name)
    if features != 1:
        raise DefinitionError(f"{kind}: name='{name}' is one name for {features} features; make them one by one")
