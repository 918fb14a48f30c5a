"""What data scientists write: sources, entities, feature views, on-demand transforms, models.

Pure and light: importing this module loads no data library, and defining something reads no file.
A wrong definition raises DefinitionError naming the object, what was expected and the nearest name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trimtab import metric_catalog, units
from trimtab.arguments import (
    check_brought,
    check_columns,
    check_function,
    check_kind,
    check_name,
    check_text,
    check_trainer,
    duration,
    optional_duration,
    source_of,
)
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed
from trimtab.sources import FileSource as FileSource

if TYPE_CHECKING:
    import numpy as np

Task = metric_catalog.Task
AggregationKind = Literal["count", "sum", "mean", "min", "max", "last"]
WindowBy = Literal["timestamp", "known_at"]


@dataclass(frozen=True)
class Entity(Placed):
    """A thing that features describe, found by its key columns."""

    name: str
    keys: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name("Entity", self.name)
        keys = check_columns(f"Entity '{self.name}': keys", self.keys) or (self.name,)
        object.__setattr__(self, "keys", keys)


@dataclass(frozen=True)
class Aggregation:
    """One feature: an aggregate of one column (none for count) over one window (None: all the past)."""

    kind: AggregationKind
    column: str | None
    window: int | None
    """Length in microseconds; a row at t counts for moments in [t, t + window)."""

    @property
    def name(self) -> str:
        """Name of the feature: late_mean_7d, count_1d; `last` without a window is the column's own name."""
        if self.kind == "last" and self.window is None:
            return str(self.column)
        parts = [self.column, self.kind, units.short(self.window) if self.window is not None else None]
        return "_".join(part for part in parts if part)


def count(*windows: str) -> list[Aggregation]:
    """Count the rows of each window, such as count("1d", "7d")."""
    if not windows:
        raise DefinitionError("count() needs at least one window, for example count('1d')")
    return [Aggregation("count", None, duration("count", w)) for w in windows]


def sum_(column: str, *windows: str) -> list[Aggregation]:
    """Sum `column` over each window; empty windows and windows of nulls give null."""
    return _aggregate("sum", column, windows)


def mean(column: str, *windows: str) -> list[Aggregation]:
    """Average `column` over each window."""
    return _aggregate("mean", column, windows)


def min_(column: str, *windows: str) -> list[Aggregation]:
    """Smallest `column` in each window."""
    return _aggregate("min", column, windows)


def max_(column: str, *windows: str) -> list[Aggregation]:
    """Largest `column` in each window."""
    return _aggregate("max", column, windows)


def last(*columns: str, window: str | None = None) -> list[Aggregation]:
    """Latest value of each column (null included), by timestamp among the rows that were known."""
    if not columns:
        raise DefinitionError("last() needs at least one column, for example last('wind_speed')")
    for column in columns:
        check_text("last: column", column, "wind_speed")
    size = None if window is None else duration("last", window)
    return [Aggregation("last", column, size) for column in columns]


@dataclass(frozen=True)
class FeatureView(Placed):
    """Features of one entity computed from one source.

    features: aggregations (lists are flattened). ttl: rows older than this give null, windows included.
    window_by: the moment from which windows and ttl run. "timestamp" (default): a window holds the rows whose timestamp
    lies in it, as far as they are known. "known_at": it holds the rows that became known in it, so rows that become
    known later than the window is long are counted, too; `last` is then the row that became known last.
    every: values change only at whole multiples of this duration since the epoch, offline and online
    alike, which keeps the online store small; without it they change at the very moment a row
    becomes known or leaves a window.
    """

    name: str
    entity: Entity
    source: FileSource
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
        check_kind(f"FeatureView '{self.name}': source", self.source, FileSource)
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

        window_by is left out where it is the default, as in the specs that were stored before it was there.
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


@dataclass(frozen=True)
class OnDemand(Placed):
    """A transform of request columns (and view features), run by the same code offline and online.

    Takes one numpy array per input, returns one array (a single output) or a mapping from output name to
    array. Arrays are float64, datetime64[us] (timestamps) or object (text); shape (rows,).
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: Callable[..., Any]
    source: str

    @property
    def called(self) -> str:
        """How messages call it, such as: on_demand 'hour'."""
        return f"on_demand '{self.name}'"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Full names: `name` for a single unnamed output, else `name__output`."""
        if self.outputs == (self.name,):
            return (self.name,)
        return tuple(f"{self.name}__{output}" for output in self.outputs)

    def __call__(self, *arrays: np.ndarray[Any, Any]) -> Any:
        """Call the function itself."""
        return self.function(*arrays)


def on_demand(*, inputs: Sequence[str], outputs: Sequence[str] = ()) -> Callable[[Callable[..., Any]], OnDemand]:
    """Declare a transform of request columns: numpy in, numpy out.

    outputs: names of the mapping's entries; without it the function returns one array.
    """

    def declare(function: Callable[..., Any]) -> OnDemand:
        name = function.__name__
        check_name("on_demand", name)
        check_function(f"on_demand '{name}'", function, inputs)
        check_columns(f"on_demand '{name}': outputs", outputs)
        made = tuple(outputs) or (name,)
        return OnDemand(name, tuple(inputs), made, function, source_of(function))

    return declare


@dataclass(frozen=True)
class FallbackRule(OnDemand):
    """What answers for a model when no version of it can: request columns in, one score a row out.

    A score is a probability for a binary model, any number for a regression. Arrays are those that OnDemand takes.
    """

    @property
    def called(self) -> str:
        """How messages call it, such as: fallback 'usual'."""
        return f"fallback '{self.name}'"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a trainer receives. Rows are labelled examples in order of time.

    X: float32, shape (rows, features), missing values are NaN. y: float64, shape (rows,).
    timestamps: datetime64[us], shape (rows,).
    """

    X: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    feature_names: tuple[str, ...]
    timestamps: np.ndarray[Any, Any]


Trainer = Callable[[Dataset, dict[str, Any], int], Any]


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """A source whose rows say what became of a model's predictions: each new row becomes a label.

    source: its known_at is when an outcome became known; a row without that moment or without a label has no outcome
    yet. prediction_id: column of the ids that the gateway's answers gave. label: column of the outcome, by default
    the model's own.
    """

    source: FileSource
    prediction_id: str = "prediction_id"
    label: str | None = None

    def __post_init__(self) -> None:
        check_kind("Outcomes: source", self.source, FileSource)
        check_text("Outcomes: prediction_id", self.prediction_id, "prediction_id")
        if self.label is not None:
            check_text("Outcomes: label", self.label, "late")


@dataclass
class Model(Placed):
    """A model: labelled examples, the features it may see, and a trainer.

    examples: source of the labelled rows. label: its outcome column; the row's known_at is when the
    outcome became known, and null labels never did. features: views, transforms, and names of columns
    that the request brings along. Only name columns that are known when the request is made.
    outcomes: where labels of its predictions come from as a table, beside those that clients send.
    """

    name: str
    task: Task
    examples: FileSource
    label: str
    features: Sequence[FeatureView | OnDemand | str]
    fit: Trainer | None = None
    outcomes: Outcomes | None = None
    rule: FallbackRule | None = field(default=None, init=False)
    """What answers when no version of the model can; set by `fallback`."""

    def __post_init__(self) -> None:
        check_name("Model", self.name)
        if self.task not in metric_catalog.TASKS:
            raise DefinitionError(
                f"Model '{self.name}': unknown task '{self.task}'.{nearest(str(self.task), metric_catalog.TASKS)}"
            )
        check_kind(f"Model '{self.name}': examples", self.examples, FileSource)
        check_text(f"Model '{self.name}': label", self.label, "late")
        if self.outcomes is not None:
            check_kind(f"Model '{self.name}': outcomes", self.outcomes, Outcomes)
        names = list(self.feature_names)
        if not names:
            raise DefinitionError(f"Model '{self.name}' has no features")
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"Model '{self.name}' has two features named '{name}'; rename or remove one")
        self._refuse_leaks()

    def _refuse_leaks(self) -> None:
        """Refuse what would tell the model its own outcome."""
        if self.label in self.request_columns:
            raise DefinitionError(f"Model '{self.name}' uses its label '{self.label}' as an input")
        known_at = self.examples.known_at
        if known_at != self.examples.timestamp and known_at in self.request_columns:
            raise DefinitionError(
                f"Model '{self.name}' uses '{known_at}' as an input, but that is the moment its outcome became known"
            )
        for view in self.views:
            if view.source.reads_same_files(self.examples) and view.source.known_column == self.examples.timestamp:
                same = f"source '{view.source.name}', which reads the same files"
                if view.source.name == self.examples.name:
                    same = "the same source"
                raise DefinitionError(
                    f"Model '{self.name}' learns from source '{self.examples.name}' and view '{view.name}' reads "
                    f"{same}, whose rows are known at '{self.examples.timestamp}', the moment of the request: outcomes "
                    "would leak into features. Name the column of the moment an outcome became known: "
                    "FileSource(..., known_at='...')"
                )
        if self.outcomes is not None and self.outcomes.source.reads_same_files(self.examples):
            label = self.outcomes.label
            if label in self.request_columns:
                raise DefinitionError(f"Model '{self.name}' uses the label of its outcomes, '{label}', as an input")

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """Feature views in order."""
        return tuple(f for f in self.features if isinstance(f, FeatureView))

    @property
    def transforms(self) -> tuple[OnDemand, ...]:
        """On-demand transforms in order."""
        return tuple(f for f in self.features if isinstance(f, OnDemand))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order."""
        names: list[str] = []
        if isinstance(self.features, str):
            raise DefinitionError(
                f"Model '{self.name}': features is {self.features!r}; expected a list, such as [{self.features!r}]"
            )
        for item in self.features:
            if isinstance(item, str):
                names.append(item)
            elif isinstance(item, FeatureView | OnDemand):
                names.extend(item.feature_names)
            else:
                raise DefinitionError(
                    f"Model '{self.name}': {item!r} is no feature; expected a FeatureView, an on_demand transform "
                    "or the name of a request column"
                )
        return tuple(names)

    @property
    def request_columns(self) -> tuple[str, ...]:
        """Columns a request brings: entity keys, inputs of transforms, plain columns; sorted by first use."""
        made = {name for view in self.views for name in view.feature_names}
        seen: dict[str, None] = {}
        for item in self.features:
            if isinstance(item, FeatureView):
                seen.update(dict.fromkeys(item.entity.keys))
            elif isinstance(item, OnDemand):
                seen.update(dict.fromkeys(name for name in item.inputs if name not in made))
            else:
                seen[item] = None
        return tuple(seen)

    @property
    def entity_keys(self) -> tuple[str, ...]:
        """Key columns of all entities, in order of first use."""
        return tuple(dict.fromkeys(key for view in self.views for key in view.entity.keys))

    @property
    def code_hash(self) -> str:
        """Twelve hex digits over the source code of the on-demand transforms.

        It names what feature vectors depend on, so the fallback rule, which sees none, is no part of it.
        """
        text = json.dumps([[t.name, t.inputs, t.outputs, t.source] for t in self.transforms])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def trainer(self, function: Trainer) -> Trainer:
        """Decorator: the function that fits the model; it returns a fitted scikit-learn-like estimator."""
        check_trainer(f"Model '{self.name}'", function, before=self.fit)
        self.fit = function
        return function

    def fallback(self, *, inputs: Sequence[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: the rule that answers when no version of the model can; numpy in, one score a row out.

        inputs: request columns that it takes, those of the features or the examples' timestamp. It runs on the event
        loop of the gateway while other requests wait, so it should take microseconds and ask nobody.
        """

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            name = function.__name__
            check_name("fallback", name)
            where = f"fallback '{name}' of model '{self.name}'"
            check_function(where, function, inputs)
            check_brought(where, inputs, (*self.request_columns, self.examples.timestamp), made=self.feature_names)
            if self.rule is not None and self.rule.name != name:
                raise DefinitionError(f"{where}: the model has the fallback '{self.rule.name}' already; remove one")
            self.rule = FallbackRule(name, tuple(inputs), (name,), function, source_of(function))
            return function

        return declare


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
