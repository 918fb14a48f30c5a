"""Computes the feature vectors of models with typed features for requests, with the values of the training frame.

The vectors of plain numbers come from OnlinePlan, whose path stays free of types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import WHOLE, Schema, TypedMatrix, objects, whole
from trimtab.definitions.models import Model
from trimtab.errors import DataError
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.packing import PACKED, unpack_exact
from trimtab.features.typed_columns import from_output, typed_column
from trimtab.features.value_types import Array, Kind
from trimtab.stores.online.contract import Online


class TypedPlan(OnlinePlan):
    """Turns request columns and times into typed rows; thread-safe.

    schema: the types of the features and the known categories, from the bundle. Other arguments as for OnlinePlan.
    """

    def __init__(self, model: Model, online: Online, types: Mapping[str, Kind], schema: Schema) -> None:
        super().__init__(model, online, types, typed=schema.types)
        self._schema = schema
        self._typed = [
            (name, typed_column(name, schema))
            for name in model.features
            if isinstance(name, str) and name in schema.types
        ]
        self._view_names = [name for view in model.views for name in view.feature_names]
        self._exact_places = [
            (view, layout.width, column)
            for view, layout in enumerate(self._layouts)
            for column in layout.feature_places
        ]
        """By view feature: number and stored width of its view, and its column."""

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> TypedMatrix:
        """Return the typed rows of requests. Arguments and errors as in OnlinePlan."""
        self._check(columns, len(at))
        with np.errstate(all="ignore"):
            made = self._of_views(columns, at)
            found = {name: made[place] for place, name in enumerate(self._view_names)}
            for name, _, convert in self._plain:
                found[name] = convert(columns[name])
            for places, outputs in self._transformed(columns, lambda place: as_input(made[place]), len(at)):
                found.update((self._schema.features[n], output) for n, output in zip(places, outputs, strict=True))
            types = self._schema.types
            made_of = {name: from_output(name, types.get(name), values) for name, values in found.items()}
            made_of.update((name, convert(columns[name])) for name, convert in self._typed)
            return TypedMatrix.of(self._schema, made_of)

    def _of_views(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> list[Array]:
        """Return each feature of the views: float64, objects for text, datetime64 for dates and timestamps."""
        if not self._keys:
            return []
        packed = self._packed(columns, at)
        stored = np.frombuffer(self._numbers(packed), dtype=PACKED).reshape(len(at), self._stored_width)
        table = stored if self._finished else self._features(stored, at)
        return [self._view_column(place, name, table, packed) for place, name in enumerate(self._view_names)]

    def _view_column(self, place: int, name: str, table: Array, packed: list[bytes]) -> Array:
        kind = self._schema.types.get(name)
        if kind not in ("text", "category", "date", "timestamp"):
            return np.array(table[:, place])
        view, width, column = self._exact_places[place]
        values = [unpack_exact(value, width).get(column) for value in packed[view :: len(self._layouts)]]
        if kind not in WHOLE:
            return objects(values)
        numbers, missing = whole(values)
        numbers[missing] = np.iinfo(np.int64).min  # NumPy's NaT
        return numbers.view("datetime64[D]" if kind == "date" else "datetime64[us]")


class TypedColumns:
    """Takes each feature from the request column of its name: for bundles without views or transforms."""

    def __init__(self, schema: Schema, request_columns: Sequence[str]) -> None:
        strange = [name for name in schema.features if name not in request_columns]
        if strange:
            raise DataError(f"feature '{strange[0]}' is no request column; it needs the project's views")
        self._schema = schema
        self._columns = [(name, typed_column(name, schema)) for name in schema.features]

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> TypedMatrix:
        """Return the typed rows. Raises DataError naming column, row and value."""
        with np.errstate(over="ignore"):
            return TypedMatrix.of(self._schema, {name: convert(columns[name]) for name, convert in self._columns})


def as_input(values: Array) -> Array:
    """Return a view feature as the input of a transform."""
    return values.astype("datetime64[us]") if values.dtype.kind == "M" else values.copy()
