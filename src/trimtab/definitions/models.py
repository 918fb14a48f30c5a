"""Models: labelled examples, features, a trainer, and where outcomes come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

from trimtab import metric_catalog
from trimtab.definitions.arguments import (
    check_brought,
    check_columns,
    check_function,
    check_kind,
    check_name,
    check_text,
    check_trainer,
    source_of,
)
from trimtab.definitions.feature_types import (
    FeatureType,
    Input,
    Unseen,
    check_choice,
    check_types,
    feature_type,
)
from trimtab.definitions.impact_function import ImpactFunction, impact_function
from trimtab.definitions.on_demand import FallbackRule, OnDemand
from trimtab.definitions.services import Feature, FeatureService, listed, names_of, views_of
from trimtab.definitions.sources import Source
from trimtab.definitions.views import FeatureView, Selection
from trimtab.errors import DefinitionError, nearest
from trimtab.places import Placed

if TYPE_CHECKING:
    import numpy as np

Task = metric_catalog.Task


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The training data that a trainer gets. Rows are labelled examples in the order of their timestamps.

    Args:
        X: float32, shape (rows, features); missing values are NaN, and categories are codes, their place in the order
            of their names. For a model with input="frame" a pandas DataFrame with the features as columns: float32,
            Int64, boolean, Categorical, datetime64[us] in UTC, and objects for texts and decimals.
        y: labels, float64, shape (rows,): 0 or 1 of a binary model; the index of the class of a multiclass model; a
            number of a regression; of an anomaly model 1 for an anomaly, and NaN where that is not known.
        feature_names: names of the columns of X.
        timestamps: datetime64[us] in UTC, shape (rows,).
        classes: names of the classes, in the order of their indices; empty where labels have no names.
        weight: weights of the rows, float64, shape (rows,), where the model has `weight`; else None.
        group: groups of the rows, shape (rows,), where the model has `group`; else None.
        extra: the columns of the model's `extra` by name, each of shape (rows,).
        known_at: when each label became known, datetime64[us] in UTC, shape (rows,); None of a training set that was
            frozen without it.
        validation: labelled rows of later time for early stopping, where the policy has `training.validation`. None in
            the fits that take the rounds of the judged one: for the reference of monitoring, and of all rows after the
            gates.
        rounds: rounds that such a fit has to take, since the judged one stopped early after so many; else None.
        previous: the champion's fitted estimator, where the policy has `training.warm_start: champion`; else None.

    >>> import numpy as np, trimtab as tt
    >>> X = np.array([[3.0], [np.nan]], dtype=np.float32)
    >>> times = np.array(["2026-03-01T09:00", "2026-03-01T10:00"], dtype="datetime64[us]")
    >>> data = tt.Dataset(X=X, y=np.array([0.0, 1.0]), feature_names=("wind",), timestamps=times)
    >>> data.X.shape, data.y.mean()
    ((2, 1), np.float64(0.5))
    """

    X: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    feature_names: tuple[str, ...]
    timestamps: np.ndarray[Any, Any]
    classes: tuple[str, ...] = ()
    weight: np.ndarray[Any, Any] | None = None
    group: np.ndarray[Any, Any] | None = None
    extra: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    known_at: np.ndarray[Any, Any] | None = None
    validation: Dataset | None = None
    rounds: int | None = None
    previous: Any = None

    def take(self, rows: Any) -> Dataset:
        """Return some rows, without validation rows, rounds and earlier estimator.

        Args:
            rows: booleans, shape (rows,), or indices.

        Returns:
            A dataset of these rows alone.
        """
        given: dict[str, Any] = {name: value for name, value in vars(self).items() if hasattr(value, "shape")}
        of_rows = {name: getattr(value, "iloc", value)[rows] for name, value in given.items()}  # X may be a DataFrame
        extra = {name: values[rows] for name, values in self.extra.items()}
        return replace(self, **of_rows, extra=extra, validation=None, rounds=None, previous=None)

    def followed_by(self, later: Dataset) -> Dataset:
        """Return these rows and later ones, without validation rows, rounds and earlier estimator.

        Args:
            later: a dataset of the same model.

        Returns:
            A dataset of the rows of both.
        """
        # imported here: importing a project must not load NumPy
        import numpy as np

        def both(first: Any, last: Any) -> Any:
            return None if first is None or last is None else np.concatenate([first, last])

        names = ("X", "y", "timestamps", "known_at", "weight", "group")
        of_rows = {name: both(getattr(self, name), getattr(later, name)) for name in names}
        extra = {name: both(values, later.extra[name]) for name, values in self.extra.items()}
        return replace(self, **of_rows, extra=extra, validation=None, rounds=None, previous=None)


Trainer = Callable[..., Any]
"""A function (data, params, seed), with parameters of the policy after a *, that returns a fitted estimator."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """A source with the outcomes of a model's predictions. Each new row becomes a label.

    Args:
        source: its known_at is the time at which an outcome became known. A row without known_at or without a label has
            no outcome yet.
        prediction_id: column of the prediction ids, which the gateway returns with each answer.
        label: column of the outcome; None takes the label of the model.

    Raises:
        DefinitionError: an argument has a wrong type.

    >>> import trimtab as tt
    >>> landed = tt.FileSource("landed", "landed.csv", timestamp="scheduled_at", known_at="landed_at")
    >>> tt.Outcomes(source=landed).prediction_id
    'prediction_id'
    """

    source: Source
    prediction_id: str = "prediction_id"
    label: str | None = None

    def __post_init__(self) -> None:
        check_kind("Outcomes: source", self.source, Source, "FileSource")
        check_text("Outcomes: prediction_id", self.prediction_id, "prediction_id")
        if self.label is not None:
            check_text("Outcomes: label", self.label, "late")


@dataclass
class Model(Placed):
    """A model: labelled examples, its features, and a trainer.

    Args:
        name: letters, digits and single underscores.
        task: "binary", "multiclass", "regression" or "anomaly".
        examples: source of the labelled rows. The known_at of a row is the time at which its outcome became known.
        label: column of the outcome in `examples`; rows with null are not labelled. An anomaly model can do without.
        features: feature views, some of their features (view[["a", "b"]]), on-demand transforms, names of request
            columns, or a feature service. A request column must be known at the time of the request.
        fit: the trainer; usually set with the decorator `trainer`.
        outcomes: a table with labels of the model's predictions, in addition to the labels that clients send.
        categories: features whose numbers are codes, such as 3 for an airline: monitoring counts them code by code.
            None: booleans, request columns of whole numbers with few values, and whole numbers that an on-demand
            transform makes of texts and booleans alone.
        classes: the labels that a multiclass model tells apart, texts or whole numbers, in their order; None: the
            distinct labels of the training set, sorted. A binary model whose labels are texts has two: the second is
            the positive class.
        weight: column of `examples` with the weight of each row, which the trainer gets as `data.weight`.
        group: column of `examples` with the group of each row, which the trainer gets as `data.group`.
        extra: columns of `examples` that the trainer gets in `data.extra` and that are no features, so no request needs
            them.

    Raises:
        DefinitionError: an argument is wrong, or a feature would contain the outcome.

    >>> import trimtab as tt
    >>> flights = tt.FileSource("flights", "flights.parquet", timestamp="scheduled_at", known_at="landed_at")
    >>> model = tt.Model("delay", task="binary", examples=flights, label="late", features=["distance", "hour"])
    >>> @model.trainer
    ... def train(data, params, seed):
    ...     from sklearn.linear_model import LogisticRegression
    ...     return LogisticRegression(random_state=seed).fit(data.X, data.y)
    >>> model.request_columns
    ('distance', 'hour')
    """

    name: str
    task: Task
    examples: Source
    label: str | None = None
    features: Sequence[Feature | FeatureService] = ()
    fit: Trainer | None = None
    outcomes: Outcomes | None = None
    categories: Sequence[str] | None = None
    classes: Sequence[str | int] | None = None
    input: Input = "matrix"
    types: Mapping[str, FeatureType] | None = None
    unseen: Unseen = "other"
    weight: str | None = None
    group: str | None = None
    extra: Sequence[str] = ()
    services: tuple[FeatureService, ...] = field(default=(), init=False)
    """The feature services among `features`, which holds their features in their place."""
    rule: FallbackRule | None = field(default=None, init=False)
    """The rule that scores when no version of the model can; set by `fallback`."""
    money: ImpactFunction | None = field(default=None, init=False)
    """What the rows of the model cost, in place of `impact.cost`; set by `impact`."""

    def __post_init__(self) -> None:
        check_name("Model", self.name)
        if self.task not in metric_catalog.TASKS:
            raise DefinitionError(
                f"Model '{self.name}': unknown task '{self.task}'.{nearest(str(self.task), metric_catalog.TASKS)}"
            )
        check_kind(f"Model '{self.name}': examples", self.examples, Source, "FileSource")
        if self.label is not None:
            check_text(f"Model '{self.name}': label", self.label, "late")
        elif self.task != "anomaly":
            raise DefinitionError(
                f"Model '{self.name}' has no label; {metric_catalog.of_models([self.task])} needs one: label='...' is "
                "the column of the outcome"
            )
        self._check_classes()
        self._check_carried()
        if self.outcomes is not None:
            check_kind(f"Model '{self.name}': outcomes", self.outcomes, Outcomes)
            if self.outcomes.label is None:
                self.column_of_outcome()
        self.features, self.services = listed(f"Model '{self.name}'", self.features)
        names = list(self.feature_names)
        if not names:
            raise DefinitionError(f"Model '{self.name}' has no features")
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"Model '{self.name}' has two features named '{name}'; rename or remove one")
        for name in check_columns(f"Model '{self.name}': categories", self.categories or ()):
            if name not in names:
                raise DefinitionError(
                    f"Model '{self.name}': category '{name}' is none of its features.{nearest(name, names)}"
                )
        check_types(f"Model '{self.name}'", self.types, names)
        check_choice(f"Model '{self.name}': input", self.input, get_args(Input))
        check_choice(f"Model '{self.name}': unseen", self.unseen, get_args(Unseen))
        texts = [name for name, kind in (self.types or {}).items() if kind == "text"]
        if texts and self.input == "matrix":
            raise DefinitionError(
                f"Model '{self.name}': a matrix cannot hold the text '{texts[0]}'; use Model(..., input='frame'), or "
                f"types={{'{texts[0]}': 'category'}}"
            )
        self._refuse_leaks()

    def _check_classes(self) -> None:
        if self.classes is None:
            return
        where, kinds = f"Model '{self.name}': classes", {type(each) for each in self.classes}
        if isinstance(self.classes, str) or kinds not in ({str}, {int}):
            raise DefinitionError(f"{where} is {self.classes!r}; expected a list of texts or of whole numbers")
        if len(set(self.classes)) < len(self.classes):
            twice = next(each for each in self.classes if list(self.classes).count(each) > 1)
            raise DefinitionError(f"{where} names {twice!r} twice")
        fewest, most = {"multiclass": (2, None), "binary": (2, 2)}.get(self.task, (0, 0))
        if most == 0:
            raise DefinitionError(f"{where}: a model whose task is {self.task} has no classes; leave them out")
        if len(self.classes) < fewest or (most is not None and len(self.classes) > most):
            wanted = "two" if most else "two or more"
            model = metric_catalog.of_models([self.task])
            raise DefinitionError(f"{where} has {len(self.classes)} of them; {model} has {wanted}")

    def _check_carried(self) -> None:
        for argument in ("weight", "group"):
            if (column := getattr(self, argument)) is not None:
                check_text(f"Model '{self.name}': {argument}", column, argument)
        check_columns(f"Model '{self.name}': extra", self.extra)

    def column_of_outcome(self) -> str:
        """Return the label.

        Returns:
            The name of its column.

        Raises:
            DefinitionError: the model has none.
        """
        if self.label is None:
            raise DefinitionError(
                f"Model '{self.name}' has no label, so the column of the outcome must be named: label='...' of the "
                "model or of its Outcomes, or --label"
            )
        return self.label

    @property
    def names_classes(self) -> bool:
        """Whether labels are names of classes, which a training set keeps as their indices."""
        return self.task == "multiclass" or self.classes is not None

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns of the examples that the trainer gets in addition to the features: weight, group, extra."""
        named = (self.weight, self.group, *self.extra)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def _refuse_leaks(self) -> None:
        """Refuse inputs that contain the model's own outcome."""
        if self.label is not None and self.label in self.request_columns:
            raise DefinitionError(f"Model '{self.name}' uses its label '{self.label}' as an input")
        known_at = self.examples.known_at
        if known_at != self.examples.timestamp and known_at in self.request_columns:
            raise DefinitionError(
                f"Model '{self.name}' uses '{known_at}' as an input, but that is the time its outcome became known"
            )
        for view in self.views:
            if view.source.reads_same_rows(self.examples) and view.source.known_column == self.examples.timestamp:
                same = f"source '{view.source.name}', which reads the same rows"
                if view.source.name == self.examples.name:
                    same = "the same source"
                raise DefinitionError(
                    f"Model '{self.name}' learns from source '{self.examples.name}' and view '{view.name}' reads "
                    f"{same}, whose rows are known at '{self.examples.timestamp}', the time of the request: outcomes "
                    "would leak into features. Name the column of the time at which an outcome became known: "
                    f"{type(self.examples).__name__}(..., known_at='...')"
                )
        if self.outcomes is not None and self.outcomes.source.reads_same_rows(self.examples):
            label = self.outcomes.label
            if label in self.request_columns:
                raise DefinitionError(f"Model '{self.name}' uses the label of its outcomes, '{label}', as an input")

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """Feature views in order, each once."""
        return views_of(self.features)

    @property
    def source_tables(self) -> tuple[str, ...]:
        """Names of the tables that training sets are made of: that of the examples, then those of the views."""
        return tuple(dict.fromkeys([self.examples.name, *(view.source.name for view in self.views)]))

    @property
    def transforms(self) -> tuple[OnDemand, ...]:
        """On-demand transforms in order."""
        return tuple(f for f in self.features if isinstance(f, OnDemand))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order."""
        return names_of(f"Model '{self.name}'", self.features)

    def type_of(self, feature: str, kind: str) -> FeatureType:
        """Return the type of a feature whose values are of a kind (a key of feature_types.ALLOWED).

        Raises DefinitionError for a declared type that cannot hold them.
        """
        declared = (self.types or {}).get(feature)
        return feature_type(feature, kind, declared, self.input, where=f"Model '{self.name}'")

    @property
    def request_columns(self) -> tuple[str, ...]:
        """Columns a request brings: entity keys, inputs of transforms, plain columns; sorted by first use."""
        made = {name for view in self.views for name in view.feature_names}
        seen: dict[str, None] = {}
        for item in self.features:
            view = item.view if isinstance(item, Selection) else item
            if isinstance(view, FeatureView):
                seen.update(dict.fromkeys(view.entity.keys))
            elif isinstance(item, OnDemand):
                seen.update(dict.fromkeys(name for name in item.inputs if name not in made))
            elif isinstance(item, str):
                seen[item] = None
        return tuple(seen)

    @property
    def entity_keys(self) -> tuple[str, ...]:
        """Key columns of all entities, in order of first use."""
        return tuple(dict.fromkeys(key for view in self.views for key in view.entity.keys))

    @property
    def code_hash(self) -> str:
        """Twelve hex digits over the source code of the on-demand transforms.

        Feature vectors depend on these functions. They do not depend on the fallback rule, so it is left out.
        """
        text = json.dumps([[t.name, t.inputs, t.outputs, t.source] for t in self.transforms])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def trainer(self, function: Trainer) -> Trainer:
        """Set the function that fits the model; used as a decorator.

        Args:
            function: takes a Dataset, the params of the policy and a seed; returns a fitted estimator with
                scikit-learn's interface. Parameters that it declares after a * are filled from the params by name, and
                then no others may stand in the policy.

        Returns:
            The function itself.

        Raises:
            DefinitionError: the function takes other arguments, or the model has a trainer already.
        """
        check_trainer(f"Model '{self.name}'", function, before=self.fit)
        self.fit = function
        return function

    def fallback(self, *, inputs: Sequence[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that sets the rule that scores when no version of the model can.

        The rule takes one NumPy array for each input and returns one score a row, shape (rows,). It runs on the event
        loop of the gateway while other requests wait, so it should take microseconds and call no other service.

        Args:
            inputs: request columns of the features, or the timestamp of the examples.

        Returns:
            The decorator; it returns the function itself.

        Raises:
            DefinitionError: raised by the decorator for unknown inputs, other arguments or a second rule.
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

    def impact(self, function: Callable[..., Any] | None = None, *, inputs: Sequence[str] = ()) -> Callable[..., Any]:
        """Set the function that says what each row cost, in place of `impact.cost`; used as a decorator.

        The function takes labels and scores, and one array for each input, shape (rows,): float64, or of a category
        the names as objects, "(other)" for one that the training set did not have and None for a missing one. It
        returns the money lost on each row, shape (rows,), in the currency of the policy; money won is negative. Each
        row's money depends on that row alone. Scores are what the model gives for its task: of a multiclass model one
        probability a class, shape (rows, classes), and its labels are indices of the classes that it declares. Rows
        whose label is another class do not reach the function and are left out of the money.

        Args:
            function: the function itself, where the decorator has no arguments.
            inputs: features of the model, as it saw them.

        Returns:
            The function itself, or the decorator, which returns it.

        Raises:
            DefinitionError: an input is no feature, the function takes other arguments, it is the second one, or a
                multiclass model declares no classes.

        >>> import numpy as np, trimtab as tt
        >>> payments = tt.FileSource("payments", "payments.parquet", timestamp="paid_at")
        >>> fraud = tt.Model("fraud", task="binary", examples=payments, label="fraud", features=["amount"])
        >>> @fraud.impact(inputs=["amount"])
        ... def lost(y_true, y_score, amount):
        ...     stopped = y_score >= 0.5
        ...     return np.where(y_true == 1, np.where(stopped, 0.0, amount), np.where(stopped, 5.0, 0.0))
        >>> fraud.money.inputs
        ('amount',)
        """

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            classes = None if self.classes is None else tuple(map(str, self.classes))
            if self.task != "multiclass":
                classes = ()
            made = impact_function(self.name, function, inputs, features=self.feature_names, classes=classes)
            if self.money is not None and self.money.name != made.name:
                where = f"{made.called} of model '{self.name}'"
                raise DefinitionError(
                    f"{where}: the model has the impact function '{self.money.name}' already; remove one"
                )
            self.money = made
            return function

        return declare if function is None else declare(function)
