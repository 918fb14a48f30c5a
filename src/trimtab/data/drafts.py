"""Drafts the checks of a table from its rows: types, missing values, ranges with a margin, categories, unique columns.

A draft is a start for a person to edit. It says what was seen, and its limits leave room for what was not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from trimtab.definitions.sources import Source

MARGIN = 0.5
"""A range is so much wider, on both sides, than the values seen, in their span."""
MOST_CATEGORIES = 30
ROWS_A_CATEGORY = 20
"""A text column has categories if each was seen so often on average."""
FEWEST_FOR_UNIQUE = 100
"""With fewer rows all values may differ by chance."""


@dataclass(frozen=True)
class ColumnDraft:
    """The checks of one column. checks: Pandera's names with their arguments. seen: what the rows had, in words."""

    name: str
    dtype: pl.DataType
    nullable: bool
    unique: bool
    checks: dict[str, Any] = field(default_factory=dict)
    seen: str = ""


def draft_columns(frame: pl.DataFrame, source: Source, *, keys: Collection[str] = ()) -> list[ColumnDraft]:
    """Return the checks that rows of a table suggest, by column.

    keys: columns that identify something, whose values have no range. Values of columns in `source.pii` are not shown.
    """
    times = {source.timestamp, source.known_column}
    return [_column(frame.get_column(name), source, times, is_key=name in keys) for name in frame.columns]


def as_yaml(columns: Sequence[ColumnDraft], *, title: str) -> str:
    """Return a draft in Pandera's YAML format."""
    lines = [*_comment(title), "schema_type: polars_dataframe", "api: polars", "columns:"]
    for column in columns:
        lines += [
            f"  # {column.seen}",
            f"  {json.dumps(column.name)}:",
            f"    dtype: {json.dumps(repr(column.dtype))}",
        ]
        lines += ["    nullable: true"] * column.nullable + ["    unique: true"] * column.unique
        for check, arguments in column.checks.items():
            lines.append(f"    {check}: {json.dumps(arguments, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def as_python(columns: Sequence[ColumnDraft], *, title: str, name: str) -> str:
    """Return a draft as a Python module with one schema."""
    lines = [
        *_comment(title),
        "import pandera.polars as pa",
        "import polars as pl",
        "",
        f"{name} = pa.DataFrameSchema(",
    ]
    lines.append("    {")
    for column in columns:
        parts = [_written_dtype(column.dtype)]
        parts += [f"pa.Check.{check}({_call(arguments)})" for check, arguments in column.checks.items()]
        parts += ["nullable=True"] * column.nullable + ["unique=True"] * column.unique
        lines += [f"        # {column.seen}", f"        {_literal(column.name)}: pa.Column({', '.join(parts)}),"]
    return "\n".join([*lines, "    },", f"    name={_literal(name)},", ")"]) + "\n"


def schema_name(source: str) -> str:
    """Return the name of a schema: CamelCase of the source's."""
    return "".join(part.capitalize() for part in source.split("_"))


def _comment(title: str) -> list[str]:
    return [
        f"# {title}",
        "# Types, missing values and categories are as seen; ranges are wider by half of their span on both sides.",
        "# Read it line by line, and tighten what you know to be tighter.",
        "",
    ]


def _column(values: pl.Series, source: Source, times: set[str], *, is_key: bool) -> ColumnDraft:
    hidden = values.name in source.pii
    missing = values.null_count()
    found = values.drop_nulls()
    seen = [_share(missing, len(values))] if missing else ["never missing"]
    checks: dict[str, Any] = {}
    alone = found.dtype in (pl.String(), pl.Int64(), pl.Int32()) and not source.key and values.name not in times
    unique = alone and not missing and len(values) >= FEWEST_FOR_UNIQUE and found.n_unique() == len(found)
    if unique:
        seen.append("no value twice")
    if is_key:
        seen.append(f"a key, {found.n_unique():,} values")
    elif len(found) and not hidden and not unique:
        if found.dtype.is_numeric() and not isinstance(found.dtype, pl.Decimal):
            finite = found.filter(found.is_finite()) if found.dtype.is_float() else found
            if len(finite):
                low, high = finite.sort().gather([0, len(finite) - 1]).to_list()
                checks = _range(low, high, whole=found.dtype.is_integer())
                seen.append(f"{low:g} to {high:g}" if found.dtype.is_float() else f"{low} to {high}")
        elif found.dtype == pl.String():
            checks, said = _texts(found)
            seen.append(said)
        elif isinstance(found.dtype, pl.Datetime | pl.Date):
            seen.append(f"{_day(found.min())} to {_day(found.max())}")
    elif hidden:
        seen.append("personal data, so no values here")
    nullable = bool(missing) and values.name != source.timestamp
    return ColumnDraft(values.name, values.dtype, nullable, unique, checks, ", ".join(seen))


def _range(low: Any, high: Any, *, whole: bool) -> dict[str, Any]:
    span = (high - low) or abs(high) or 1
    least, most = low - MARGIN * span, high + MARGIN * span
    if low >= 0:  # a count or an amount
        least = max(least, 0)
    if high <= 0:
        most = min(most, 0)
    least, most = _outward(least, math.floor), _outward(most, math.ceil)
    if whole:
        least, most = math.floor(least), math.ceil(most)
    return {"in_range": {"min_value": least, "max_value": most, "include_min": True, "include_max": True}}


def _outward(value: float, round_: Any) -> float:
    """Round to two digits, away from the values seen."""
    if value == 0:
        return 0
    scale = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{round_(value / scale) * scale:.12g}")


def _texts(found: pl.Series) -> tuple[dict[str, Any], str]:
    values = found.unique().sort().to_list()
    if len(values) <= MOST_CATEGORIES and len(found) >= ROWS_A_CATEGORY * len(values):
        return {"isin": values}, f"{len(values)} values"
    lengths = sorted(map(len, values))
    shortest, longest = lengths[0], lengths[-1]
    limits = {"min_value": min(shortest, 1), "max_value": 2 * max(longest, 1)}
    return {"str_length": limits}, f"{len(values):,} values of {shortest} to {longest} characters"


def _share(missing: int, rows: int) -> str:
    return f"missing in {missing:,} of {rows:,} rows"


def _day(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if isinstance(time, datetime) else str(time)


def _written_dtype(dtype: pl.DataType) -> str:
    return re.sub(r"(?<!')\b([A-Z]\w*)\b(?!')", r"pl.\1", repr(dtype))


def _call(arguments: Any) -> str:
    return (
        ", ".join(f"{key}={_literal(value)}" for key, value in arguments.items())
        if isinstance(arguments, dict)
        else repr(arguments)
    )


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | list) else repr(value)
