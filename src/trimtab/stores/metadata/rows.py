"""Converts records to rows of the metadata store and back: table names, key columns, bodies.

Importing it loads no database library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec

from trimtab import clock
from trimtab.errors import Conflict, NotFound, StoreError, Temporary, nearest
from trimtab.records.control import LedgerEntry
from trimtab.records.kinds import RECORDS
from trimtab.records.record import Record
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.contract import Between, R

PREFIX = "trimtab_"
"""Prefix of table names, because MLflow and the workflow engine may use the same database."""

BUSY_TIMEOUT_MS = 30_000
"""Longest wait of a SQLite writer for another one."""

LOOKUP_IDS = 500
"""Most ids in one IN list; SQLite before 3.32 allows 999 parameters."""

RESTORE = "restore the metadata database from a backup: records cannot be made again"
DAMAGED = ("malformed", "is not a database")
"""Parts of SQLite's messages about a file that was cut off or overwritten."""

Value = str | int | None


class Range(NamedTuple):
    """The times of a key column in microseconds: from `start` on, and before `end`."""

    start: int | None
    end: int | None


Condition = list[Value] | Range
"""What `find` asks of a key column: any of some values, or a range of times."""


_DECODERS: dict[type[Record], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in RECORDS.values()
}


class Busy(StoreError, Temporary):
    """Another process held the database for too long; a retry may succeed."""


def remedy_for(error: BaseException) -> str:
    """Return the remedy for a database error, to be appended to its text; empty when the file is not damaged."""
    return f"; {RESTORE}" if any(text in str(error) for text in DAMAGED) else ""


def table_name(kind: type[Record]) -> str:
    """Return the name of the table that holds records of `kind`."""
    return PREFIX + kind.KIND


@cache
def key_type(kind: type[Record], key: str) -> tuple[type, bool]:
    """Return the Python type (str, int or datetime) of a field in KEYS, and whether it may be None."""
    declared = next(field.type for field in msgspec.inspect.type_info(kind).fields if field.name == key)  # type: ignore[attr-defined]  # records are structs
    parts = declared.types if isinstance(declared, msgspec.inspect.UnionType) else (declared,)
    types = {_plain_type(part) for part in parts if not isinstance(part, msgspec.inspect.NoneType)}
    if len(types) != 1 or None in types:
        raise TypeError(f"{kind.__name__}.{key} is {declared}; a field in KEYS is a str, an int or a datetime")
    return next(found for found in types if found is not None), len(parts) > len(types)


def check_kind(kind: type[Record]) -> None:
    """Raise StoreError for a class that is not in RECORDS."""
    if RECORDS.get(getattr(kind, "KIND", "")) is not kind:
        raise StoreError(f"'{kind.__name__}' is no kind of record.{nearest(kind.KIND, RECORDS)}")


def decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    """Return the decoder for bodies of a kind."""
    return _DECODERS[kind]


def by_kind(records: Iterable[Record]) -> dict[type[Record], list[dict[str, Value]]]:
    """Return the rows of records by kind, in their order. Raises StoreError for a record that cannot be stored."""
    found: dict[type[Record], list[dict[str, Value]]] = {}
    for record in records:
        if isinstance(record, LedgerEntry):
            raise StoreError(f"'{record.id}': entries of the ledger are written with their records, not by themselves")
        found.setdefault(type(record), []).append(_row(record))
    return found


def of_entries(entries: Iterable[LedgerEntry]) -> list[dict[str, Value]]:
    """Return the rows of ledger entries. Only the stores write them."""
    return [_row(one) for one in entries]


def _row(record: Record) -> dict[str, Value]:
    kind = type(record)
    check_kind(kind)
    keys = {key: key_value(kind, key, getattr(record, key)) for key in kind.KEYS}
    body = msgspec.json.encode(record)
    try:
        decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"{kind.KIND} '{record.id}' cannot be stored: {error}. Values have the declared types; "
            "NaN and infinity are not allowed, write None or leave the entry out"
        ) from None
    return {"id": record.id, "created_at": _micros(record.created_at, "created_at"), **keys, "body": body.decode()}


def missing(kind: type[Record], wanted: list[dict[str, Value]], known: Mapping[str, str]) -> list[dict[str, Value]]:
    """Return the rows that are not stored yet. known: stored bodies by id.

    Raises Conflict when a stored or repeated row differs in more than its time of creation.
    """
    bodies = dict(known)
    found = []
    for one in wanted:
        name, body = str(one["id"]), str(one["body"])
        if name in bodies:
            _expect_same(kind, bodies[name], body)
        else:
            bodies[name] = body
            found.append(one)
    return found


def conditions(kind: type[Record], where: Mapping[str, object]) -> dict[str, Condition]:
    """Return the condition on each key column. Raises StoreError for an unknown key or a wrong type."""
    check_kind(kind)
    found: dict[str, Condition] = {}
    for key, value in where.items():
        if key not in kind.KEYS:
            raise StoreError(f"{kind.KIND} records cannot be searched by '{key}'.{nearest(key, kind.KEYS)}")
        if isinstance(value, Between):
            found[key] = _range(kind, key, value)
            continue
        values = value if isinstance(value, tuple) else (value,)
        found[key] = [key_value(kind, key, item) for item in values]
    return found


def _range(kind: type[Record], key: str, value: Between) -> Range:
    if key_type(kind, key)[0] is not datetime:
        raise StoreError(f"{kind.KIND}.{key} is {value!r}; a range is for times only, expected one value or a tuple")
    ends = [None if time is None else key_value(kind, key, time) for time in (value.start, value.end)]
    return Range(*ends)  # type: ignore[arg-type]  # of a time: microseconds


def key_value(kind: type[Record], key: str, value: object) -> Value:
    """Return a value in the form of its key column. Raises StoreError for a value of another type."""
    expected, nullable = key_type(kind, key)
    if value is None and nullable:
        return None
    if not isinstance(value, expected) or isinstance(value, bool):
        raise StoreError(f"{kind.KIND}.{key} is {value!r}; expected {expected.__name__}")
    return _micros(value, key) if isinstance(value, datetime) else value  # type: ignore[return-value]  # str or int


def not_found(kind: type[Record], id_: str, newest: list[str]) -> NotFound:
    """Return the error for an unknown id. newest: the ids that were written last."""
    return NotFound(f"no {kind.KIND} '{id_}'.{nearest(id_, newest)}")


def unreadable(kind: type[Record], bodies: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    """Yield a fault for the first record of a kind that cannot be decoded. bodies: ids and bodies."""
    read = decoder(kind).decode
    for id_, body in bodies:
        try:
            found = read(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Fault(text=f"{kind.KIND} '{id_}' cannot be read: {error}", remedy=RESTORE)
            return
        if found.id != id_:
            yield Fault(text=f"{kind.KIND} '{id_}' has the content of '{found.id}'", remedy=RESTORE)
            return


def _micros(time: datetime, name: str) -> int:
    if time.tzinfo is None:
        raise StoreError(f"'{name}' is {time}, a time without a zone; expected an aware UTC datetime")
    return clock.to_micros(time)


def _expect_same(kind: type[Record], before: str, after: str) -> None:
    read: msgspec.json.Decoder[Any] = decoder(kind)
    old, new = read.decode(before), read.decode(after)
    if old == msgspec.structs.replace(new, created_at=old.created_at):
        return
    name = next(n for n in new.__struct_fields__ if n != "created_at" and getattr(old, n) != getattr(new, n))
    raise Conflict(
        f"{kind.KIND} '{new.id}' is already written with another '{name}': "
        f"{getattr(old, name)!r}, not {getattr(new, name)!r}. Records never change; read it again, then decide again"
    )


def _plain_type(declared: msgspec.inspect.Type) -> type | None:
    if isinstance(declared, msgspec.inspect.StrType):
        return str
    if isinstance(declared, msgspec.inspect.IntType):
        return int
    if isinstance(declared, msgspec.inspect.DateTimeType):
        return datetime
    if isinstance(declared, msgspec.inspect.LiteralType):
        return type(declared.values[0])
    return None
