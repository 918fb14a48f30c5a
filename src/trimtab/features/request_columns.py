"""Converts the values of a request to arrays and entity keys, as `table_columns` converts the columns of a table.

Values have the types of JSON (text, numbers, true, false, null), or are NumPy scalars and datetimes. null is a missing
number, text or time, and as a key it matches no entity. Each public function returns a converter for one column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from trimtab import timestamps
from trimtab.clock import to_micros
from trimtab.errors import DataError, DefinitionError
from trimtab.features.value_types import EXACT, Array, Kind, encode_part

NOT_A_TIME = np.iinfo(np.int64).min
"""The int64 that NumPy reads as NaT."""

_PLAIN_NUMBERS = frozenset((float, int, type(None)))
_TRUTHS_TOO = _PLAIN_NUMBERS | {bool}


class WrongValue(DataError):
    """A value that a request's column cannot hold."""

    def __init__(self, column: str, value: Any, expected: str, row: int | None = None) -> None:
        where = "" if row is None else f", row {row}"
        super().__init__(f"column '{column}'{where}: {_shown(value)}; expected {expected}")
        self._about = column, value, expected

    def at(self, row: int) -> WrongValue:
        """Return the error with the row."""
        return WrongValue(*self._about, row)


def key_part(column: str, kind: Kind | None) -> Callable[[Any], bytes]:
    """Return a function that encodes a value of a key column. kind: None lets the type of each value decide.

    An integer column takes 7.0 as 7, because many clients write whole numbers that way. The function raises DataError
    for a value of a wrong type. Raises DefinitionError for a kind that no key can have.
    """

    def text(value: Any) -> bytes:
        if value.__class__ is str or value is None:
            return encode_part(value)
        raise WrongValue(column, value, "text")

    def integer(value: Any) -> bytes:
        if value.__class__ is int or value is None:
            return encode_part(value)
        if isinstance(value, np.integer):
            return encode_part(int(value))
        if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) <= EXACT:
            return encode_part(int(value))
        raise WrongValue(column, value, "a whole number, which a float is up to 2^53")

    def boolean(value: Any) -> bytes:
        if value.__class__ is bool or value is None:
            return encode_part(value)
        raise WrongValue(column, value, "true or false")

    def own(value: Any) -> bytes:
        if isinstance(value, str | bool | None):
            return encode_part(value)
        return integer(value)

    if kind in ("number", "time"):
        raise DefinitionError(f"entity key '{column}' is a {kind}; expected text, an integer or a boolean")
    return {"text": text, "integer": integer, "boolean": boolean}.get(kind or "", own)


def number(column: str, kind: Kind | None = None) -> Callable[[Sequence[Any]], Array]:
    """Return a converter to float64, null to NaN. true and false become 1 and 0, or are refused for numeric kinds."""
    truths = kind not in ("number", "integer")
    plain = _TRUTHS_TOO if truths else _PLAIN_NUMBERS

    def convert(values: Sequence[Any]) -> Array:
        if plain.issuperset(map(type, values)):
            try:
                return np.array(values, dtype=np.float64)
            except OverflowError:  # reported below with the value
                pass
        found = [_number(column, value, row, truths=truths) for row, value in enumerate(values)]
        return np.array(found, dtype=np.float64)

    return convert


def moment(column: str) -> Callable[[Sequence[Any]], Array]:
    """Return a converter to datetime64[us] in UTC, null to NaT."""

    def convert(values: Sequence[Any]) -> Array:
        found = [_micros(column, value, row) for row, value in enumerate(values)]
        return np.array(found, dtype=np.int64).view("datetime64[us]")

    return convert


def text(column: str) -> Callable[[Sequence[Any]], Array]:
    """Return a converter of text to an object array, null to None."""

    def convert(values: Sequence[Any]) -> Array:
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                raise WrongValue(column, value, "text", row)
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array

    return convert


def by_value(column: str) -> Callable[[Sequence[Any]], Array]:
    """Return a converter for a column of unknown kind: text if any value is one, else times, else numbers."""

    def convert(values: Sequence[Any]) -> Array:
        if any(isinstance(value, str) for value in values):
            return text(column)(values)
        if any(isinstance(value, datetime | np.datetime64) for value in values):
            return moment(column)(values)
        return number(column)(values)

    return convert


def for_transform(column: str, kind: Kind | None) -> Callable[[Sequence[Any]], Array]:
    """Return the converter of a column that is an input of a transform. kind: None lets the values decide."""
    if kind is None:
        return by_value(column)
    if kind == "decimal":
        return lambda values: number(column)([_plain_number(value) for value in values])
    return {"text": text, "time": moment, "date": moment}.get(kind, lambda name: number(name, kind))(column)


def _plain_number(value: Any) -> Any:
    """Return a decimal, which may come as text, as a float."""
    try:
        return float(value) if isinstance(value, str | Decimal) else value
    except ValueError:
        return value


def _number(column: str, value: Any, row: int, *, truths: bool) -> float:
    if value is None:
        return math.nan
    is_truth = isinstance(value, bool | np.bool_)
    if not isinstance(value, float | int | np.floating | np.integer | np.bool_) or (is_truth and not truths):
        raise WrongValue(column, value, "a number", row)
    try:
        return float(value)
    except OverflowError:
        raise WrongValue(column, value, "a number that fits into float64", row) from None


def _micros(column: str, value: Any, row: int) -> int:
    if value is None:
        return NOT_A_TIME
    if isinstance(value, datetime):
        return to_micros(value)
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[us]").astype(np.int64))
    plain = int(value) if isinstance(value, np.integer) else value
    found = timestamps.micros(plain)
    if found is not None:
        return found
    raise DataError(
        f"column '{column}', row {row}: {_shown(plain)} is not a timestamp{timestamps.hint(plain)}; "
        f"{timestamps.EXPECTED}"
    )


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)  # as JSON writes it
