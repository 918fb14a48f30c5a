"""Turns messages of a stream into rows with the types of their table.

A message that gives no row is refused alone, with the reason; the others go on. Nested objects become columns such as
`card__country`, lists become JSON text. Numbers and times follow the rules of files (file_reading.py).
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from trimtab.data.file_reading import content_of
from trimtab.data.json_rows import SEPARATOR, flatten
from trimtab.data.times import UTC_MICROS, TimeFormat, count_naive, to_utc_micros
from trimtab.definitions.sources import Source
from trimtab.errors import DataError, StoreError, nearest
from trimtab.stores.tables.schema_fit import wider

HIDDEN = "a value that is personal data, not shown"
SHOWN_BYTES = 2_000
"""Of a message that cannot be read, in its quarantine row."""
GROW = ". To let tables grow, set checks.evolution.add_columns: allow in trimtab.yaml"
FIELD_TYPES: dict[str, Any] = {
    "text": str | int | None,
    "integer": int | float | None,
    "number": float | None,
    "boolean": bool | None,
    "any": Any,
}
EXACT: dict[str, Any] = {"integer": int | None}
"""Types of columns that the source's dtypes fix: an integer column that has no such entry becomes a float column with
its first fraction, as in files."""

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. place: topic and partition, such as "payments[0]"; number: its offset there.

    metadata: values of columns that do not come from the message's value; times are microseconds.
    """

    place: str
    number: int
    value: bytes | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A message that gives no row. text: the message, as JSON."""

    place: str
    number: int
    reason: str
    text: str


@dataclass(frozen=True)
class MessageRows:
    """The rows of messages in a table's types. origins: the message of each row."""

    data: pa.Table
    origins: Sequence[Message]
    refused: Sequence[Refusal]


class RowReader:
    """Reads messages into rows. It learns columns from the first ones, or knows those of the table.

    Args:
        source: the source.
        decode: returns the fields of a message's value, and raises any Exception for one that it cannot read; None
            for JSON.
        like: columns of the table; null for one without any value, whose type is learned. None without a table.
        keys: columns that identify rows, entities or predictions.
        add_columns: whether messages may bring fields that the table has no column for.
        metadata: columns that do not come from the value, with their Arrow types.
    """

    def __init__(
        self,
        source: Source,
        *,
        decode: Callable[[bytes], Value] | None,
        like: pa.Schema | None,
        keys: Collection[str],
        add_columns: bool,
        metadata: Mapping[str, pa.DataType],
    ) -> None:
        self._source = source
        self._decode = decode
        self._like = like
        self._keys = keys
        self._grows = add_columns or like is None
        self._metadata = metadata
        self._how = TimeFormat(source.date_format, source.time_unit, source.time_zone)
        self._times = {source.timestamp, source.known_column}
        self._times |= {name for name, kind in source.dtypes.items() if kind == "time"}
        self._kinds: dict[str, str] = {}
        for column in like or ():
            if not pa.types.is_null(column.type):
                self._kinds[column.name] = _kind_of_type(column.type)
        self._kinds |= source.dtypes
        self._kinds |= dict.fromkeys(self._times, "any")
        self.naive: dict[str, int] = {}
        """Times without a zone, which were taken as UTC, by column."""
        self._unknown = {column.name for column in like or () if column.name not in self._kinds}
        """Columns without any value so far, whose kind is learned."""
        if like is None:
            self._unknown = {name for name in source.key if name not in self._kinds}
        self._make_struct()

    def rows(self, messages: Sequence[Message]) -> MessageRows:
        """Return the rows of messages, in their order. Raises DataError if they cannot be rows of the source."""
        refused: list[Refusal] = []
        if self._like is None or self._unknown:
            self._learn(messages)
        parsed, origins = self._parsed(messages, refused)
        columns, kept = self._columns(parsed, origins, refused)
        origins = [origins[n] for n in kept] if len(kept) < len(origins) else origins
        data, good = self._typed(columns, origins, refused)
        return MessageRows(data, origins if good is None else [origins[n] for n in good], refused)

    def _learn(self, messages: Sequence[Message]) -> None:
        """Learn the kinds of columns that are not known from the values that most messages have."""
        seen: dict[str, Counter[str]] = {}
        for message in messages:
            try:
                found = self._fields(message.value)
            except StoreError:
                raise
            except Exception:  # refused later, with the reason
                continue
            for name, value in found.items():
                if value is not None:
                    seen.setdefault(name, Counter())[_kind_of_value(value)] += 1
                elif self._like is None:
                    seen.setdefault(name, Counter())
        for name, kinds in seen.items():
            if name not in self._kinds and (self._like is None or name in self._unknown) and kinds:
                self._know(name, kinds)
        if self._like is None:
            self._unknown |= {name for name in seen if name not in self._kinds}
        self._make_struct()

    def _know(self, name: str, kinds: Counter[str]) -> None:
        kind = kinds.most_common(1)[0][0]
        self._kinds[name] = "number" if {"integer", "number"} <= set(kinds) and kind == "integer" else kind
        self._unknown.discard(name)

    def _make_struct(self) -> None:
        self._nested = any(SEPARATOR in name for name in self._kinds)
        names = [*self._kinds, *sorted(self._unknown)]
        self._attributes = {name: f"c{n}" for n, name in enumerate(names)}
        fields = [(attribute, self._field(name), None) for name, attribute in self._attributes.items()]
        rename = {attribute: name for name, attribute in self._attributes.items()}
        self._struct = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, gc=False)
        self._json = msgspec.json.Decoder(self._struct)

    def _field(self, name: str) -> Any:
        kind = self._kinds.get(name)
        if kind is None:
            return Any
        exact = EXACT if name in self._source.dtypes else {}
        return exact.get(kind, FIELD_TYPES[kind])

    def _fields(self, value: bytes | None) -> Value:
        """Return the flat fields of a message's value. Raises when it cannot be read."""
        if value is None:
            return {}
        found = msgspec.json.decode(value) if self._decode is None else self._decode(value)
        if not isinstance(found, dict):
            raise DataError(f"is {_words(found)}; expected an object")
        return flatten(found)

    def _parsed(self, messages: Sequence[Message], refused: list[Refusal]) -> tuple[list[Any], list[Message]]:
        """Return one struct a message that can be read, and those messages."""
        parsed, origins = [], []
        for message in messages:
            try:
                if self._decode is None and not self._nested and message.value is not None:
                    parsed.append(self._json.decode(message.value))
                else:
                    parsed.append(msgspec.convert(self._fields(message.value), self._struct))
            except StoreError:  # the registry cannot be reached: the message is not at fault
                raise
            except Exception:  # a decoder of another library may raise anything
                row, reason = self._again(message)
                if row is None:
                    refused.append(refusal(message, reason))
                    continue
                parsed.append(row)
            origins.append(message)
        return parsed, origins

    def _again(self, message: Message) -> tuple[Any, str]:
        """Read a message slowly; return its struct, or None and the reason."""
        try:
            fields = self._fields(message.value)
        except StoreError:
            raise
        except Exception as error:  # as above
            return None, f"cannot be read as {self._format}: {_first_line(error)}"
        new = [name for name in fields if name not in self._attributes]
        if new and not self._grows:
            return None, f"the table has no column '{new[0]}'.{nearest(new[0], self._attributes).rstrip('.')}{GROW}"
        for name in new:
            if fields[name] is not None:
                self._know(name, Counter([_kind_of_value(fields[name])]))
            else:
                self._unknown.add(name)
        if new:
            self._make_struct()
        try:
            return msgspec.convert(fields, self._struct), ""
        except msgspec.ValidationError as error:
            return None, self._wrong(fields, error)

    @property
    def _format(self) -> str:
        return "JSON" if self._decode is None else str(getattr(self._source, "format", "message")).capitalize()

    def _wrong(self, fields: Value, error: msgspec.ValidationError) -> str:
        """Return which field does not have the kind of its column."""
        for name, value in fields.items():
            try:
                msgspec.convert(value, self._field(name))
            except msgspec.ValidationError:
                return f"{name}: is {self._shown(name, value)}; expected {self._kinds[name]}"
        return _first_line(error)

    def _shown(self, name: str, value: Any) -> str:
        """Return a value in words; that of a column with personal data is not shown."""
        return HIDDEN if name in self._source.pii else _words(value)

    def _columns(
        self, parsed: list[Any], origins: list[Message], refused: list[Refusal]
    ) -> tuple[dict[str, pa.ChunkedArray], list[int]]:
        """Return the columns as they arrived, and which rows they hold."""
        lists = {name: list(map(_getter(a), parsed)) for name, a in self._attributes.items()}
        lists |= {name: [message.metadata.get(name) for message in origins] for name in self._metadata}
        wrong: dict[int, str] = {}
        arrays: dict[str, pa.ChunkedArray] = {}
        for name, values in lists.items():
            if name in self._times and name not in self._metadata:
                arrays[name], misread = self._read_times(name, values)
                wrong |= {n: f"{name}: {why}" for n, why in misread.items() if n not in wrong}
                continue
            try:
                arrays[name] = self._array(name, values)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, DataError):
                wrong |= {n: f"{name}: {why}" for n, why in self._misfits(name, values).items() if n not in wrong}
        kept = [n for n in range(len(parsed)) if n not in wrong]
        if not wrong:
            return arrays, kept
        refused += [refusal(origins[n], reason) for n, reason in sorted(wrong.items())]
        return self._columns([parsed[n] for n in kept], [origins[n] for n in kept], refused)[0], kept

    def _read_times(self, name: str, values: list[Any]) -> tuple[pa.ChunkedArray, dict[int, str]]:
        """Return values as times, null where one cannot be read, and why: each alone, whatever the others look like."""
        found: list[int | None] = [None] * len(values)
        wrong: dict[int, str] = {}
        naive = [0]
        kinds: dict[str, list[int]] = {}
        for n, value in enumerate(values):
            if value is not None:
                kinds.setdefault(_time_kind(value), []).append(n)

        def read(places: list[int]) -> None:
            try:
                column = pa.chunked_array([pa.array([values[n] for n in places])])
                if (without := count_naive(column)) and self._source.time_zone is None:
                    naive[0] += without
                times = to_utc_micros(column, place=PLACE, how=self._how).cast(pa.int64()).to_pylist()
            except (DataError, pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                if len(places) == 1:
                    reason = _first_line(error).removeprefix(f"{PLACE}: ").replace("row 1: ", "", 1)
                    hidden = name in self._source.pii
                    wrong[places[0]] = f"is {HIDDEN}, and no time" if hidden else reason
                    return
                read(places[: len(places) // 2])
                read(places[len(places) // 2 :])
                return
            for n, time in zip(places, times, strict=True):
                found[n] = time

        for places in kinds.values():
            read(places)
        if naive[0]:
            self.naive[name] = self.naive.get(name, 0) + naive[0]
        return pa.chunked_array([pa.array(found, pa.int64()).cast(UTC_MICROS)]), wrong

    def _misfits(self, name: str, values: list[Any]) -> dict[int, str]:
        """Return the values that no column can hold together with most of the others: by number, why."""
        kinds = [_kind_of_value(value) if value is not None else "" for value in values]
        kinds = [type(v).__name__ if k == "any" else k for k, v in zip(kinds, values, strict=True)]
        most = Counter("number" if kind == "integer" else kind for kind in kinds if kind).most_common(1)
        expected = most[0][0] if most else ""
        same = {expected, ""} | ({"integer", "number"} if expected == "number" else set())
        found = {
            n: f"is {self._shown(name, values[n])}; expected {expected}"
            for n, kind in enumerate(kinds)
            if kind not in same
        }
        for n, (kind, value) in enumerate(zip(kinds, values, strict=True)):
            if kind == "integer" and not -(2**63) <= value < 2**63:
                found[n] = f"is {self._shown(name, value)}, beyond 64 bits; send it as text"
        if not found:  # no single value is at fault, so the first is as good as any: the batch gets smaller, and ends
            first = next(n for n, value in enumerate(values) if value is not None)
            found[first] = f"is {self._shown(name, values[first])}, which no column can hold"
        return found

    def _array(self, name: str, values: list[Any]) -> pa.ChunkedArray:
        if name in self._metadata:
            return pa.chunked_array([pa.array(values, self._metadata[name])])
        kind = self._kinds.get(name)
        if kind == "text":
            values = [str(value) if isinstance(value, int) else value for value in values]
            return pa.chunked_array([pa.array(values, pa.string())])
        if kind == "number":
            return pa.chunked_array([pa.array(values, pa.float64())])
        return pa.chunked_array([pa.array(values)])

    def _typed(
        self, columns: dict[str, pa.ChunkedArray], origins: list[Message], refused: list[Refusal]
    ) -> tuple[pa.Table, list[int] | None]:
        """Return the rows in the types of the table, and which they are, or None for all."""
        table = pa.table(columns)
        try:
            return self._content(table), None
        except DataError:
            good: list[int] = []
            parts: list[pa.Table] = []
            for first, part, error in self._split(table, 0):
                if error is None:
                    good += range(first, first + part.num_rows)
                    parts.append(part)
                else:
                    reason = error.removeprefix(f"{PLACE}: ").replace("row 1: ", "", 1)
                    refused.append(refusal(origins[first], reason))
            if not parts:
                return self._content(table.slice(0, 0)), []
            return pa.concat_tables(parts, promote_options="permissive"), good

    def _split(self, table: pa.Table, first: int) -> list[tuple[int, pa.Table, str | None]]:
        """Return the parts of a table that fit, in order, and the single rows that do not, with the reason."""
        try:
            return [(first, self._content(table), None)]
        except DataError as error:
            if table.num_rows == 1:
                return [(first, table, str(error))]
            if not table.num_rows:
                raise
        half = table.num_rows // 2
        return [*self._split(table.slice(0, half), first), *self._split(table.slice(half), first + half)]

    def _content(self, table: pa.Table) -> pa.Table:
        """Return rows in the types of tables. Raises DataError when a column has no type that fits the table's."""
        rows = content_of(table, self._source, place=PLACE, like=self._like, keys=self._keys).rows
        for column in self._like or ():
            found = rows.schema.field(column.name).type
            if not pa.types.is_null(column.type) and wider(column.type, found) is None:
                raise DataError(f"{PLACE}: column '{column.name}': is {found}; expected {column.type}")
        return rows


PLACE = "message"


def refusal(message: Message, reason: str) -> Refusal:
    """Return a message that gives no row, with its content as far as it can be shown."""
    value = message.value or b""
    try:
        found = msgspec.json.decode(value)
        text = msgspec.json.encode(found if isinstance(found, dict) else {"value": found}).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            shown: dict[str, Any] = {"value": value[:SHOWN_BYTES].decode()}
        except UnicodeDecodeError:
            shown = {"value_base64": base64.b64encode(value[:SHOWN_BYTES]).decode()}
        text = msgspec.json.encode({**shown, "bytes": len(value)}).decode()
    return Refusal(message.place, message.number, reason, text)


def _getter(attribute: str) -> Callable[[Any], Any]:
    """Return a function that reads a field; None where an earlier struct has no such field."""
    plain = attrgetter(attribute)

    def read(row: Any) -> Any:
        try:
            return plain(row)
        except AttributeError:
            return None

    return read


def _time_kind(value: Any) -> str:
    """Return the way in which a time is written; times of one way can be read together."""
    if not isinstance(value, str):
        return type(value).__name__
    digits = value.strip().lstrip("+-").partition(".")[0].isdigit()
    return "text" if not digits else "date" if len(value.strip()) == len("20130131") else "digits"


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "text", int: "integer", float: "number"}
    return kinds.get(type(value), "any")


def _kind_of_type(type_: pa.DataType) -> str:
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_):
        return "integer"
    return "number" if pa.types.is_floating(type_) else "any"


def _words(value: object) -> str:
    if isinstance(value, bool | int | float) or value is None:
        return f"the {_kind_of_value(value) if value is not None else 'value'} {msgspec.json.encode(value).decode()}"
    if isinstance(value, str):
        return f"the text '{value[:40]}'"
    if isinstance(value, datetime | date):
        return f"the time {value}"
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, f"a {type(value).__name__}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


METADATA_TYPES = {"timestamp": UTC_MICROS, "partition": pa.int64(), "offset": pa.int64()}
"""Of metadata columns; others are text."""
