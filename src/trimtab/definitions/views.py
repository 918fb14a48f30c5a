"""Entities, aggregations and feature views."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trimtab import units
from trimtab.definitions.arguments import (
    check_columns,
    check_kind,
    check_name,
    check_text,
    duration,
    optional_duration,
)
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed

AggregationKind = Literal["count", "sum", "mean", "min", "max", "last"]
WindowBy = Literal["timestamp", "known_at"]


@dataclass(frozen=True)
class Entity(Placed):
    """A thing that features describe, identified by its key columns.

    Args:
        name: letters, digits and single underscores.
        keys: its key columns; empty for one column with the entity's name.

    Raises:
        DefinitionError: a name or a key is not valid.

    >>> import trimtab as tt
    >>> tt.Entity("carrier").keys
    ('carrier',)
    >>> tt.Entity("route", keys=["origin", "dest"]).keys
    ('origin', 'dest')
    """

    name: str
    keys: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name("Entity", self.name)
        keys = check_columns(f"Entity '{self.name}': keys", self.keys) or (self.name,)
        object.__setattr__(self, "keys", keys)


@dataclass(frozen=True)
class Aggregation:
    """One feature: an aggregate of one column (None for count) over one window (None: without limit)."""

    kind: AggregationKind
    column: str | None
    window: int | None
    """Length in microseconds; a row at t counts for times in [t, t + window)."""

    @property
    def name(self) -> str:
        """Name of the feature: late_mean_7d, count_1d; `last` without a window is the column's own name."""
        if self.kind == "last" and self.window is None:
            return str(self.column)
        parts = [self.column, self.kind, units.short(self.window) if self.window is not None else None]
        return "_".join(part for part in parts if part)


def count(*windows: str) -> list[Aggregation]:
    """Return features that count the rows of windows; 0 for a window without rows.

    Args:
        windows: durations, such as "1d".

    Raises:
        DefinitionError: no window is given, or one is not a duration.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.count("1d", "7d")]
    ['count_1d', 'count_7d']
    """
    if not windows:
        raise DefinitionError("count() needs at least one window, for example count('1d')")
    return [Aggregation("count", None, duration("count", w)) for w in windows]


def sum_(column: str, *windows: str) -> list[Aggregation]:
    """Return features with the sum of a column over windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".

    Raises:
        DefinitionError: no window is given, or one is not a duration.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.sum("amount", "7d")]
    ['amount_sum_7d']
    """
    return _aggregate("sum", column, windows)


def mean(column: str, *windows: str) -> list[Aggregation]:
    """Return features with the mean of a column over windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".

    Raises:
        DefinitionError: no window is given, or one is not a duration.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.mean("late", "7d", "30d")]
    ['late_mean_7d', 'late_mean_30d']
    """
    return _aggregate("mean", column, windows)


def min_(column: str, *windows: str) -> list[Aggregation]:
    """Return features with the smallest value of a column in windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".

    Raises:
        DefinitionError: no window is given, or one is not a duration.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.min("temperature", "1d")]
    ['temperature_min_1d']
    """
    return _aggregate("min", column, windows)


def max_(column: str, *windows: str) -> list[Aggregation]:
    """Return features with the largest value of a column in windows; null for a window without values.

    Args:
        column: a numeric column of the view's source.
        windows: durations, such as "7d".

    Raises:
        DefinitionError: no window is given, or one is not a duration.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.max("temperature", "1d")]
    ['temperature_max_1d']
    """
    return _aggregate("max", column, windows)


def last(*columns: str, window: str | None = None) -> list[Aggregation]:
    """Return features with the latest value of columns, by timestamp among the rows that were known; it may be null.

    Args:
        columns: columns of the view's source: numbers, booleans, text, dates or timestamps.
        window: a duration, such as "3h"; without it the latest row has no age limit but the view's ttl.

    Raises:
        DefinitionError: no column is given, or the window is not a duration.

    >>> import trimtab as tt
    >>> [feature.name for feature in tt.last("wind", "rain", window="3h")]
    ['wind_last_3h', 'rain_last_3h']
    """
    if not columns:
        raise DefinitionError("last() needs at least one column, for example last('wind_speed')")
    for column in columns:
        check_text("last: column", column, "wind_speed")
    size = None if window is None else duration("last", window)
    return [Aggregation("last", column, size) for column in columns]


@dataclass(frozen=True)
class FeatureView(Placed):
    """Features of one entity computed from one source.

    Args:
        name: letters, digits and single underscores; features are named `view__feature`.
        entity: the entity that the features describe; the source has its key columns.
        source: the rows.
        features: aggregations; lists of them are flattened.
        ttl: a duration; rows older than this do not count, in windows neither.
        every: a duration; values change only at whole multiples of it since the epoch, in training and serving alike.
            It keeps the online store small. Without it values change whenever a row becomes known or leaves a window.
        window_by: "timestamp": a window holds the rows whose timestamp lies in it, as far as they are known.
            "known_at": it holds the rows that became known in it, so rows that become known later than the window is
            long count, too; `last` is then the row that became known last. The ttl runs from the same time.

    Raises:
        DefinitionError: an argument is wrong, or two features have one name.

    >>> import trimtab as tt
    >>> flights = tt.FileSource("flights", "flights.parquet", timestamp="scheduled_at", known_at="landed_at")
    >>> view = tt.FeatureView("punctuality", tt.Entity("carrier"), flights, [tt.count("1d"), tt.mean("late", "7d")])
    >>> view.feature_names
    ('punctuality__count_1d', 'punctuality__late_mean_7d')
    """

    name: str
    entity: Entity
    source: Source
    features: Sequence[Aggregation | Sequence[Aggregation]]
    ttl: str | None = None
    every: str | None = None
    window_by: WindowBy = "timestamp"
    aggregations: tuple[Aggregation, ...] = field(init=False)
    ttl_micros: int | None = field(init=False)
    every_micros: int | None = field(init=False)

    def __post_init__(self) -> None:
        check_name("FeatureView", self.name)
        check_kind(f"FeatureView '{self.name}': entity", self.entity, Entity)
        check_kind(f"FeatureView '{self.name}': source", self.source, Source, "FileSource")
        flat = _flat(self.name, self.features)
        names = [a.name for a in flat]
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"FeatureView '{self.name}' has two features named '{name}'; remove one")
        self._check_window_by()
        object.__setattr__(self, "aggregations", tuple(flat))
        object.__setattr__(self, "ttl_micros", optional_duration(f"FeatureView '{self.name}': ttl", self.ttl))
        object.__setattr__(self, "every_micros", optional_duration(f"FeatureView '{self.name}': every", self.every))

    def _check_window_by(self) -> None:
        where, choices = f"FeatureView '{self.name}': window_by", ("timestamp", "known_at")
        if self.window_by not in choices:
            raise DefinitionError(
                f"{where} is {self.window_by!r}; expected 'timestamp' or 'known_at'."
                f"{nearest(str(self.window_by), choices)}"
            )
        if self.window_by == "known_at" and self.source.known_at is None:
            raise DefinitionError(
                f"{where} is 'known_at', but source '{self.source.name}' names no such column, so its rows are known "
                "at their timestamp. Give it one, FileSource(..., known_at='...'), or leave window_by out"
            )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names, `view__feature`, in order."""
        return tuple(f"{self.name}__{a.name}" for a in self.aggregations)

    def spec(self) -> dict[str, Any]:
        """Return the definition as plain values; equal specs compute equal values.

        window_by is left out when it has its default, because stored specs of earlier releases do not have it.
        """
        spec: dict[str, Any] = {
            "view": self.name,
            "entity": self.entity.name,
            "keys": list(self.entity.keys),
            "source": self.source.name,
            "timestamp": self.source.timestamp,
            "known_at": self.source.known_column,
            **({"key": list(self.source.key)} if self.source.key else {}),
            "features": [[a.kind, a.column, a.window] for a in self.aggregations],
            "ttl": self.ttl_micros,
            "every": self.every_micros,
        }
        return spec if self.window_by == "timestamp" else {**spec, "window_by": self.window_by}

    @property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of the canonical spec."""
        text = json.dumps(self.spec(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def version_id(self) -> str:
        """Id of this version's record: `view@hash`."""
        return f"{self.name}@{self.hash}"


def _aggregate(kind: AggregationKind, column: str, windows: Sequence[str]) -> list[Aggregation]:
    check_text(f"{kind}: column", column, "late")
    if not windows:
        raise DefinitionError(f"{kind}('{column}') needs at least one window, for example {kind}('{column}', '7d')")
    return [Aggregation(kind, column, duration(kind, w)) for w in windows]


def _flat(view: str, features: object) -> list[Aggregation]:
    """Return the aggregations of a list that may hold lists."""
    flat: list[Aggregation] = []
    for item in features if isinstance(features, list | tuple) else [features]:
        for one in item if isinstance(item, list | tuple) else [item]:
            if not isinstance(one, Aggregation):
                text = f"{one!r} is no aggregation; expected such as tt.mean('late', '7d')"
                raise DefinitionError(f"FeatureView '{view}': {text}")
            flat.append(one)
    if not flat:
        raise DefinitionError(f"FeatureView '{view}' has no features; expected such as [tt.count('1d')]")
    return flat
