"""The metadata store in a SQL database given by a URL: PostgreSQL or SQLite.

SQLite runs in WAL mode with synchronous=FULL, so a commit is on disk before `put` returns (with NORMAL a loss of
power could lose the last commits). Writers wait for one another (BEGIN IMMEDIATE and a busy timeout); readers never
wait. The file must be on a local disk: WAL does not work on network shares.
Open a store after a fork, not before: connections cannot be shared with a child process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import Conflict, StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.records.control import LedgerAcceptance, LedgerEntry
from trimtab.records.record import Record
from trimtab.stores.faults import Fault, check_sqlite
from trimtab.stores.metadata import chain, rows
from trimtab.stores.metadata.contract import Metadata, R
from trimtab.stores.metadata.migrations import migrate
from trimtab.stores.metadata.rows import BUSY_TIMEOUT_MS, LOOKUP_IDS, Busy, Value, remedy_for
from trimtab.stores.metadata.schema import tables

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    sa = LazyLibrary("sqlalchemy")

ATTEMPTS = 5
"""Attempts of a put while other writers put the same ids; each attempt reads what they have written."""

WRITER_LOCK = 0x6C6564676572
"""Key of the PostgreSQL lock under which one transaction writes ("ledger" in ASCII, which it was for at first)."""

CHECKED_ROWS = 10_000
"""Records that `check` reads at once."""

_READ = {"trimtab_read": True}


class SqlMetadata:
    """Records in a SQL database; safe to share between threads, and the database between processes."""

    def __init__(self, url: str | Path, *, head: Path | None = None) -> None:
        """Open a database by SQLAlchemy URL, or a SQLite file by path, and bring its tables up to date.

        head: the file in which the head of the ledger is noted.
        """
        self._head = head
        if isinstance(url, Path):
            url.parent.mkdir(parents=True, exist_ok=True)
            url = sa.URL.create("sqlite", database=str(url)).render_as_string()
        self._engine = _engine(url)
        self._reader = self._engine.execution_options(**_READ)
        with _wrapped("open"):
            migrate(self._engine)

    def put(self, *records: Record) -> None:
        """Write records, all or none. Raises Conflict."""
        wanted = rows.by_kind(records)
        if not wanted:
            return
        for attempt in range(ATTEMPTS):
            try:
                with _wrapped("put"), self._engine.begin() as connection:
                    _wait_for_writers(connection)
                    new = [
                        (kind, str(one["id"]), str(one["body"]))
                        for kind, own in wanted.items()
                        for one in _insert_missing(connection, kind, own)
                    ]
                    made = _enter(connection, new)
                if made:
                    anew = LedgerAcceptance in wanted
                    chain.note_head(self._head, chain.Head(number=made[-1].number, hash=made[-1].hash), anew=anew)
                return
            except _Raced as error:
                if attempt == ATTEMPTS - 1:
                    raise Conflict(f"other writers kept writing the same records: {error}") from error

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound."""
        return rows.decoder(kind).decode(self._value(kind, _table(kind).c.body, id_))

    def find(
        self,
        kind: type[R],
        /,
        *,
        limit: int | None = None,
        oldest_first: bool = False,
        before: str | None = None,
        **where: object,
    ) -> Sequence[R]:
        """Return the records whose KEYS fields match `where`, from behind the record `before` on."""
        table = _table(kind)
        conditions = _conditions(kind, where)
        if before is not None:
            last = self._value(kind, table.c.seq, before)
            conditions.append(table.c.seq > last if oldest_first else table.c.seq < last)
        order = table.c.seq.asc() if oldest_first else table.c.seq.desc()
        statement = sa.select(table.c.body).where(*conditions).order_by(order).limit(limit)
        decode = rows.decoder(kind).decode
        return [decode(body) for body in self._scalars(statement)]

    def count(self, kind: type[Record], /, **where: object) -> int:
        """Return how many records `find` would return."""
        statement = sa.select(sa.func.count()).select_from(_table(kind)).where(*_conditions(kind, where))
        return int(self._scalars(statement)[0])

    def positions(self) -> dict[str, int]:
        """Return the sequence number of the newest record of each kind."""
        newest = [sa.select(sa.func.max(table.c.seq)).scalar_subquery() for table in tables().values()]
        with _wrapped("read"), self._reader.connect() as connection:
            found = connection.execute(sa.select(*newest)).one()
        return {kind.KIND: seq or 0 for kind, seq in zip(tables(), found, strict=True)}

    def check(self) -> Sequence[Fault]:
        """Run SQLite's quick check of a SQLite database, then decode every record."""
        if self._engine.dialect.name == "sqlite" and (wrong := check_sqlite(Path(str(self._engine.url.database)))):
            return [Fault(text=f"{self._engine.url.database} is damaged: {wrong}", remedy=rows.RESTORE)]
        found: list[Fault] = []
        for kind, table in tables().items():
            with _wrapped("read"), self._reader.connect() as connection:
                bodies = connection.execution_options(yield_per=CHECKED_ROWS).execute(
                    sa.select(table.c.id, table.c.body)
                )
                found += rows.unreadable(kind, ((row[0], row[1]) for row in bodies))
        return found

    def verify(self, *, last: int | None = None) -> chain.LedgerState:
        """Verify the ledger, all of it or its last entries."""
        noted = chain.read_head(self._head)  # before the entries, or one written in between would seem missing
        with _wrapped("verify"), self._reader.connect() as connection:
            return chain.verify(
                _last_entries(connection, last),
                partial(_bodies, connection),
                ids=partial(_ids, connection) if last is None else None,
                noted=noted,
                acceptances=self.find(LedgerAcceptance),
            )

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _value(self, kind: type[Record], column: sa.Column[Any], id_: str) -> Any:
        """Return what one record has in a column. Raises NotFound."""
        table = column.table
        found = self._scalars(sa.select(column).where(table.c.id == id_))
        if not found:
            newest = self._scalars(sa.select(table.c.id).order_by(table.c.seq.desc()).limit(200))
            raise rows.not_found(kind, id_, list(newest))
        return found[0]

    def _scalars(self, statement: sa.Select[Any]) -> Sequence[Any]:
        with _wrapped("read"), self._reader.connect() as connection:
            return connection.execute(statement).scalars().all()


class _Raced(Exception):
    """Another writer put the same id between the lookup and the insert of this put."""


def _engine(url: str) -> sa.Engine:
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise StoreError(
            f"cannot open metadata '{_hidden(url)}': {error}. Expected for example sqlite:////path/metadata.db or "
            "postgresql+psycopg://user@host/database"
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
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
    """Take the write lock at once: a transaction that starts with reads would fail instead of waiting for it."""
    if not connection.get_execution_options().get("trimtab_read"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _wrapped(verb: str) -> Iterator[None]:
    """Turn the exceptions of the database into StoreError."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise _Raced(str(error.orig)) from error
    except sa.exc.OperationalError as error:
        kind = Busy if "locked" in str(error.orig) else StoreError
        raise kind(f"metadata store: {verb} failed: {error.orig}") from error
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"metadata store: {verb} failed: {cause}{remedy_for(cause)}") from error


def _wait_for_writers(connection: sa.Connection) -> None:
    """Write one transaction after another, as SQLite does: the order of commits is then that of sequence numbers.

    Without it a record could appear behind a newer one that was already read, and the chain of the ledger could fork.
    """
    if connection.dialect.name == "postgresql":  # held until the commit
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


def _table(kind: type[Record]) -> sa.Table:
    rows.check_kind(kind)
    return tables()[kind]


def _enter(connection: sa.Connection, new: list[tuple[type[Record], str, str]]) -> list[LedgerEntry]:
    """Write the ledger's entries of new records; return them."""
    if not any(kind in chain.COVERED for kind, _, _ in new):
        return []
    last = next(iter(_last_entries(connection, 1)), None)
    made = chain.following(last, new, partial(_bodies, connection))
    _insert_missing(connection, LedgerEntry, rows.of_entries(made))
    return made


def _last_entries(connection: sa.Connection, number: int | None) -> list[LedgerEntry]:
    """Return the last `number` entries, or all for None, oldest first."""
    table = tables()[LedgerEntry]
    decode = rows.decoder(LedgerEntry).decode
    found = connection.execute(sa.select(table.c.body).order_by(table.c.seq.desc()).limit(number)).scalars()
    return [decode(body) for body in found][::-1]


def _bodies(connection: sa.Connection, kind: type[Record], ids: Sequence[str]) -> dict[str, str]:
    table, known = tables()[kind], dict[str, str]()
    for start in range(0, len(ids), LOOKUP_IDS):
        chunk = ids[start : start + LOOKUP_IDS]
        found = connection.execute(sa.select(table.c.id, table.c.body).where(table.c.id.in_(chunk)))
        known.update((id_, body) for id_, body in found)
    return known


def _ids(connection: sa.Connection, kind: type[Record]) -> list[str]:
    return list(connection.execute(sa.select(tables()[kind].c.id).order_by(tables()[kind].c.seq)).scalars())


def _insert_missing(
    connection: sa.Connection, kind: type[Record], wanted: list[dict[str, Value]]
) -> list[dict[str, Value]]:
    """Insert the rows that are not stored yet; return them."""
    ids = list(dict.fromkeys(str(one["id"]) for one in wanted))
    new = rows.missing(kind, wanted, _bodies(connection, kind, ids))
    if new:
        connection.execute(tables()[kind].insert(), new)
    return new


def _conditions(kind: type[Record], where: Mapping[str, object]) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    for key, values in rows.conditions(kind, where).items():
        column = tables()[kind].c[key]
        if isinstance(values, rows.Range):
            found += [] if values.start is None else [column >= values.start]
            found += [] if values.end is None else [column < values.end]
            continue
        any_of = column.in_([value for value in values if value is not None])
        found.append(sa.or_(any_of, column.is_(None)) if None in values else any_of)
    return found


_: type[Metadata] = SqlMetadata
