"""Turns JSON objects into a frame: nested objects become columns joined by "__", lists become JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

SEPARATOR = "__"
DEEPEST = 10
"""Levels of nested objects that become columns; deeper ones are kept as JSON text."""
MOST_COLUMNS = 2000
"""Columns of a row. An object whose keys are ids or dates, in place of a list, has more."""
_LARGEST, _EXACT = 2**63, 2**53
_NAMES: dict[type, str] = {str: "text", int: "integers", float: "numbers", bool: "booleans"}
_DTYPES: dict[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}


class BadValue(ValueError):
    """A value that does not fit its column. row: its number from 0."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


def flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one JSON object as a flat row of text, numbers, booleans and None.

    Raises ValueError when two keys give one column, or when there are too many columns.
    """
    found: dict[str, Any] = {}

    def add(name: str, value: Any, depth: int) -> None:
        if isinstance(value, dict) and depth < DEEPEST:
            for key, inner in value.items():
                add(f"{name}{SEPARATOR}{key}", inner, depth + 1)
            return
        if isinstance(value, list | dict):
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if name in found:
            raise ValueError(f"two keys give the column '{name}', one of them in a nested object")
        found[name] = value

    for key, value in row.items():
        add(key, value, 0)
    if len(found) > MOST_COLUMNS:
        raise ValueError(
            f"one row has {len(found):,} columns; expected at most {MOST_COLUMNS:,}. Does data_selector "
            "lead to an object by id, in place of a list of rows?"
        )
    return found


def frame_of(rows: Sequence[Mapping[str, Any]], *, texts: Iterable[str] = ()) -> pl.DataFrame:
    """Return flat rows as a frame, with the columns in the order in which they first appear.

    A column has one type: text, integers (int64), numbers (float64, also when only some are whole) or booleans. A key
    that a row lacks is null there; a column of nulls alone has no type yet (polars' Null).

    Args:
        rows: rows of `flatten`.
        texts: columns whose numbers and booleans are kept as text, as JSON writes them.

    Raises:
        BadValue: a column mixes types, or has whole numbers that no column of its type holds exactly.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    kept = frozenset(texts)
    return pl.DataFrame([_column(name, [row.get(name) for row in rows], name in kept) for name in names])


def _column(name: str, values: list[Any], is_text: bool) -> pl.Series:
    if is_text:
        return pl.Series(name, [v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pl.String)
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, pl.Null)
    kind = float if float in kinds else next(iter(kinds))
    if len(kinds) > 1 and kinds != {int, float}:
        first = type(next(value for value in values if value is not None))
        at, value = next((i, v) for i, v in enumerate(values) if v is not None and type(v) is not first)
        raise BadValue(
            at,
            f"column '{name}' is {value!r:.80}, and {_NAMES[first]} in rows before; to keep it as text: "
            f"dtypes={{'{name}': 'text'}}",
        )
    if int in kinds:
        most = _EXACT if kind is float else _LARGEST - 1
        wrong = next((i for i, v in enumerate(values) if type(v) is int and abs(v) > most), None)
        if wrong is not None:
            raise BadValue(
                wrong,
                f"column '{name}' is {values[wrong]}; expected at most {most}, which "
                f"{'float64 holds exactly' if kind is float else '64 bits hold'}. To keep it as text: "
                f"dtypes={{'{name}': 'text'}}",
            )
    return pl.Series(name, values, _DTYPES[kind])
