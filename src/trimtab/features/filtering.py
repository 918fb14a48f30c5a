"""Turns the filter of an aggregation into an expression over the rows of a source.

Comparisons with a missing value are neither true nor false, as in SQL and Polars: null and NaN fulfil no comparison,
nor its `not`. Only `is None` and `is not None` ask for them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab import timestamps
from trimtab.clock import from_micros
from trimtab.definitions import row_filter
from trimtab.errors import DefinitionError
from trimtab.features.table_columns import value_kind
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

LARGEST = 2**63 - 1
"""Of whole numbers in a filter."""


def condition(where: str, schema: Mapping[str, Any], *, view: str) -> pl.Expr:
    """Return a filter as an expression that is true, false or null for each row.

    Args:
        where: the canonical filter.
        schema: type of each column of the rows; it has all columns of the filter.
        view: name of the view, for messages.

    Raises:
        DefinitionError: a column is compared with a value of another type.
    """
    return _Reader(schema, f"FeatureView '{view}': where={where!r}").condition(row_filter.parsed(where))


class _Reader:
    def __init__(self, schema: Mapping[str, Any], place: str) -> None:
        self._schema = schema
        self._place = place

    def condition(self, node: ast.expr) -> pl.Expr:
        if isinstance(node, ast.BoolOp):
            join = pl.all_horizontal if isinstance(node.op, ast.And) else pl.any_horizontal
            return join([self.condition(value) for value in node.values])
        if isinstance(node, ast.UnaryOp):
            return ~self.condition(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return pl.all_horizontal([self._comparison(op, left, right) for op, left, right in pairs])
        assert isinstance(node, ast.Name)
        if self._kind(node) != "boolean":
            raise self._wrong(f"column '{node.id}' is {self._schema[node.id]}, no boolean; compare it: {node.id} > 0")
        return pl.col(node.id)

    def _comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> pl.Expr:
        if isinstance(op, ast.Is | ast.IsNot):
            missing = self._value(left, left).is_null()
            return ~missing if isinstance(op, ast.IsNot) else missing
        if isinstance(op, ast.In | ast.NotIn):
            assert isinstance(right, ast.List | ast.Tuple | ast.Set)
            column = self._value(left, left)
            found = pl.any_horizontal([column == self._value(item, left) for item in right.elts])
            return ~found if isinstance(op, ast.NotIn) else found
        one, other = self._value(left, right), self._value(right, left)
        if isinstance(op, ast.Eq):
            return one == other
        if isinstance(op, ast.NotEq):
            return one != other
        if isinstance(op, ast.Lt):
            return one < other
        if isinstance(op, ast.LtE):
            return one <= other
        return one > other if isinstance(op, ast.Gt) else one >= other

    def _value(self, node: ast.expr, other: ast.expr) -> pl.Expr:
        """Return a column or a constant. other: what it is compared with, of the same kind."""
        kind, wanted = self._kind(node), self._kind(other)
        if isinstance(node, ast.Name):
            if isinstance(other, ast.Name) and kind != wanted:
                columns = f"'{node.id}' is {self._schema[node.id]} and '{other.id}' is {self._schema[other.id]}"
                raise self._wrong(f"{columns}; expected two columns of one kind")
            return self._column(node.id, kind)
        value = row_filter.constant(node)
        if wanted == "time" and isinstance(value, str):
            micros = timestamps.micros(value)
            if micros is None:
                raise self._wrong(f"'{value}' is no time; expected such as '2026-01-31' or '2026-01-31T09:00Z'")
            return pl.lit(from_micros(micros)).cast(pl.Datetime("us", "UTC"))
        if kind != wanted:
            name = other.id if isinstance(other, ast.Name) else ""
            expected = {"number": "a number", "text": "a text, such as 'web'", "boolean": "True or False"}
            raise self._wrong(
                f"column '{name}' is {self._schema[name]} and is compared with {value!r}; expected "
                f"{expected.get(wanted, 'the text of a time')}"
            )
        if isinstance(value, int) and abs(value) > LARGEST:
            raise self._wrong(f"{value} does not fit into 64 bits")
        return pl.lit(value)

    def _column(self, name: str, kind: str) -> pl.Expr:
        column, dtype = pl.col(name), self._schema[name]
        if kind == "text":
            return column.cast(pl.String)
        if kind == "time":
            utc = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
            moment = column.dt.convert_time_zone("UTC") if utc else column.cast(pl.Datetime("us"))
            return moment.dt.cast_time_unit("us") if utc else moment.dt.replace_time_zone("UTC")
        if isinstance(dtype, pl.Decimal):
            return column.cast(pl.Float64)
        return column.fill_nan(None) if dtype.is_float() else column

    def _kind(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            dtype = self._schema[node.id]
            if isinstance(dtype, pl.List | pl.Struct | pl.Array | pl.Object | pl.Binary | pl.Duration | pl.Time):
                raise self._wrong(f"column '{node.id}' is {dtype}; expected numbers, booleans, text or timestamps")
            kind = value_kind(dtype)
            return {"integer": "number", "decimal": "number", "date": "time"}.get(kind, kind)
        value = row_filter.constant(node)
        return "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"

    def _wrong(self, reason: str) -> DefinitionError:
        return DefinitionError(f"{self._place}: {reason}")
