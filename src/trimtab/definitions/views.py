"""Entities and feature views."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.arguments import (
    check_columns,
    check_kind,
    check_name,
    check_text,
    optional_duration,
)
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed

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
class FeatureView(Placed):
    """Features of one entity computed from one source, or from the rows of another view.

    Args:
        name: letters, digits and single underscores; features are named `view__feature`.
        entity: the entity that the features describe; the source has its key columns.
        source: the rows. Of a view they are the rows of its own source, each with the view's features as they could be
            known when the row became known; their columns have the short names, such as amount_mean_7d.
        features: aggregations; lists of them are flattened.
        ttl: a duration; rows older than this do not count, in windows neither.
        every: a duration; values change only at whole multiples of it since the epoch, in training and serving alike.
            It keeps the online store small. Without it values change whenever a row becomes known or leaves a window.
        window_by: "timestamp": a window holds the rows whose timestamp lies in it, as far as they are known.
            "known_at": it holds the rows that became known in it, so rows that become known later than the window is
            long count, too; `last` is then the row that became known last. The ttl runs from the same time.
        description: what the view is about.
        owner: the person or team that answers for it.
        tags: words to find it by.
        deprecated: what to use instead; trainings with the view warn of it.
        descriptions: what features mean, by their short names.

    `description` and the arguments after it describe the view; they are no part of its version.

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
    source: Any
    """The source of the rows: a source, or for a view over a view the source of that view."""
    features: Sequence[Aggregation | Sequence[Aggregation]]
    ttl: str | None = None
    every: str | None = None
    window_by: WindowBy = "timestamp"
    description: str = field(default="", kw_only=True)
    owner: str = field(default="", kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)
    deprecated: str = field(default="", kw_only=True)
    descriptions: Mapping[str, str] = field(default_factory=dict, kw_only=True, hash=False)
    over: FeatureView | None = field(default=None, kw_only=True)
    """The view that was given as `source`, which is then the source of that view."""
    aggregations: tuple[Aggregation, ...] = field(init=False)
    ttl_micros: int | None = field(init=False)
    every_micros: int | None = field(init=False)

    def __post_init__(self) -> None:
        check_name("FeatureView", self.name)
        check_kind(f"FeatureView '{self.name}': entity", self.entity, Entity)
        if isinstance(self.source, FeatureView):
            object.__setattr__(self, "over", self.source)
            object.__setattr__(self, "source", self.source.source)
        check_kind(f"FeatureView '{self.name}': source", self.source, Source, "FileSource")
        flat = _flat(self.name, self.features)
        names = [a.name for a in flat]
        for name in names:
            if names.count(name) > 1:
                same = flat[names.index(name)] in flat[names.index(name) + 1 :]
                remedy = "remove one" if same else "give one another name: name='...'"
                raise DefinitionError(f"FeatureView '{self.name}' has two features named '{name}'; {remedy}")
        self._check_window_by()
        self._check_words(names)
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

    def _check_words(self, names: Sequence[str]) -> None:
        where = f"FeatureView '{self.name}'"
        for argument in ("description", "owner", "deprecated"):
            if not isinstance(value := getattr(self, argument), str):
                raise DefinitionError(f"{where}: {argument} is {value!r}; expected text")
        object.__setattr__(self, "tags", check_columns(f"{where}: tags", self.tags))
        if not isinstance(self.descriptions, Mapping):
            raise DefinitionError(f"{where}: descriptions is {self.descriptions!r}; expected {{feature: text}}")
        for name, text in self.descriptions.items():
            if name not in names:
                raise DefinitionError(f"{where}: descriptions: it has no feature '{name}'.{nearest(str(name), names)}")
            check_text(f"{where}: descriptions: '{name}'", text, "mean of the last week")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names, `view__feature`, in order."""
        return tuple(f"{self.name}__{a.name}" for a in self.aggregations)

    @property
    def leaves(self) -> tuple[Aggregation, ...]:
        """What is computed from rows, each once: the features, and in place of ratios and differences their parts."""
        return tuple(dict.fromkeys(leaf for each in self.aggregations for leaf in each.leaves))

    def __getitem__(self, names: str | Sequence[str]) -> Selection:
        """Return some features of the view, by their short or full names: view["count_1d"], view[["a", "b"]].

        Raises:
            DefinitionError: the view has no such feature.
        """
        return Selection(self, (names,) if isinstance(names, str) else tuple(names))

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
            "features": [a.spec() for a in self.aggregations],
            "ttl": self.ttl_micros,
            "every": self.every_micros,
        }
        over = {} if self.over is None else {"over": self.over.spec()}
        return {**spec, **over, **({} if self.window_by == "timestamp" else {"window_by": self.window_by})}

    @property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of the canonical spec."""
        text = json.dumps(self.spec(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def version_id(self) -> str:
        """Id of this version's record: `view@hash`."""
        return f"{self.name}@{self.hash}"


@dataclass(frozen=True)
class Selection:
    """Some features of a view. The view is computed and stored whole; a model takes these alone.

    view: the view. names: short names in the wanted order; full names are shortened.
    """

    view: FeatureView
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        own = [a.name for a in self.view.aggregations]
        short = tuple(str(name).removeprefix(f"{self.view.name}__") for name in self.names)
        if not short:
            raise DefinitionError(f"FeatureView '{self.view.name}': no feature is chosen; it has {', '.join(own)}")
        for name in short:
            if name not in own:
                raise DefinitionError(f"FeatureView '{self.view.name}' has no feature '{name}'.{nearest(name, own)}")
            if short.count(name) > 1:
                raise DefinitionError(f"FeatureView '{self.view.name}': feature '{name}' is chosen twice")
        object.__setattr__(self, "names", short)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names, `view__feature`, in order."""
        return tuple(f"{self.view.name}__{name}" for name in self.names)


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
