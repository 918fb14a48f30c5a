"""Cuts the holdout into segments: the values of a column or a feature, or ranges of a number.

A number with few values has one segment a value; another one is cut into BINS ranges with as many rows each. Missing
values are a segment of their own. Two columns are crossed, so that each pair of segments is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from trimtab.bundle.typed_matrix import typed_places
from trimtab.definitions.personal_columns import mask_number
from trimtab.errors import DataError, nearest
from trimtab.gates.inputs import Array, GateInputs

BINS = 4
MAX_VALUES = 12
"""A number with more values is cut into ranges."""
MISSING = "missing"


@dataclass(frozen=True)
class Segments:
    """The segments of one column, or of crossed columns. place: number of each row's segment, int64 (rows,)."""

    column: str
    names: tuple[str, ...]
    place: Array

    def crossed(self, other: Segments) -> Segments:
        """Return the pairs of segments that some row has."""
        pairs, place = np.unique(self.place * len(other.names) + other.place, return_inverse=True)
        names = tuple(f"{self.names[p // len(other.names)]}, {other.names[p % len(other.names)]}" for p in pairs)
        return Segments(f"{self.column} x {other.column}", names, place.ravel())


def segments_of(inputs: GateInputs, columns: tuple[str, ...], key: str) -> Segments:
    """Return the segments of one column, or of several that are crossed. Raises DataError for an unknown name."""
    found: Segments | None = None
    for name in columns:
        known = [*inputs.groups, *inputs.feature_names]
        if name not in known:
            raise DataError(
                f"{key}: the training set has no column '{name}'.{nearest(name, known)} "
                "Make it again after a change of the policy: trimtab features, then train"
            )
        own = _column(inputs, name)
        found = own if found is None else found.crossed(own)
    assert found is not None
    return found


def _column(inputs: GateInputs, name: str) -> Segments:
    if name in inputs.groups:
        values = pl.Series(name, inputs.groups[name], strict=False)
        if values.dtype.is_numeric():
            found = _numbers(name, values.cast(pl.Float64).fill_null(np.nan).to_numpy())
        else:
            found = _texts(name, values.cast(pl.String).fill_null(MISSING).to_numpy())
        return _shown(inputs, name, found)
    place = inputs.feature_names.index(name)
    return feature_segments(inputs, place)


def feature_segments(inputs: GateInputs, place: int) -> Segments:
    """Return the segments of a feature: those of a category are its categories."""
    name, numbers = inputs.feature_names[place], np.asarray(inputs.X)[:, place].astype(np.float64)
    kind = typed_places(inputs.X).get(place)
    if kind == "category":
        exact = inputs.X.exact[place]  # type: ignore[attr-defined]  # a TypedMatrix, as it has types
        texts = [MISSING if np.isnan(code) else str(value) for code, value in zip(numbers, exact, strict=True)]
        return _shown(inputs, name, _texts(name, np.array(texts)))
    return _shown(inputs, name, _numbers(f"length of {name}" if kind == "text" else name, numbers))


def _shown(inputs: GateInputs, name: str, found: Segments) -> Segments:
    """Return segments without values of personal data."""
    if name not in inputs.personal:
        return found
    missing = (f"{found.column} = {MISSING}", f"{found.column} {MISSING}")
    names = (
        own if own in missing else f"{found.column} = {mask_number(name, place, own, inputs.personal)}"
        for place, own in enumerate(found.names)
    )
    return Segments(found.column, tuple(names), found.place)


def _texts(column: str, values: Array) -> Segments:
    names, place = np.unique(values.astype(str), return_inverse=True)
    return Segments(column, tuple(f"{column} = {name}" for name in names), place.ravel())


def _numbers(column: str, values: Array) -> Segments:
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    if len(distinct) <= MAX_VALUES:
        place, names = np.searchsorted(distinct, values), [f"{column} = {value:g}" for value in distinct]
    else:
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="higher"))
        place = np.searchsorted(edges, values, side="right")
        names = [f"{column} < {edges[0]:g}"]
        names += [f"{column} {low:g} to {high:g}" for low, high in pairwise(edges)]
        names += [f"{column} >= {edges[-1]:g}"]
    place = np.where(np.isnan(values), len(names), place).astype(np.int64)
    return Segments(column, (*names, f"{column} {MISSING}"), place)
