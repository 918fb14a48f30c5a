"""Which columns of two tables are compared, how their values are read, and how the tables' schemas differ.

Numbers, decimals, dates and times are ordered columns; text, enumerations and booleans are categories. A struct is
taken apart into its fields; of a list and of bytes the length is compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from trimtab.errors import UsageError, nearest

Kind = Literal["ordered", "category"]
Change = Literal["missing", "new", "type"]


@dataclass(frozen=True, kw_only=True)
class SchemaChange:
    """One difference between the columns of the reference and of the current table."""

    column: str
    change: Change
    """missing: only the reference has it; new: only the current table has it; type: both, of different types."""
    reference: str | None
    """Its type in the reference."""
    current: str | None
    breaking: bool
    """Its values can no longer be used as they were: the column is gone, or a number has become text."""

    @property
    def text(self) -> str:
        """The difference in words."""
        if self.change == "missing":
            return f"column '{self.column}' ({self.reference}) is missing"
        if self.change == "new":
            return f"column '{self.column}' ({self.current}) is new"
        return f"column '{self.column}' was {self.reference} and is {self.current}"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A column, a field of a struct, or the length of a list, with the expression that reads it."""

    name: str
    dtype: pl.DataType
    kind: Kind | None
    """None: values of this type are not compared."""
    value: pl.Expr


@dataclass(frozen=True, kw_only=True)
class WatchedColumn:
    """One column that is compared."""

    name: str
    kind: Kind
    dtype: pl.DataType
    """Its type in the reference."""
    value: pl.Expr
    """Its values: floats of an ordered column, names of a category."""


def leaves(schema: Mapping[str, pl.DataType]) -> dict[str, Leaf]:
    """Return everything that can be compared in a table, by name."""
    found: dict[str, Leaf] = {}
    for name, dtype in schema.items():
        for leaf in _unnested(name, dtype, pl.col(name)):
            found.setdefault(leaf.name, leaf)
    return found


def kind_of(dtype: pl.DataType) -> Kind | None:
    """Return how values of a type are compared; None when they are not."""
    if dtype.is_numeric() or dtype.is_temporal():
        return "ordered"
    if dtype in (pl.Boolean, pl.String, pl.Null) or isinstance(dtype, pl.Categorical | pl.Enum):
        return "category"
    return None


def watched(
    reference: Mapping[str, Leaf],
    *,
    columns: Collection[str] | None = None,
    categories: Collection[str] = (),
    without: Collection[str] = (),
    current: Mapping[str, Leaf] | None = None,
) -> tuple[list[WatchedColumn], dict[str, str]]:
    """Return the columns of the reference to compare, and of the others why they are left out.

    Args:
        reference: the leaves of the reference.
        columns: only these, and the fields of these; None for all.
        categories: columns whose numbers are codes.
        without: columns that are left out, such as the timestamp.
        current: the leaves of the current table; they give a column its kind that has no value in the reference.

    Raises:
        UsageError: no column has one of the names; names the nearest.
    """
    wanted = None if columns is None else _named(columns, reference, "columns")
    codes = _named(categories, reference, "categories")
    found: list[WatchedColumn] = []
    left_out: dict[str, str] = {}
    for name, leaf in reference.items():
        if name in without or (wanted is not None and name not in wanted):
            continue
        dtype, kind = leaf.dtype, leaf.kind
        if dtype == pl.Null and current and name in current:  # no value in the reference gives it a type
            dtype, kind = current[name].dtype, current[name].kind
        if kind is None:
            left_out[name] = f"values of type {dtype} are not compared"
            continue
        kind = "category" if name in codes else kind
        found.append(WatchedColumn(name=name, kind=kind, dtype=dtype, value=read_as(leaf, kind)))
    return found, left_out


def read_as(leaf: Leaf | None, kind: Kind) -> pl.Expr:
    """Return the expression that reads a leaf as a kind; of an absent one, nulls. What does not fit is null."""
    if leaf is None or leaf.kind is None:
        return pl.lit(None, pl.Float64 if kind == "ordered" else pl.String)
    if kind == "category":
        if leaf.dtype.is_float():
            whole = leaf.value.cast(pl.Int64, strict=False)
            names = pl.when(whole == leaf.value).then(whole.cast(pl.String)).otherwise(leaf.value.cast(pl.String))
            return pl.when(leaf.value.is_nan()).then(None).otherwise(names)
        return leaf.value.cast(pl.String, strict=False)
    if leaf.dtype.is_temporal():
        return _microseconds(leaf).cast(pl.Float64)
    if leaf.dtype == pl.Float32:
        return leaf.value
    return leaf.value.cast(pl.Float64, strict=False)


def schema_changes(
    reference: Mapping[str, Leaf], current: Mapping[str, Leaf], *, without: Collection[str] = ()
) -> tuple[SchemaChange, ...]:
    """Return how the columns of two tables differ; columns of the reference first, in their order."""
    found = []
    for name, leaf in reference.items():
        if name in without:
            continue
        now = current.get(name)
        if now is None:
            found.append(_change(name, "missing", leaf, None, breaking=True))
        elif leaf.dtype != now.dtype and pl.Null not in (leaf.dtype, now.dtype):
            found.append(_change(name, "type", leaf, now, breaking=not _alike(leaf, now)))
    found += [
        _change(name, "new", None, leaf, breaking=False)
        for name, leaf in current.items()
        if name not in reference and name not in without
    ]
    return tuple(found)


def shown_type(dtype: pl.DataType) -> str:
    """Return a type as people read it: int64, text, timestamp[UTC]."""
    if isinstance(dtype, pl.Datetime):
        return f"timestamp[{dtype.time_zone}]" if dtype.time_zone else "timestamp"
    if dtype == pl.String:
        return "text"
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return "category"
    return str(dtype).lower()


def _microseconds(leaf: Leaf) -> pl.Expr:
    """Return dates, times and durations in microseconds, whatever unit they are stored in."""
    if leaf.dtype == pl.Date or isinstance(leaf.dtype, pl.Datetime):
        return leaf.value.cast(pl.Datetime("us", getattr(leaf.dtype, "time_zone", None))).to_physical()
    if isinstance(leaf.dtype, pl.Duration):
        return leaf.value.cast(pl.Duration("us")).to_physical()
    return leaf.value.to_physical() / 1_000  # a time of day, in nanoseconds


def _unnested(name: str, dtype: pl.DataType, value: pl.Expr) -> Sequence[Leaf]:
    if isinstance(dtype, pl.Struct):
        fields = [
            _unnested(f"{name}.{field.name}", _instance(field.dtype), value.struct.field(field.name))
            for field in dtype.fields
        ]
        return [leaf for found in fields for leaf in found]
    if isinstance(dtype, pl.List):
        lengths = value.list.len()
        return [Leaf(name=f"{name} (length)", dtype=pl.UInt32(), kind="ordered", value=lengths)]
    if dtype == pl.Binary:
        return [Leaf(name=f"{name} (bytes)", dtype=pl.UInt32(), kind="ordered", value=value.bin.size())]
    return [Leaf(name=name, dtype=dtype, kind=kind_of(dtype), value=value)]


def _instance(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]


def _named(names: Collection[str], reference: Mapping[str, Leaf], option: str) -> set[str]:
    """Return the leaves that names mean: a column, or all fields of a struct."""
    found: set[str] = set()
    for name in names:
        mine = {leaf for leaf in reference if leaf == name or leaf.startswith((f"{name}.", f"{name} ("))}
        if not mine:
            raise UsageError(f"{option}: the reference has no column '{name}'.{nearest(name, reference)}")
        found |= mine
    return found


def _alike(a: Leaf, b: Leaf) -> bool:
    """Return True if values of both types can be compared as they are."""
    return a.kind == b.kind and a.dtype.is_temporal() == b.dtype.is_temporal()


def _change(
    column: str, change: Change, reference: Leaf | None, current: Leaf | None, *, breaking: bool
) -> SchemaChange:
    return SchemaChange(
        column=column,
        change=change,
        reference=shown_type(reference.dtype) if reference else None,
        current=shown_type(current.dtype) if current else None,
        breaking=breaking,
    )
