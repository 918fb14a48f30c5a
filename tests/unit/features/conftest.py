"""What the tests of features share: an oracle that computes a feature by the words of its definition.

It knows nothing of the implementation: loops over rows, math.fsum, Python's own comparisons.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest

from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.views import FeatureView

Row = Mapping[str, Any]
Oracle = Callable[[FeatureView, Sequence[Row], Mapping[str, Any], "int | None"], list["float | None"]]


def feature_values(view: FeatureView, rows: Sequence[Row], key: Row, moment: int | None) -> list[float | None]:
    """Return the view's features at one moment. Times in rows are int microseconds; rows are in table order."""
    return [_value(view, aggregation, rows, key, moment) for aggregation in view.aggregations]


def _value(view: FeatureView, aggregation: Aggregation, rows: Sequence[Row], key: Row, at: int | None) -> float | None:
    if at is None:
        return None
    if view.every_micros is not None:
        at = math.floor(Fraction(at, view.every_micros)) * view.every_micros
    counted = []
    for order, row in enumerate(rows):
        moment, known = row[view.source.timestamp], row[view.source.known_column]
        if any(key[name] is None or row[name] is None or row[name] != key[name] for name in view.entity.keys):
            continue
        if moment is None or known is None or known > at or moment > at:
            continue
        since, tie = (max(moment, known), moment) if view.window_by == "known_at" else (moment, known)
        if aggregation.window is not None and not since > at - aggregation.window:
            continue
        if view.ttl_micros is not None and not since > at - view.ttl_micros:
            continue
        counted.append((since, tie, order, row))
    if aggregation.kind == "count":
        return float(len(counted))
    column = str(aggregation.column)
    if aggregation.kind == "last":
        if not counted:
            return None
        value = max(counted, key=lambda item: item[:3])[3][column]
        return None if value is None or math.isnan(value) else float(value)
    values = [float(row[column]) for _, _, _, row in counted if row[column] is not None]
    values = [value for value in values if math.isfinite(value)]
    return _summary(aggregation.kind, values) if values else None


def _summary(kind: str, values: list[float]) -> float:
    if kind == "min":
        return min(values) + 0.0
    if kind == "max":
        return max(values) + 0.0
    total = _sum(values)
    return total if kind == "sum" else total / len(values)


def _sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:  # math.fsum gives up when a partial sum is too large, although the whole may not be
        exact = sum(map(Fraction, values), Fraction(0))
        try:
            return exact.numerator / exact.denominator
        except OverflowError:
            return math.inf if exact > 0 else -math.inf


def exact_bits(values: Sequence[float | None]) -> list[str | None]:
    """Return the bits of each value, so that 0.0 and -0.0 differ."""
    return [None if value is None else struct.pack(">d", value).hex() for value in values]


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """The function that computes features by definition."""
    return feature_values


@pytest.fixture(scope="session")
def bits() -> Callable[[Sequence[float | None]], list[str | None]]:
    """The function that shows the bits of values."""
    return exact_bits
