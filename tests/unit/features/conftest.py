"""What the tests of features share: an oracle that computes a feature by the words of its definition.

It knows nothing of the implementation: loops over rows, math.fsum, Python's own comparisons.
"""

from __future__ import annotations

import ast
import math
import operator
import statistics
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.views import FeatureView

Row = Mapping[str, Any]
Oracle = Callable[[FeatureView, Sequence[Row], Mapping[str, Any], "int | None"], list["float | None"]]


def feature_values(view: FeatureView, rows: Sequence[Row], key: Row, moment: int | None) -> list[float | None]:
    """Return the view's features at one moment. Times in rows are int microseconds; rows are in table order."""
    return [_value(view, aggregation, rows, key, moment) for aggregation in view.aggregations]


def _value(view: FeatureView, aggregation: Aggregation, rows: Sequence[Row], key: Row, at: int | None) -> Any:
    if at is None:
        return None
    if view.every_micros is not None:
        at = math.floor(Fraction(at, view.every_micros)) * view.every_micros
    if aggregation.of:
        one, other = (_value(view, each, rows, key, at) for each in aggregation.of)
        if one is None or other is None or (aggregation.kind == "ratio" and other == 0):
            return None
        return number(np.float64(one) / other if aggregation.kind == "ratio" else np.float64(one) - other)
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
        if aggregation.where is not None and holds(ast.parse(aggregation.where, mode="eval").body, row) is not True:
            continue
        counted.append((since, tie, order, row))
    counted.sort(key=lambda item: item[:3])
    if aggregation.kind == "count":
        return float(len(counted))
    if aggregation.kind == "since_last":
        return (at - counted[-1][0]) / 1e6 if counted else None
    if aggregation.column is None:
        return sum(weight(at - since, aggregation.arg) for since, *_ in counted) if counted else 0.0
    column = aggregation.column
    if aggregation.kind in ("last", "first"):
        return present(counted[-1 if aggregation.kind == "last" else 0][3][column]) if counted else None
    if aggregation.kind == "distinct":
        found = [present(row[column]) for _, _, _, row in counted]
        return float(len({value for value in found if value is not None}))
    pairs = [(float(row[column]), since) for since, _, _, row in counted if row[column] is not None]
    pairs = [(value, since) for value, since in pairs if math.isfinite(value)]
    values = [value for value, _ in pairs]
    if aggregation.kind == "quantile":
        return quantile(values, aggregation.arg)
    if aggregation.kind.startswith("decayed"):
        weights = [Fraction(weight(at - since, aggregation.arg)) for _, since in pairs]
        total = sum((Fraction(v) * w for v, w in zip(values, weights, strict=True)), Fraction(0))
        if not values:
            return None
        return float(total / sum(weights)) if aggregation.kind == "decayed_mean" else float(total)
    return _summary(aggregation.kind, values) if values else None


def present(value: Any) -> Any:
    """Return a value, None for NaN; numbers as float."""
    if isinstance(value, str) or value is None:
        return value
    return None if math.isnan(value) else float(value)


def number(value: Any) -> float | None:
    """Return a float, None for NaN."""
    return None if math.isnan(value) else float(value)


def weight(age: int, half_life: Any) -> float:
    """Return what is left of 1 after some microseconds."""
    return float(2.0 ** -(age / half_life))


def quantile(values: list[float], level: Any) -> float | None:
    """Return what NumPy says; two values further apart than float64 reaches are weighted one by one."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * level
    low = min(int(place), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    if math.isinf(ordered[high] - ordered[low]):
        share: float = place - low
        return ordered[low] * (1 - share) + ordered[high] * share + 0.0
    between: float = float(np.quantile(np.array(ordered), level)) + 0.0
    return between


COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def holds(node: ast.expr, row: Row) -> bool | None:
    """Return what a filter says of a row, by three-valued logic."""
    if isinstance(node, ast.BoolOp):
        found = [holds(value, row) for value in node.values]
        decisive = isinstance(node.op, ast.Or)
        return decisive if decisive in found else None if None in found else not decisive
    if isinstance(node, ast.UnaryOp):
        found_one = holds(node.operand, row)
        return None if found_one is None else not found_one
    if isinstance(node, ast.Name):
        value: bool | None = row[node.id]
        return value
    assert isinstance(node, ast.Compare)
    values = [value_of(each, row) for each in (node.left, *node.comparators)]
    if isinstance(node.ops[0], ast.Is | ast.IsNot):
        return (values[0] is None) == isinstance(node.ops[0], ast.Is)
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        return None if values[0] is None else (values[0] in values[1]) == isinstance(node.ops[0], ast.In)
    steps = [
        None if one is None or other is None else COMPARE[type(op)](one, other)
        for op, one, other in zip(node.ops, values, values[1:], strict=False)
    ]
    return False if False in steps else None if None in steps else True


def value_of(node: ast.expr, row: Row) -> Any:
    """Return a constant, or a column's value with None for NaN."""
    return present(row[node.id]) if isinstance(node, ast.Name) else ast.literal_eval(node)


def _summary(kind: str, values: list[float]) -> float | None:
    if kind == "min":
        return min(values) + 0.0
    if kind == "max":
        return max(values) + 0.0
    if kind == "std":
        try:
            return statistics.stdev(values) if len(values) > 1 else None
        except OverflowError:
            return math.inf
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
