"""The metadata store in a SQLite file, with Python's own driver. It is the default of a project.

The tables are those of the SQL backend, which can open the same file. That backend also migrates new and older files.
The driver alone opens in a few milliseconds, SQLAlchemy in a third of a second (docs/decisions/0017).

The file is in WAL mode with synchronous=FULL, so a commit is on disk before `put` returns (with NORMAL a loss of
power could lose the last commits). Writers wait for one another (BEGIN IMMEDIATE and a busy timeout); readers never
wait. The file must be on a local disk: WAL does not work on network shares.
Open a store after a fork, not before: connections cannot be shared with a child process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from trimtab.errors import StoreError
from trimtab.records.control import LedgerAcceptance, LedgerEntry
from trimtab.records.kinds import RECORDS
from trimtab.records.record import Record
from trimtab.stores.faults import Fault, check_sqlite
from trimtab.stores.metadata import chain, rows
from trimtab.stores.metadata.contract import Between, Metadata, R
from trimtab.stores.metadata.rows import Busy, Value, remedy_for
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.metadata.version import VERSION_TABLE, newest

SUGGESTED_IDS = 200
"""Number of newest ids from which the error for an unknown id suggests the nearest."""


class SqliteMetadata:
    """Records in a SQLite file; safe to share between threads, and the file between processes."""

    def __init__(self, path: Path, *, head: Path | None = None) -> None:
        """Open a file, creating it when it is missing, and migrate its tables. Raises StoreError.

        head: the file in which the head of the ledger is noted.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._head = head
        self._free: list[sqlite3.Connection] = []
        """Connections that no thread uses. Taking and returning one is a single operation, so it needs no lock."""
        if not self._is_current():
            SqlMetadata(path).close()

    def put(self, *records: Record) -> None:
        """Write records, all or none. Raises Conflict."""
        wanted = rows.by_kind(records)
        if not wanted:
            return
        with self._connection("put") as connection:
            connection.execute("BEGIN IMMEDIATE")  # a transaction that starts with reads would fail instead of waiting
            try:
                new = [
                    (kind, str(one["id"]), str(one["body"]))
                    for kind, own in wanted.items()
                    for one in _insert_missing(connection, kind, own)
                ]
                made = _enter(connection, new)
            except BaseException:
                if connection.in_transaction:  # a full disk ends the transaction by itself
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        if made:
            anew = LedgerAcceptance in wanted
            chain.note_head(self._head, chain.Head(number=made[-1].number, hash=made[-1].hash), anew=anew)

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound."""
        return rows.decoder(kind).decode(self._value(kind, "body", id_))

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
        condition, values = _where(kind, where)
        order, behind = ("ASC", ">") if oldest_first else ("DESC", "<")
        # with several values or a range SQLite prefers an index on fewer keys that has the order of seq; no index has
        # the order of "+seq", so SQLite looks up each value in the index on all keys, and sorts what it finds
        seq = "+seq" if any(isinstance(value, tuple | Between) for value in where.values()) else "seq"
        if before is not None:
            condition += f"{' AND' if condition else ' WHERE'} {seq} {behind} ?"
            values.append(self._value(kind, "seq", before))
        most = -1 if limit is None else limit
        table = rows.table_name(kind)
        bodies = self._column(f"SELECT body FROM {table}{condition} ORDER BY {seq} {order} LIMIT ?", *values, most)
        decode = rows.decoder(kind).decode
        return [decode(body) for body in bodies]

    def count(self, kind: type[Record], /, **where: object) -> int:
        """Return how many records `find` would return."""
        condition, values = _where(kind, where)
        return int(self._column(f"SELECT count(*) FROM {rows.table_name(kind)}{condition}", *values)[0])

    def positions(self) -> dict[str, int]:
        """Return the sequence number of the newest record of each kind."""
        newest = ", ".join(f"(SELECT max(seq) FROM {rows.table_name(kind)})" for kind in RECORDS.values())
        with self._connection("read") as connection:
            found = connection.execute(f"SELECT {newest}").fetchone()
        return {name: seq or 0 for name, seq in zip(RECORDS, found, strict=True)}

    def check(self) -> Sequence[Fault]:
        """Run SQLite's quick check, then decode every record."""
        if wrong := check_sqlite(self._path):
            return [Fault(text=f"{self._path} is damaged: {wrong}", remedy=rows.RESTORE)]
        found: list[Fault] = []
        for kind in RECORDS.values():
            with self._connection("read") as connection:
                found += rows.unreadable(kind, connection.execute(f"SELECT id, body FROM {rows.table_name(kind)}"))
        return found

    def verify(self, *, last: int | None = None) -> chain.LedgerState:
        """Verify the ledger, all of it or its last entries."""
        noted = chain.read_head(self._head)  # before the entries, or one written in between would seem missing
        with self._connection("verify") as connection:
            connection.execute("BEGIN")  # all reads see one state
            try:
                return chain.verify(
                    _last_entries(connection, -1 if last is None else last),
                    partial(_bodies, connection),
                    ids=partial(_ids, connection) if last is None else None,
                    noted=noted,
                    acceptances=self.find(LedgerAcceptance),
                )
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connections."""
        while self._free:
            self._free.pop().close()

    def _is_current(self) -> bool:
        with self._connection("open") as connection:
            named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            if connection.execute(named, (VERSION_TABLE,)).fetchone() is None:
                return False
            found: list[tuple[str]] = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()
            return found == [(newest(),)]

    def _value(self, kind: type[Record], column: str, id_: str) -> Any:
        """Return what one record has in a column. Raises NotFound."""
        rows.check_kind(kind)
        table = rows.table_name(kind)
        found = self._column(f"SELECT {column} FROM {table} WHERE id = ?", id_)
        if not found:
            ids = self._column(f"SELECT id FROM {table} ORDER BY seq DESC LIMIT {SUGGESTED_IDS}")
            raise rows.not_found(kind, id_, ids)
        return found[0]

    def _column(self, statement: str, *values: Value) -> list[Any]:
        with self._connection("read") as connection:
            return [found for (found,) in connection.execute(statement, values)]

    @contextmanager
    def _connection(self, verb: str) -> Iterator[sqlite3.Connection]:
        """Lend a connection. Exceptions of SQLite become StoreError."""
        try:
            try:
                connection = self._free.pop()
            except IndexError:
                connection = _connect(self._path)
            try:
                yield connection
            except sqlite3.Error:
                connection.close()  # its state is not known
                raise
            except BaseException:
                self._free.append(connection)
                raise
            self._free.append(connection)
        except sqlite3.OperationalError as error:
            error_type = Busy if "locked" in str(error) else StoreError
            raise error_type(f"metadata store: {verb} failed: {error} ({self._path})") from error
        except sqlite3.Error as error:
            raise StoreError(f"metadata store: {verb} failed: {error} ({self._path}){remedy_for(error)}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=rows.BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _enter(connection: sqlite3.Connection, new: list[tuple[type[Record], str, str]]) -> list[LedgerEntry]:
    """Write the ledger's entries of new records; return them."""
    if not any(kind in chain.COVERED for kind, _, _ in new):
        return []
    last = next(iter(_last_entries(connection, 1)), None)
    made = chain.following(last, new, partial(_bodies, connection))
    _insert_missing(connection, LedgerEntry, rows.of_entries(made))
    return made


def _last_entries(connection: sqlite3.Connection, number: int) -> list[LedgerEntry]:
    """Return the last `number` entries, or all for -1, oldest first."""
    statement = f"SELECT body FROM {rows.table_name(LedgerEntry)} ORDER BY seq DESC LIMIT ?"
    decode = rows.decoder(LedgerEntry).decode
    return [decode(body) for (body,) in connection.execute(statement, (number,))][::-1]


def _bodies(connection: sqlite3.Connection, kind: type[Record], ids: Sequence[str]) -> dict[str, str]:
    table, known = rows.table_name(kind), dict[str, str]()
    for start in range(0, len(ids), rows.LOOKUP_IDS):
        chunk = ids[start : start + rows.LOOKUP_IDS]
        known.update(connection.execute(f"SELECT id, body FROM {table} WHERE id IN ({_marks(len(chunk))})", chunk))
    return known


def _ids(connection: sqlite3.Connection, kind: type[Record]) -> list[str]:
    return [id_ for (id_,) in connection.execute(f"SELECT id FROM {rows.table_name(kind)} ORDER BY seq")]


def _insert_missing(
    connection: sqlite3.Connection, kind: type[Record], wanted: list[dict[str, Value]]
) -> list[dict[str, Value]]:
    """Insert the rows that are not stored yet; return them."""
    table = rows.table_name(kind)
    ids = list(dict.fromkeys(one["id"] for one in wanted))
    new = rows.missing(kind, wanted, _bodies(connection, kind, [str(id_) for id_ in ids]))
    columns = [f'"{name}"' for name in wanted[0]]
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(len(columns))})"
    connection.executemany(statement, [tuple(one.values()) for one in new])
    return new


def _where(kind: type[Record], where: dict[str, object]) -> tuple[str, list[Value]]:
    """Return the condition, from WHERE on, and its values. Column names come from KEYS only."""
    terms: list[str] = []
    given: list[Value] = []
    for key, values in rows.conditions(kind, where).items():
        if isinstance(values, rows.Range):
            ends = [(sign, value) for sign, value in zip((">=", "<"), values, strict=True) if value is not None]
            terms += [f'"{key}" {sign} ?' for sign, _ in ends]
            given += [value for _, value in ends]
            continue
        known = [value for value in values if value is not None]
        null = f' OR "{key}" IS NULL' if None in values else ""
        terms.append(f'("{key}" IN ({_marks(len(known))}){null})')
        given += known
    return f" WHERE {' AND '.join(terms)}" if terms else "", given


def _marks(number: int) -> str:
    return ", ".join("?" * number)


_: type[Metadata] = SqliteMetadata
