"""The tables of the book of records, one a kind, made from RECORDS; used by the backend and the migrations.

Each has: seq (order of writing), id (unique), created_at (UTC microseconds), one indexed column for each
field in KEYS (times as UTC microseconds, so that they compare as numbers), and body (the record as JSON).
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from trimtab.records import RECORDS, Record

PREFIX = "trimtab_"
"""Before each table's name, because MLflow and the workflow engine may live in the same database."""

METADATA = sa.MetaData()


def table_name(kind: type[Record]) -> str:
    """Return the name of the table that holds records of `kind`."""
    return PREFIX + kind.KIND


def key_type(kind: type[Record], key: str) -> tuple[type, bool]:
    """Return the Python type (str, int or datetime) of a field in KEYS, and whether it may be None."""
    declared = next(field.type for field in msgspec.inspect.type_info(kind).fields if field.name == key)  # type: ignore[attr-defined]  # records are structs
    parts = declared.types if isinstance(declared, msgspec.inspect.UnionType) else (declared,)
    types = {_plain_type(part) for part in parts if not isinstance(part, msgspec.inspect.NoneType)}
    if len(types) != 1 or None in types:
        raise TypeError(f"{kind.__name__}.{key} is {declared}; a field in KEYS is a str, an int or a datetime")
    return next(found for found in types if found is not None), len(parts) > len(types)


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


def _table(kind: type[Record]) -> sa.Table:
    name = table_name(kind)
    keys = {key: key_type(kind, key) for key in kind.KEYS}
    columns = [
        sa.Column(key, sa.Text() if type_ is str else sa.BigInteger(), nullable=nullable)
        for key, (type_, nullable) in keys.items()
    ]
    return sa.Table(
        name,
        METADATA,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        *columns,
        sa.Column("body", sa.Text(), nullable=False),
        sa.Index(f"ix_{name}_id", "id", unique=True),
        *(sa.Index(f"ix_{name}_{key}", key, "seq") for key in kind.KEYS),
    )


TABLES: dict[type[Record], sa.Table] = {kind: _table(kind) for kind in RECORDS.values()}
