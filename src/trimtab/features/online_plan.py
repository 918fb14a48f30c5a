"""Computes a model's feature vectors for requests, with the same values as in the training frame.

Whatever does not depend on the request is prepared once: prefixes and layouts of the views, converters of the columns,
places in the vector. A request costs one read of the online store for each row, or one in all if its rows have the same
time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.definitions.models import Model
from trimtab.definitions.on_demand import OnDemand
from trimtab.definitions.views import FeatureView
from trimtab.errors import DataError, DefinitionError, nearest
from trimtab.features.continuous import Layout
from trimtab.features.packing import PACKED, nothing
from trimtab.features.request_columns import WrongValue, for_transform, key_part, number
from trimtab.features.transforms import RulePlan, run
from trimtab.features.value_types import KINDS, Array, Kind, join_parts
from trimtab.stores.online.contract import Online


class OnlinePlan:
    """Turns request columns and times into feature vectors; thread-safe.

    rule: the model's fallback rule, None if it has none.
    """

    def __init__(
        self, model: Model, online: Online, types: Mapping[str, Kind] | None = None, *, typed: Collection[str] = ()
    ) -> None:
        """Prepare everything that does not depend on a request.

        Args:
            model: the model.
            online: the store with the timelines of its views.
            types: kind of each request column, from `request_types`. For a column that is missing here the type of
                each value decides, except for the examples' timestamp, which is a time.
            typed: request columns that are features of a type, which `vectors` leaves out (typed_plan.py).

        Raises:
            DefinitionError: `types` has an unknown kind, or one that an entity key cannot have.
        """
        kinds = _checked_kinds(model, types or {})
        places = {name: place for place, name in enumerate(model.feature_names)}
        self.rule = None if model.rule is None else RulePlan(model, model.rule, kinds)
        self.versions = {view.name: view.version_id for view in model.views}
        """Version of each view whose values it reads."""
        self._read = online.read
        self._width = len(places)
        self._columns = model.request_columns
        self._keys = [_key_of(view, kinds) for view in model.views]
        self._prefixes = [online.prefix(view.version_id) for view in model.views]
        self._nothing = [nothing(view) for view in model.views]
        names = [name for view in model.views for name in view.feature_names]
        taken = [at for at, name in enumerate(names) if name in places]
        self._view_taken = None if len(taken) == len(names) else taken
        self._view_places = _as_slice([places[names[at]] for at in taken])
        self._layouts = [Layout(view) for view in model.views]
        self._stored_width = sum(layout.width for layout in self._layouts)
        self._finished = all(layout.is_plain for layout in self._layouts)
        plain = [name for name in model.features if isinstance(name, str) and name not in typed]
        self._plain = [(name, places[name], number(name, kinds.get(name))) for name in plain]
        self._transforms = [
            _Step(
                transform,
                [(names.index(name) if name in names else None, name) for name in transform.inputs],
                [places[name] for name in transform.feature_names],
            )
            for transform in model.transforms
        ]
        inputs = {name for step in self._transforms for at, name in step.inputs if at is None}
        self._inputs = [(name, for_transform(name, kinds.get(name))) for name in sorted(inputs)]

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> Array:
        """Return the feature vectors.

        Args:
            columns: one sequence of `len(at)` values for each of the model's request columns; others are ignored.
            at: time of each row, microseconds since the epoch.

        Returns:
            float32, shape (rows, features), NaN for missing values.

        Raises:
            DataError: a column is missing or has a wrong value.
        """
        self._check(columns, len(at))
        out = np.empty((len(at), self._width), dtype=np.float32)
        with np.errstate(all="ignore"):
            table = self._view_table(columns, at)
            out[:, self._view_places] = table if self._view_taken is None else table[:, self._view_taken]
            for name, place, convert in self._plain:
                out[:, place] = convert(columns[name])
            for places, outputs in self._transformed(columns, lambda place: table[:, place].copy(), len(at)):
                for place, output in zip(places, outputs, strict=True):
                    out[:, place] = output
        return out

    def _check(self, columns: Mapping[str, Sequence[Any]], rows: int) -> None:
        for name in self._columns:
            if name not in columns:
                raise DataError(f"the request has no column '{name}'.{nearest(name, columns)}")
            if len(columns[name]) != rows:
                raise DataError(f"column '{name}' has {len(columns[name])} values; expected {rows}, one a row")

    def _transformed(
        self, columns: Mapping[str, Sequence[Any]], of_view: Callable[[int], Array], rows: int
    ) -> Iterator[tuple[list[int], list[Array]]]:
        """Yield for each transform the places of its features and its outputs. of_view: a view feature by its place."""
        if not self._transforms:
            return
        given = {name: convert(columns[name]) for name, convert in self._inputs}
        for step in self._transforms:
            arrays = [given[name] if view is None else of_view(view) for view, name in step.inputs]
            yield step.places, run(step.transform, arrays, rows)

    def _view_table(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> Array:
        """Return the features of all views in their order: float64, shape (rows, view features)."""
        if not self._keys:
            return np.empty((len(at), 0))
        packed = self._packed(columns, at)
        numbers = b"".join(packed)
        if len(numbers) != PACKED.itemsize * self._stored_width * len(at):  # a view has texts, which this model skips
            numbers = self._numbers(packed)
        stored = np.frombuffer(numbers, dtype=PACKED).reshape(len(at), self._stored_width)
        return stored if self._finished else self._features(stored, at)

    def _numbers(self, packed: list[bytes]) -> bytes:
        """Return the numbers of packed values, without the texts and times behind them."""
        sizes = [PACKED.itemsize * layout.width for layout in self._layouts] * (len(packed) // len(self._layouts))
        return b"".join([value[:size] for value, size in zip(packed, sizes, strict=True)])

    def _features(self, stored: Array, at: Sequence[int]) -> Array:
        """Return the features of all views from the stored columns: those that change with time are finished."""
        moments = np.array(at, dtype=np.int64)
        first, made = 0, []
        for layout in self._layouts:
            made += layout.features(list(stored.T[first : first + layout.width]), moments)
            first += layout.width
        return np.column_stack(made)

    def _packed(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> list[bytes]:
        """Return the packed values of all views of the first row, then of the second, and so on."""
        wanted = [
            [(prefix, make(columns, row)) for prefix, make in zip(self._prefixes, self._keys, strict=True)]
            for row in range(len(at))
        ]
        if len(at) > 1 and len(set(at)) == 1:
            found = self._read([pair for pairs in wanted for pair in pairs], at[0])
        else:
            found = [value for pairs, moment in zip(wanted, at, strict=True) for value in self._read(pairs, moment)]
        return [
            value if value is not None else other for value, other in zip(found, self._nothing * len(at), strict=True)
        ]


@dataclass(frozen=True)
class _Step:
    """A transform in the plan. inputs: place among the views' features, or None and the request column's name."""

    transform: OnDemand
    inputs: list[tuple[int | None, str]]
    places: list[int]


def _key_of(view: FeatureView, kinds: Mapping[str, Kind]) -> Callable[[Mapping[str, Sequence[Any]], int], bytes]:
    """Return a function that encodes the view's entity key of one row of a request, as `value_types.encode` does."""
    parts = [(name, key_part(name, kinds.get(name))) for name in view.entity.keys]
    last, encode_last = parts[-1]

    def one(columns: Mapping[str, Sequence[Any]], row: int) -> bytes:
        try:
            return encode_last(columns[last][row])
        except WrongValue as error:
            raise error.at(row) from None

    def several(columns: Mapping[str, Sequence[Any]], row: int) -> bytes:
        try:
            return join_parts([encode(columns[name][row]) for name, encode in parts])
        except WrongValue as error:
            raise error.at(row) from None

    return several if len(parts) > 1 else one


def _as_slice(places: list[int]) -> slice | list[int]:
    """Return consecutive places as a slice, which NumPy fills several times as fast as a list of places."""
    first = places[0] if places else 0
    return slice(first, first + len(places)) if places == list(range(first, first + len(places))) else places


def _checked_kinds(model: Model, types: Mapping[str, Kind]) -> dict[str, Kind]:
    for name, kind in types.items():
        if kind not in KINDS:
            raise DefinitionError(
                f"Model '{model.name}': request column '{name}' has kind '{kind}'.{nearest(str(kind), KINDS)}"
            )
    return {model.examples.timestamp: "time", **types}
