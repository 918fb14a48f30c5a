"""Turns JSON objects into columns: of files with one object a line, and of answers of APIs.

Each key is a column, and a missing key is null. An object inside another is flattened: {"card": {"country": "IT"}} is
the column card__country. A list is kept as its JSON text. A column has values of one kind: texts, booleans, whole
numbers, or numbers; whole numbers beyond 64 bits are kept as text, as in CSV.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from trimtab.errors import DataError

SEPARATOR = "__"
DEEPEST = 10
"""Levels of nested objects that become columns; deeper ones are kept as JSON text."""
MOST_COLUMNS = 2000
"""Columns of a row. An object whose keys are ids or dates, in place of a list, has more."""
_EXACT = 2**53
_INT64 = range(-(2**63), 2**63)
_KINDS: dict[type, str] = {str: "text", int: "integers", float: "numbers", bool: "booleans"}


class BadValue(ValueError):
    """A value that does not fit its column. row: its number from 0."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


def read_json_lines(path: Path, *, encoding: str = "utf-8", texts: Collection[str] = ()) -> pa.Table:
    """Read a file with one JSON object a line; empty lines do not count.

    texts: columns that are text, whatever their values are. Raises DataError naming file, line and column.
    """
    numbers: list[int] = []
    try:
        return table_of(list(_rows(path, encoding, numbers)), texts=texts)
    except BadValue as error:
        raise DataError(f"{path}: line {numbers[error.row]}: {error}") from None


def _rows(path: Path, encoding: str, numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the flat rows of a file, and append the number of the line of each to `numbers`."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    number, line = 0, ""
    try:
        with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    numbers.append(number)
                    yield flatten(decode(line))
    except msgspec.DecodeError as error:
        hint = ""
        if number == 1 and line.lstrip().startswith("["):
            hint = ". Is the file one JSON array? Expected an object on each line"
        raise DataError(f"{path}: line {number}: {line.strip()[:60]!r} is not a JSON object: {error}{hint}") from None
    except UnicodeError:
        raise DataError(f"{path}: line {number + 1} or one soon after it is not in the encoding {encoding}") from None
    except ValueError as error:  # of `flatten`
        raise DataError(f"{path}: line {number}: {error}") from None


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
            value = _text(value)
        if name in found:
            raise ValueError(f"two keys give the column '{name}', one of them in a nested object")
        found[name] = value

    for key, value in row.items():
        add(key, value, 0)
    if len(found) > MOST_COLUMNS:
        raise ValueError(
            f"one row has {len(found):,} columns; expected at most {MOST_COLUMNS:,}. Is it an object by id, in place "
            "of a list of rows?"
        )
    return found


def table_of(rows: Sequence[Mapping[str, Any]], *, texts: Collection[str] = ()) -> pa.Table:
    """Return flat rows as a table, with the columns in the order in which they first appear.

    A key that a row lacks is null there. A column of nulls alone has no type yet, and is left out where other rows have
    an object in its place.

    Args:
        rows: rows of `flatten`.
        texts: columns whose numbers and booleans are kept as text, as JSON writes them.

    Raises:
        BadValue: a column mixes types, or has whole numbers that no column of its type holds exactly.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: column_of([row.get(name) for row in rows], name, is_text=name in texts) for name in names}
    parents = {name.rpartition(SEPARATOR)[0] for name in names}
    return pa.table(
        {name: each for name, each in columns.items() if not (name in parents and pa.types.is_null(each.type))}
    )


def column_of(values: list[Any], name: str, *, is_text: bool = False) -> pa.Array:
    """Return values as JSON knows them, null among them, as a column of one type.

    name: of the column, for messages. is_text: make all of them text. Raises BadValue when they are of several kinds.
    """
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if is_text or kinds == {list}:
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    keep = f"to keep it as text: dtypes={{'{name}': 'text'}}"
    if kinds == {int, float}:
        wrong = next((n for n, v in enumerate(values) if type(v) is int and abs(v) > _EXACT), None)
        if wrong is not None:
            raise BadValue(
                wrong,
                f"column '{name}' is {values[wrong]}; expected at most {_EXACT}, which float64 holds exactly; {keep}",
            )
        return pa.array(values, pa.float64())
    if len(kinds) > 1:
        first = next(value for value in values if value is not None)
        row, value = next((n, v) for n, v in enumerate(values) if v is not None and type(v) is not type(first))
        raise BadValue(
            row, f"column '{name}' is {value!r:.80}, and {_KINDS.get(type(first), type(first))} in rows before; {keep}"
        )
    if kinds == {int} and not all(value is None or value in _INT64 for value in values):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def _text(value: Any) -> str:
    return (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    )
