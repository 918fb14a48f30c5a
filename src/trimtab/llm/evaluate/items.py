"""Sets of examples: the rows of JSON lines, CSV and Parquet files as items. Errors name file, line and column."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.definitions.llm.evaluators import EvalSet, Item
from trimtab.definitions.sources import FORMATS, FileSource
from trimtab.errors import DataError, nearest
from trimtab.lazy_library import LazyLibrary
from trimtab.units import plural

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")

ID_CHARACTERS = 16
"""Of the SHA-256 in hexadecimal digits: two of a million items share an id with a probability of 3e-8."""
CSV_FIELD = 10**7
"""Longest field of a CSV file, in characters; Python's own limit is 131,072."""
ITEMS_FILE = "items.jsonl"
ROLES = ("system", "user", "assistant", "tool", "developer")


@dataclass(frozen=True, kw_only=True)
class ItemSet:
    """The items of a set of examples.

    Attributes:
        name: of the set.
        items: in the order of the files; of equal ones the first.
        places: file and line of each item.
        repeated: how many rows were left out because an earlier one has the same inputs and expected answer.
        hash: SHA-256 over the items in their order.
    """

    name: str
    items: tuple[Item, ...]
    places: tuple[str, ...]
    repeated: int
    hash: str

    @property
    def clusters(self) -> tuple[str, ...]:
        """The cluster of each item; its id where it stands alone."""
        return tuple(item.id if item.cluster is None else f"={item.cluster}" for item in self.items)

    @property
    def tags(self) -> dict[str, dict[str, int]]:
        """Column -> value -> items."""
        found: dict[str, Counter[str]] = {}
        for item in self.items:
            for column, value in item.tags.items():
                found.setdefault(column, Counter())[value] += 1
        return {column: dict(sorted(counts.items())) for column, counts in found.items()}

    def to_jsonl(self) -> bytes:
        """Return the items as JSON lines."""
        return b"".join(msgspec.json.encode(_plain(item), order="sorted") + b"\n" for item in self.items)


def read_items(eval_set: EvalSet, folder: Path) -> ItemSet:
    """Read a set of examples. folder: of the project.

    Raises:
        DataError: there is no such file, a row cannot be read, or a column is missing.
    """
    seen = dict[str, str]()
    items, places, repeated = [], [], 0
    for place, row in file_rows(eval_set.source, folder, f"set '{eval_set.name}'"):
        item = _item(eval_set, row, place)
        if item.id in seen:
            repeated += 1
            continue
        seen[item.id] = place
        items.append(item)
        places.append(place)
    if not items:
        raise DataError(f"set '{eval_set.name}': {eval_set.path} has no rows")
    digest = hashlib.sha256(b"\n".join(msgspec.json.encode(_plain(item), order="sorted") for item in items))
    return ItemSet(
        name=eval_set.name, items=tuple(items), places=tuple(places), repeated=repeated, hash=digest.hexdigest()
    )


def item_id(inputs: Mapping[str, Any], expected: Any) -> str:
    """Return the id of an item: a hash of its inputs and its expected answer, which tags and cluster do not change."""
    content = msgspec.json.encode([inputs, expected], order="sorted")
    return hashlib.sha256(content).hexdigest()[:ID_CHARACTERS]


def _plain(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "inputs": item.inputs,
        "expected": item.expected,
        "tags": item.tags,
        "cluster": item.cluster,
    }


def file_rows(source: str | FileSource, folder: Path, what: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield place and values of each row of JSON lines, CSV and Parquet files.

    Args:
        source: path of a file, a folder or a glob, relative to the project folder.
        folder: of the project.
        what: the definition that names the source, for messages.

    Raises:
        DataError: there is no such file, or a row cannot be read.
    """
    given, separator, encoding = (
        (source.path, source.separator, source.encoding) if isinstance(source, FileSource) else (source, ",", "utf-8")
    )
    for path in _files(given, folder, f"{what}: source '{given}'"):
        shown = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        if path.suffix == ".parquet":
            yield from _parquet(path, shown)
        elif path.suffix == ".csv":
            yield from _csv(_text(path, shown, encoding), shown, separator)
        else:
            yield from _jsonl(_text(path, shown, encoding), shown)


def _files(given: str, folder: Path, where: str) -> Sequence[Path]:
    if "://" in given:
        raise DataError(f"{where} is an address; expected a file of this machine")
    path = folder / given
    if path.is_file():
        if path.suffix not in FORMATS:
            raise DataError(f"{where} is none of Parquet, CSV and JSON lines; expected {', '.join(FORMATS)}")
        return [path]
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in FORMATS)
    elif any(sign in given for sign in "*?["):
        found = sorted(each for each in folder.glob(given) if each.suffix in FORMATS)
    else:
        near = path.parent.iterdir() if path.parent.is_dir() else ()
        names = [each.relative_to(folder).as_posix() for each in near if each.suffix in FORMATS]
        raise DataError(f"{where}: there is no such file in {folder}.{nearest(given, names)}")
    if not found:
        raise DataError(f"{where}: no file ends in {', '.join(FORMATS)}")
    return found


def _text(path: Path, shown: str, encoding: str) -> str:
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{shown}:{line}: not {encoding}: byte {error.start} is {content[error.start]:#04x}") from None


def _jsonl(text: str, shown: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise DataError(f"{shown}:{number}: no JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f'{shown}:{number}: expected an object with columns, such as {{"ticket": "..."}}')
        yield f"{shown}:{number}", row


def _csv(text: str, shown: str, separator: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    limit = csv.field_size_limit(CSV_FIELD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = next(reader, [])
        if len(set(header)) < len(header):
            twice = next(name for name, n in Counter(header).items() if n > 1)
            raise DataError(f"{shown}:1: two columns are named '{twice}'")
        start = reader.line_num + 1
        for values in reader:
            place, start = f"{shown}:{start}", reader.line_num + 1
            if not values:
                continue
            if len(values) != len(header):
                raise DataError(f"{place}: {plural(len(values), 'value')}; the header has {len(header)}")
            yield place, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{shown}:{reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path, shown: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{shown}: cannot be read: {error}") from None
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        yield f"{shown}: row {number}", row


def _item(eval_set: EvalSet, row: Mapping[str, Any], place: str) -> Item:
    inputs = eval_set.inputs
    given: dict[str, Any]
    if isinstance(inputs, str):
        given = {"messages": _messages(_value(row, inputs, place), inputs, place)}
    else:
        values = {name: _value(row, name, place) for name in inputs}
        given = {name: value for name, value in values.items() if value is not None}
    expected = None if eval_set.expected is None else _value(row, eval_set.expected, place)
    tags = {name: "" if (tag := _value(row, name, place)) is None else str(tag) for name in eval_set.tags}
    cluster = None if eval_set.cluster is None else _value(row, eval_set.cluster, place)
    try:
        name = item_id(given, expected)
    except TypeError as error:
        raise DataError(f"{place}: {error}; expected text, numbers, lists and objects") from None
    cluster = None if cluster in (None, "") else str(cluster)
    return Item(id=name, inputs=given, expected=expected, tags=tags, cluster=cluster)


def _value(row: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in row:
        raise DataError(f"{place}: there is no column '{column}'.{nearest(column, row)}")
    return row[column]


def _messages(value: Any, column: str, place: str) -> list[dict[str, Any]]:
    where = f"{place}: column '{column}'"
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise DataError(f"{where}: expected a JSON list of messages with role and content") from None
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: expected a list of messages with role and content")
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict) or "role" not in message:
            raise DataError(f"{where}: message {number}: expected an object with role and content")
        if message["role"] not in ROLES:
            raise DataError(
                f"{where}: message {number}: role '{message['role']}'.{nearest(str(message['role']), ROLES)}"
            )
        if message.get("content") is None and not message.get("tool_calls"):
            raise DataError(f"{where}: message {number}: there is no content")
    return value
