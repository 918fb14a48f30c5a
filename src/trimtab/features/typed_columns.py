"""Converts the values of requests, and outputs of transforms, to the exact values of typed features.

The values are those that the training frame has for the same row: text as it is, decimals by their shortest text, dates
as days and timestamps as microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from trimtab import timestamps
from trimtab.bundle.typed_matrix import Schema, decimal_of, objects, whole
from trimtab.clock import to_micros
from trimtab.errors import DataError, DefinitionError
from trimtab.features.request_columns import WrongValue, moment, number
from trimtab.features.value_types import EXACT, Array

DAY = 86_400_000_000
"""Microseconds of a day."""
INT64 = 2**63

Convert = Callable[[Sequence[Any]], Any]
"""Makes the column of a feature, as `TypedMatrix.of` takes it."""


def typed_column(column: str, schema: Schema) -> Convert:
    """Return the converter of a request column that is a feature; it raises DataError.

    A category takes no whole number where no known one is a whole number: 7 for the name of an airline is a mistake.
    """
    kind, known = schema.types.get(column, "number"), schema.categories.get(column, ())
    if kind == "timestamp":
        return _times(column)
    one = {
        "text": _text,
        "category": _name if known and not any(map(_is_whole, known)) else _category,
        "integer": _integer,
        "decimal": _decimal,
        "date": _day,
        "boolean": _boolean,
    }.get(kind)
    if one is None:
        return number(column)

    def convert(values: Sequence[Any]) -> Any:
        found: list[Any] = []
        for row, value in enumerate(values):
            found.append(None if value is None or value != value else one(column, value, row))
        if kind in ("integer", "date"):
            return whole(found)
        if kind == "boolean":
            return np.array([np.nan if value is None else value for value in found], dtype=np.float64)
        return objects(found)

    return convert


def from_output(name: str, kind: str | None, values: Array) -> Any:
    """Return the column of a feature from an output of a transform, or from a numeric feature of a view.

    Raises DefinitionError for values that the type cannot hold.
    """
    if kind is None:
        return values
    if values.dtype.kind == "M":
        return values.astype(f"datetime64[{'D' if kind == 'date' else 'us'}]").astype(np.int64), np.isnat(values)
    if values.dtype.kind == "O":
        return values
    if kind == "boolean":
        return values.astype(np.float64)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    filled = np.where(missing, 0, values)
    exact = values.dtype.kind != "f" or bool(((filled == np.rint(filled)) & (np.abs(filled) <= EXACT)).all())
    if kind != "integer" or not exact:
        raise DefinitionError(f"feature '{name}' is declared as {kind}, and its values are {values[:3].tolist()}")
    return filled.astype(np.int64), missing


def _times(column: str) -> Convert:
    read = moment(column)

    def convert(values: Sequence[Any]) -> Any:
        found = read(values)
        return found.astype(np.int64), np.isnat(found)

    return convert


def _text(column: str, value: Any, row: int) -> str:
    if isinstance(value, str):
        return str(value)
    raise WrongValue(column, value, "text", row)


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _name(column: str, value: Any, row: int) -> str:
    if isinstance(value, str):
        return str(value)
    raise WrongValue(column, value, "the text of a category", row)


def _category(column: str, value: Any, row: int) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_):
        raise WrongValue(column, value, "the text of a category", row)
    try:
        return str(_integer(column, value, row))
    except DataError:
        raise WrongValue(column, value, "the text of a category", row) from None


def _integer(column: str, value: Any, row: int) -> int:
    if (isinstance(value, int | np.integer) and not isinstance(value, bool)) or (
        isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) <= EXACT
    ):
        found = int(value)
    else:
        raise WrongValue(column, value, "a whole number, which a float is up to 2^53", row)
    if not -INT64 <= found < INT64:
        raise WrongValue(column, value, "a whole number of 64 bits", row)
    return found


def _decimal(column: str, value: Any, row: int) -> Decimal:
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        try:
            found = decimal_of(str(value))
        except InvalidOperation:
            pass
        else:
            if found.is_finite():
                return found
    raise WrongValue(column, value, "a decimal number, or its text such as '12.50'", row)


def _boolean(column: str, value: Any, row: int) -> float:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | float) and value in (0, 1)):
        return float(value)
    raise WrongValue(column, value, "true or false", row)


def _day(column: str, value: Any, row: int) -> int:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    micros = to_micros(value) if isinstance(value, datetime) else timestamps.micros(value)
    if micros is None or micros % DAY:
        raise WrongValue(column, value, "a date such as 2026-01-31", row)
    return micros // DAY
