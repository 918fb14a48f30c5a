"""The book of records in a SQL database: SQLite embedded, PostgreSQL in production. Opened by stores.catalog.

SQLite runs in WAL mode with synchronous=FULL, so a commit is on disk before `put` returns (NORMAL would lose
the last commits when the power goes). Writers queue up behind one another (BEGIN IMMEDIATE and a busy
timeout); readers never wait. The file must lie on a local disk: WAL does not work on network shares.
Open a store after a fork, not before: connections cannot be shared with a child process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import event

from trimtab import clock
from trimtab.errors import Conflict, NotFound, StoreError, Temporary, nearest
from trimtab.records import RECORDS, Record
from trimtab.stores.metadata.contract import Metadata, R
from trimtab.stores.metadata.migrations import migrate
from trimtab.stores.metadata.schema import TABLES, key_type

BUSY_TIMEOUT_MS = 30_000
"""How long a SQLite writer waits for another one."""

LOOKUP_IDS = 500
"""Ids in one IN list; SQLite before 3.32 takes 999 parameters."""

ATTEMPTS = 5
"""Of a put that races with another one for the same ids; each attempt sees more of what the other wrote."""

_READ = {"trimtab_read": True}


class Busy(StoreError, Temporary):
    """Another process held the database for too long; trying again may help."""


class SqlMetadata:
    """Records in a SQL database; safe to share between threads, and the database between processes."""

    def __init__(self, url: str | Path) -> None:
        """Open a database by SQLAlchemy URL, or a SQLite file by path, and bring its tables up to date."""
        if isinstance(url, Path):
            url.parent.mkdir(parents=True, exist_ok=True)
            url = sa.URL.create("sqlite", database=str(url)).render_as_string()
        self._engine = _engine(url)
        self._reader = self._engine.execution_options(**_READ)
        with _wrapped("open"):
            migrate(self._engine)

    def put(self, *records: Record) -> None:
        """Write records, all or none. Raises Conflict."""
        rows: dict[type[Record], list[dict[str, Any]]] = defaultdict(list)
        for record in records:
            rows[type(record)].append(_row(record))
        if not rows:
            return
        for attempt in range(ATTEMPTS):
            try:
                with _wrapped("put"), self._engine.begin() as connection:
                    for kind, wanted in rows.items():
                        _insert_missing(connection, kind, wanted)
                return
            except _Raced as error:
                if attempt == ATTEMPTS - 1:
                    raise Conflict(f"other writers kept writing the same records: {error}") from error

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound."""
        table = _table(kind)
        body = self._scalars(sa.select(table.c.body).where(table.c.id == id_))
        if not body:
            newest = self._scalars(sa.select(table.c.id).order_by(table.c.seq.desc()).limit(200))
            raise NotFound(f"no {kind.KIND} '{id_}'.{nearest(id_, newest)}")
        return _decoder(kind).decode(body[0])

    def find(
        self, kind: type[R], /, *, limit: int | None = None, oldest_first: bool = False, **where: object
    ) -> Sequence[R]:
        """Return records whose KEYS fields equal `where`; a tuple value means any of them."""
        table = _table(kind)
        order = table.c.seq.asc() if oldest_first else table.c.seq.desc()
        statement = sa.select(table.c.body).where(*_conditions(kind, where)).order_by(order).limit(limit)
        decode = _decoder(kind).decode
        return [decode(body) for body in self._scalars(statement)]

    def count(self, kind: type[Record], /, **where: object) -> int:
        """Return how many records `find` would return."""
        statement = sa.select(sa.func.count()).select_from(_table(kind)).where(*_conditions(kind, where))
        return int(self._scalars(statement)[0])

    def close(self) -> None:
        """Give back connections."""
        self._engine.dispose()

    def _scalars(self, statement: sa.Select[Any]) -> Sequence[Any]:
        with _wrapped("read"), self._reader.connect() as connection:
            return connection.execute(statement).scalars().all()


class _Raced(Exception):
    """Another writer put the same id between our look and our insert."""


def _engine(url: str) -> sa.Engine:
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise StoreError(
            f"cannot open metadata '{_hidden(url)}': {error}. Expected for example sqlite:////path/metadata.db or "
            "postgresql+psycopg://user@host/database"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _hidden(url: str) -> str:
    """Return the URL without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return url


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver then leaves BEGIN to _begin_sqlite
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock at once, because a reader that turns writer later fails instead of waiting."""
    if not connection.get_execution_options().get("trimtab_read"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _wrapped(verb: str) -> Iterator[None]:
    """Turn what the database raises into StoreError."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise _Raced(str(error.orig)) from error
    except sa.exc.OperationalError as error:
        kind = Busy if "locked" in str(error.orig) else StoreError
        raise kind(f"metadata store: {verb} failed: {error.orig}") from error
    except sa.exc.SQLAlchemyError as error:
        raise StoreError(f"metadata store: {verb} failed: {error}") from error


def _table(kind: type[Record]) -> sa.Table:
    try:
        return TABLES[kind]
    except KeyError:
        raise StoreError(f"'{kind.__name__}' is no kind of record.{nearest(kind.KIND, RECORDS)}") from None


_DECODERS: dict[type[Record], msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(kind) for kind in TABLES}


def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    return _DECODERS[kind]


def _row(record: Record) -> dict[str, Any]:
    kind = type(record)
    _table(kind)
    keys = {key: _column_value(kind, key, getattr(record, key)) for key in kind.KEYS}
    body = msgspec.json.encode(record)
    try:
        _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"{kind.KIND} '{record.id}' cannot be stored: {error}. Values have the declared types; "
            "NaN and infinity are not allowed, write None or leave the entry out"
        ) from None
    return {"id": record.id, "created_at": _micros(record.created_at, "created_at"), **keys, "body": body.decode()}


def _micros(moment: datetime, name: str) -> int:
    if moment.tzinfo is None:
        raise StoreError(f"'{name}' is {moment}, a time without a zone; expected an aware UTC datetime")
    return clock.to_micros(moment)


def _insert_missing(connection: sa.Connection, kind: type[Record], rows: Sequence[dict[str, Any]]) -> None:
    table = TABLES[kind]
    ids = list(dict.fromkeys(row["id"] for row in rows))
    known: dict[str, str] = {}
    for start in range(0, len(ids), LOOKUP_IDS):
        chunk = ids[start : start + LOOKUP_IDS]
        found = connection.execute(sa.select(table.c.id, table.c.body).where(table.c.id.in_(chunk)))
        known.update((id_, body) for id_, body in found)
    missing = []
    for row in rows:
        if row["id"] in known:
            _expect_same(kind, known[row["id"]], row["body"])
        else:
            known[row["id"]] = row["body"]
            missing.append(row)
    if missing:
        connection.execute(table.insert(), missing)


def _expect_same(kind: type[Record], before: str, after: str) -> None:
    old, new = _decoder(kind).decode(before), _decoder(kind).decode(after)
    if old == msgspec.structs.replace(new, created_at=old.created_at):
        return
    name = next(n for n in new.__struct_fields__ if n != "created_at" and getattr(old, n) != getattr(new, n))
    raise Conflict(
        f"{kind.KIND} '{new.id}' is already written with another '{name}': "
        f"{getattr(old, name)!r}, not {getattr(new, name)!r}. Records never change; read it again, then decide again"
    )


def _conditions(kind: type[Record], where: Mapping[str, object]) -> list[sa.ColumnElement[bool]]:
    table = _table(kind)
    found: list[sa.ColumnElement[bool]] = []
    for key, value in where.items():
        if key not in kind.KEYS:
            raise StoreError(f"{kind.KIND} records cannot be searched by '{key}'.{nearest(key, kind.KEYS)}")
        if isinstance(value, tuple):
            values = [_column_value(kind, key, item) for item in value]
            any_of = table.c[key].in_([item for item in values if item is not None])
            found.append(sa.or_(any_of, table.c[key].is_(None)) if None in values else any_of)
        else:
            found.append(table.c[key] == _column_value(kind, key, value))
    return found


@cache
def _key_type(kind: type[Record], key: str) -> tuple[type, bool]:
    return key_type(kind, key)


def _column_value(kind: type[Record], key: str, value: object) -> str | int | None:
    expected, nullable = _key_type(kind, key)
    if value is None and nullable:
        return None
    if not isinstance(value, expected) or isinstance(value, bool):
        raise StoreError(f"{kind.KIND}.{key} is {value!r}; expected {expected.__name__}")
    return _micros(value, key) if isinstance(value, datetime) else value  # type: ignore[return-value]  # str or int


_: type[Metadata] = SqlMetadata
