"""Reads features by their names, for a feature server: of any views of a project, without a model.

A model's features come from OnlinePlan. Both read the same packed values and finish them by the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import objects, whole
from trimtab.clock import EPOCH
from trimtab.definitions.aggregations import PICKS
from trimtab.definitions.collection import Definitions
from trimtab.definitions.feature_types import ALWAYS
from trimtab.definitions.on_demand import OnDemand
from trimtab.definitions.services import Feature
from trimtab.definitions.views import FeatureView, Selection
from trimtab.errors import DataError, nearest
from trimtab.features.continuous import Layout
from trimtab.features.packing import PACKED, nothing, unpack_exact
from trimtab.features.request_columns import WrongValue, by_value, key_part
from trimtab.features.state.position import read_position
from trimtab.features.transforms import run
from trimtab.features.typed_plan import as_input
from trimtab.features.value_types import Array, Kind, join_parts
from trimtab.stores.online.contract import Online

PRESENT, NULL, NOT_FOUND = "PRESENT", "NULL_VALUE", "NOT_FOUND"
KINDS: tuple[tuple[str, Kind], ...] = (
    ("Int", "integer"),
    ("UInt", "integer"),
    ("Boolean", "boolean"),
    ("String", "text"),
    ("Categorical", "text"),
    ("Enum", "text"),
    ("Datetime", "time"),
    ("Date", "date"),
)
"""Beginnings of the types of columns in a position, and their kinds."""


@dataclass(frozen=True)
class ReadColumn:
    """One column of an answer, each of one value a row.

    values: as JSON writes them. statuses: PRESENT, NULL, or NOT_FOUND where nothing is known of the entity. times:
    until when the values are complete, None for what a transform computes. own: of a view, the values as a transform
    takes them.
    """

    name: str
    values: list[Any]
    statuses: list[str]
    times: list[datetime | None]
    own: Array | None = None


class FeatureReads:
    """Answers reads of features from the online store; thread-safe.

    load: returns the definitions; called at the first read, so that a gateway that only scores does not run them.
    """

    def __init__(self, load: Callable[[], Definitions], online: Online) -> None:
        self._load, self._online = load, online
        self._views: dict[str, _ViewReads] = {}
        self._by_name: dict[str, Feature] = {}

    @cached_property
    def _definitions(self) -> Definitions:
        return self._load()

    def features_of(self, service: str) -> Sequence[Feature]:
        """Return the features of a service. Raises DataError."""
        found = self._definitions.services.get(service)
        if found is None:
            raise DataError(f"there is no feature service '{service}'.{nearest(service, self._definitions.services)}")
        return found.features

    def named(self, names: Sequence[str]) -> list[Feature]:
        """Return the features with names such as "punctuality:late_mean_7d". Raises DataError."""
        for name in names:
            if name not in self._by_name:
                self._by_name[name] = self._named(name)
        return [self._by_name[name] for name in names]

    def read(
        self, features: Sequence[Feature], columns: Mapping[str, Sequence[Any]], *, at: int, full_names: bool
    ) -> list[ReadColumn]:
        """Return one column for each entity key and feature.

        Args:
            features: from `features_of` or `named`.
            columns: entity keys, and what transforms take of the request; all of one length.
            at: time of the read, microseconds since the epoch.
            full_names: name columns view__feature in place of feature.

        Raises:
            DataError: a column is missing or has a wrong value, a view has no values yet, or two columns of the answer
                have one name.
        """
        rows = self._rows(columns)
        views: dict[str, dict[str, ReadColumn]] = {}
        for view in self._needed(features):
            if view.name not in views:
                views[view.name] = self._of_view(view).read(columns, rows, at)
        found = [ReadColumn(name, list(given), [PRESENT] * rows, [None] * rows) for name, given in columns.items()]
        for feature in features:
            if isinstance(feature, OnDemand):
                found += _computed(feature, columns, views, rows)
            elif not isinstance(feature, str):
                found += [views[_view(feature).name][name] for name in feature.feature_names]
        answer = found if full_names else [_short(column, columns) for column in found]
        _expect_different(answer, full_names=full_names)
        return answer

    def _needed(self, features: Sequence[Feature]) -> list[FeatureView]:
        """Return the views whose features are asked for, or are inputs of transforms."""
        found = [_view(feature) for feature in features if not isinstance(feature, str | OnDemand)]
        inputs = {name for feature in features if isinstance(feature, OnDemand) for name in feature.inputs}
        if inputs:
            found += [v for v in self._definitions.views.values() if inputs & set(v.feature_names)]
        return list({view.name: view for view in found}.values())

    def _named(self, name: str) -> Feature:
        view_name, colon, short = name.partition(":")
        if not colon:
            view_name, _, short = name.partition("__")
        view = self._definitions.views.get(view_name)
        if view is None:
            transform = self._definitions.transforms.get(name) or self._definitions.transforms.get(view_name)
            if transform is not None:
                return transform
            known = [f"{v.name}:{a.name}" for v in self._definitions.views.values() for a in v.aggregations]
            raise DataError(f"there is no feature '{name}'.{nearest(name, known)}")
        own = [each.name for each in view.aggregations]
        if short not in own:
            raise DataError(f"view '{view_name}' has no feature '{short}'.{nearest(short, own)}")
        return view[[short]]

    def _of_view(self, view: FeatureView) -> _ViewReads:
        if view.name not in self._views:
            self._views[view.name] = _ViewReads(view, self._online)
        return self._views[view.name]

    def _rows(self, columns: Mapping[str, Sequence[Any]]) -> int:
        lengths = {name: len(values) for name, values in columns.items()}
        if not lengths or 0 in lengths.values():
            raise DataError("entities is empty; expected such as {'carrier': ['UA', 'AA']}")
        first = next(iter(lengths.values()))
        for name, length in lengths.items():
            if length != first:
                raise DataError(f"entities: '{name}' has {length} values; expected {first}, one a row")
        return first


class _ViewReads:
    """Reads of one view."""

    def __init__(self, view: FeatureView, online: Online) -> None:
        self._view, self._online = view, online
        self._layout = Layout(view)
        self._version, self._names = view.version_id, view.feature_names  # they are hashed and spelt at each access
        self._prefix = online.prefix(self._version)
        self._nothing = nothing(view)

    def read(self, columns: Mapping[str, Sequence[Any]], rows: int, at: int) -> dict[str, ReadColumn]:
        """Return the columns of all features of the view by their full names. Raises DataError."""
        watermark = self._online.watermark(self._version)
        position = read_position(self._online, self._version)
        if watermark is None or position is None:
            raise DataError(f"view '{self._view.name}' has no values yet, as it is defined now. Run: trimtab features")
        kinds = {name: _kind(type_) for name, type_ in position.types.items()}
        for name in self._view.entity.keys:
            if name not in columns:
                raise DataError(f"entities has no '{name}', a key of view '{self._view.name}'.{nearest(name, columns)}")
        keys = [(name, key_part(name, kinds.get(name))) for name in self._view.entity.keys]
        found = self._online.read([(self._prefix, _key(keys, columns, row)) for row in range(rows)], at)
        packed = [self._nothing if value is None else value for value in found]
        size, width = PACKED.itemsize * self._layout.width, self._layout.width
        numbers = b"".join([value[:size] for value in packed])
        stored = np.frombuffer(numbers, dtype=PACKED).reshape(rows, width)
        with np.errstate(all="ignore"):
            made = self._layout.features(list(stored.T), np.full(rows, at))
        exact = [unpack_exact(value, width) if len(value) > size else {} for value in packed]
        absent = [NOT_FOUND if value is None else NULL for value in found]
        until: list[datetime | None] = [EPOCH + timedelta(microseconds=min(watermark, at))] * rows
        answers = {}
        for feature, name, values, place in zip(
            self._view.aggregations, self._names, made, self._layout.feature_places, strict=True
        ):
            kind = kinds.get(feature.column or "") if feature.kind in PICKS else None
            if kind in ALWAYS:
                values = _exact([own.get(place) for own in exact], kind)
                shown = [_plain(value) for value in values.tolist()]
                missing = np.array([value is None for value in shown])
            else:
                shown, missing = values.tolist(), ~np.isfinite(values)
            statuses = [PRESENT] * rows
            for row in np.flatnonzero(missing).tolist():
                shown[row], statuses[row] = None, absent[row]
            answers[name] = ReadColumn(name, shown, statuses, until, values)
        return answers


def _key(keys: Sequence[tuple[str, Callable[[Any], bytes]]], columns: Mapping[str, Sequence[Any]], row: int) -> bytes:
    try:
        parts = [encode(columns[name][row]) for name, encode in keys]
    except WrongValue as error:
        raise error.at(row) from None
    return parts[0] if len(parts) == 1 else join_parts(parts)


def _kind(type_: str) -> Kind | None:
    """Return the kind of a column by its type in a position."""
    return next((kind for begins, kind in KINDS if type_.startswith(begins)), None)


def _view(feature: FeatureView | Selection) -> FeatureView:
    return feature.view if isinstance(feature, Selection) else feature


def _expect_different(columns: Sequence[ReadColumn], *, full_names: bool) -> None:
    """Raise DataError when two columns have one name, since a client could not tell them apart."""
    names = [column.name for column in columns]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        hint = "ask for each feature once" if full_names else "ask for full_feature_names, or for each feature once"
        raise DataError(f"two columns of the answer have the name '{twice}'; {hint}")


def _short(column: ReadColumn, columns: Mapping[str, Sequence[Any]]) -> ReadColumn:
    if column.name in columns:
        return column
    return ReadColumn(column.name.rpartition("__")[2], column.values, column.statuses, column.times)


def _computed(
    transform: OnDemand, columns: Mapping[str, Sequence[Any]], views: Mapping[str, Mapping[str, ReadColumn]], rows: int
) -> list[ReadColumn]:
    """Return the outputs of a transform. Raises DataError when an input is missing."""
    of_views = {name: column for made in views.values() for name, column in made.items()}
    inputs: list[Array] = []
    for name in transform.inputs:
        if name not in of_views and name not in columns:
            raise DataError(f"entities has no '{name}', an input of '{transform.name}'.{nearest(name, columns)}")
        own = of_views[name].own if name in of_views else None
        inputs.append(by_value(name)(columns[name]) if own is None else as_input(own))
    with np.errstate(all="ignore"):
        outputs = run(transform, inputs, rows)
    made = [[_plain(value) for value in output.tolist()] for output in outputs]
    names = transform.feature_names
    return [
        ReadColumn(name, values, [_status(value, True) for value in values], [None] * rows)
        for name, values in zip(names, made, strict=True)
    ]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: null for NaN and infinities."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _exact(values: list[str | int | None], kind: Kind | None) -> Array:
    """Return texts as objects, and dates and times, which are stored as whole numbers, as datetime64."""
    if kind == "text":
        return objects(values)
    numbers, missing = whole(values)
    numbers[missing] = np.iinfo(np.int64).min  # NumPy's NaT
    return numbers.view("datetime64[D]" if kind == "date" else "datetime64[us]")


def _status(value: Any, known: bool) -> str:
    if value is not None:
        return PRESENT
    return NULL if known else NOT_FOUND
