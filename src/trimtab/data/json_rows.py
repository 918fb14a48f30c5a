"""Turns JSON objects into columns: of files with one object a line, and of messages.

Each key is a column, and a missing key is null. An object inside another is flattened: {"card": {"country": "IT"}} is
the column card__country. A list is kept as its JSON text. A column has values of one kind: texts, booleans, whole
numbers, or numbers; whole numbers beyond 64 bits are kept as text, as in CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from trimtab.errors import DataError

BETWEEN = "__"
"""Between the names of an object and of its key in the name of a column."""

_EXACT = 2**53
_INT64 = range(-(2**63), 2**63)
_KINDS = {bool: "a boolean", int: "a whole number", float: "a number", str: "text", list: "a list"}


def read_json_lines(path: Path, *, encoding: str = "utf-8", texts: Collection[str] = ()) -> pa.Table:
    """Read a file with one JSON object a line; empty lines do not count.

    texts: columns that are text, whatever their values are. Raises DataError naming file, line and column.
    """
    numbers: list[int] = []
    rows = _objects(path, encoding, numbers)
    return table_of(rows, str(path), texts=texts, name_row=lambda row: f"line {numbers[row]}")


def _objects(path: Path, encoding: str, numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, and append the number of the line of each to `numbers`."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    number = 0
    try:
        with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    numbers.append(number)
                    yield decode(line)
    except msgspec.DecodeError as error:
        hint = ""
        if number == 1 and line.lstrip().startswith("["):
            hint = ". Is the file one JSON array? Expected an object on each line"
        raise DataError(f"{path}: line {number}: {line.strip()[:60]!r} is not a JSON object: {error}{hint}") from None
    except UnicodeError:
        raise DataError(f"{path}: line {number + 1} or one soon after it is not in the encoding {encoding}") from None


def row_number(row: int) -> str:
    """Return how messages name a row. row: the first is 0."""
    return f"row {row + 1}"


def table_of(
    objects: Iterable[Mapping[str, Any]],
    place: str,
    *,
    texts: Collection[str] = (),
    name_row: Callable[[int], str] = row_number,
) -> pa.Table:
    """Return JSON objects as a table of one row each, flattened; the columns are in the order in which they appear.

    Args:
        objects: decoded objects.
        place: file or other origin, for messages.
        texts: columns that are text, whatever their values are.
        name_row: takes the number of an object, from 0, and names it for messages.

    Raises:
        DataError: a column has values of several kinds, or two keys give one column.
    """
    columns: dict[str, list[Any]] = {}
    parents: dict[str, int] = {}
    rows = 0
    for row in objects:
        for name, value in _flat(row, "", parents, rows):
            column = columns.get(name)
            if column is None:
                columns[name] = column = [None] * rows
            elif len(column) > rows:
                raise DataError(f"{place}: {name_row(rows)}: two keys give the column '{name}'")
            elif len(column) < rows:
                column.extend([None] * (rows - len(column)))
            column.append(value)
        rows += 1
    found = {}
    for name, column in columns.items():
        column.extend([None] * (rows - len(column)))
        if name in parents and (row_of := _first(column)) is None:
            continue  # null where other rows have an object
        if name in parents:
            one, other = name_row(parents[name]), name_row(row_of or 0)
            what = _KINDS[type(column[row_of or 0])]
            raise DataError(f"{place}: '{name}' is an object in {one} and {what} in {other}")
        found[name] = column_of(column, name, place, is_text=name in texts, name_row=name_row)
    return pa.table(found)


def _flat(row: Mapping[str, Any], prefix: str, parents: dict[str, int], number: int) -> Iterator[tuple[str, Any]]:
    """Yield the columns of a row. parents: the first row in which each name is an object is written here."""
    for key, value in row.items():
        name = prefix + key
        if isinstance(value, dict):
            parents.setdefault(name, number)
            yield from _flat(value, name + BETWEEN, parents, number)
        else:
            yield name, value


def column_of(
    values: list[Any], name: str, place: str, *, is_text: bool, name_row: Callable[[int], str] = row_number
) -> pa.Array:
    """Return values as JSON knows them, null among them, as a column of one type.

    name: of the column. is_text: make all of them text. place, name_row: as in `table_of`. Raises DataError when they
    are of several kinds.
    """
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if is_text:
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    if kinds == {list}:
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    if kinds == {int, float}:
        wrong = next((n for n, v in enumerate(values) if isinstance(v, int) and abs(v) > _EXACT), None)
        if wrong is not None:
            raise DataError(
                f"{place}: column '{name}': {name_row(wrong)}: {values[wrong]} among numbers with fractions would be "
                f"rounded; to keep it: dtypes={{'{name}': 'text'}}"
            )
        return pa.array(values, pa.float64())
    if len(kinds) > 1:
        one = _first(values) or 0
        other = next(n for n, v in enumerate(values) if v is not None and type(v) is not type(values[one]))
        kind, odd = _KINDS[type(values[one])], _KINDS[type(values[other])]
        raise DataError(
            f"{place}: column '{name}': is {kind} in {name_row(one)}, and {odd}, {_text(values[other])[:60]}, in "
            f"{name_row(other)}; expected values of one kind. Let it be text: dtypes={{'{name}': 'text'}}"
        )
    if kinds == {int} and not all(value is None or value in _INT64 for value in values):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _first(values: list[Any]) -> int | None:
    """Return the row of the first value that is not null."""
    return next((n for n, value in enumerate(values) if value is not None), None)
