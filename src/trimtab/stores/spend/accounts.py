"""The store of spend in a SQL database: a SQLite file by Python's own driver, or PostgreSQL by psycopg.

Each write is one transaction, and they run one after another: BEGIN IMMEDIATE in SQLite, an advisory lock in
PostgreSQL. SQLite is in WAL mode with synchronous=FULL, so a lease survives a loss of power.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import MissingExtra, NotFound, StoreError, nearest
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.spend.contract import (
    RATE,
    Account,
    Ask,
    AssumedTurn,
    Booking,
    Granted,
    OwnerGone,
    OwnerState,
    SpendKey,
    SpendStore,
    Spent,
    few,
)

psycopg: Any = LazyLibrary("psycopg")

BUSY_TIMEOUT_S = 30.0
WRITER_LOCK = 0x7370656E64
"""Key of the PostgreSQL lock under which one transaction writes ("spend" in ASCII)."""
_KEY = "scope TEXT NOT NULL, start BIGINT NOT NULL, finish BIGINT NOT NULL"
TABLES = (
    f"trimtab_spend_rows ({_KEY}, cap BIGINT, spent BIGINT NOT NULL, held BIGINT NOT NULL, "
    "PRIMARY KEY (scope, start, finish))",
    "trimtab_spend_owners (owner TEXT PRIMARY KEY, number BIGINT NOT NULL, segment BIGINT NOT NULL, "
    "place BIGINT NOT NULL, host TEXT NOT NULL, renewed BIGINT NOT NULL)",
    f"trimtab_spend_leases (owner TEXT NOT NULL, {_KEY}, amount BIGINT NOT NULL, "
    "PRIMARY KEY (owner, scope, start, finish))",
    f"trimtab_spend_totals ({_KEY}, purpose TEXT NOT NULL, kind TEXT NOT NULL, cost BIGINT NOT NULL, "
    "calls BIGINT NOT NULL, input BIGINT NOT NULL, output BIGINT NOT NULL, "
    "PRIMARY KEY (scope, start, finish, purpose, kind))",
    "trimtab_spend_assumed (id TEXT PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL)",
)
_AT = "scope = ? AND start = ? AND finish = ?"
_turn = msgspec.json.Decoder(AssumedTurn)


class _Accounts:
    """What both databases share. Statements have `?` for values."""

    name = "spend store"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        with self._write() as connection:
            for table in TABLES:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")

    @contextmanager
    def _write(self) -> Iterator[Any]:
        """Yield a connection in a transaction that no other process writes next to."""
        raise NotImplementedError

    def lease(self, owner: str, asks: Sequence[Ask], *, at: int, host: str = "") -> dict[SpendKey, Granted]:
        """Lease for calls."""
        with self._write() as connection:
            known = connection.execute("UPDATE trimtab_spend_owners SET renewed = ? WHERE owner = ?", (at, owner))
            if not known.rowcount and asks:
                raise self._gone(owner)
            if not known.rowcount:
                connection.execute("INSERT INTO trimtab_spend_owners VALUES (?, 0, 0, 0, ?, ?)", (owner, host, at))
            return {ask.key: self._grant(connection, owner, ask) for ask in asks}

    def _grant(self, connection: Any, owner: str, ask: Ask) -> Granted:
        connection.execute(
            "INSERT INTO trimtab_spend_rows VALUES (?, ?, ?, ?, 0, 0) "
            "ON CONFLICT (scope, start, finish) DO UPDATE SET cap = excluded.cap",
            (*ask.key, ask.cap),
        )
        granted = 0
        whole = max(ask.wish, sum(ask.needs))
        if self._hold(connection, ask.key, whole, below=few(ask.cap)):
            granted = whole
        else:
            granted = sum(need for need in ask.needs if self._hold(connection, ask.key, need, below=ask.cap))
        if granted:
            connection.execute(
                "INSERT INTO trimtab_spend_leases VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (owner, scope, start, finish) "
                "DO UPDATE SET amount = trimtab_spend_leases.amount + excluded.amount",
                (owner, *ask.key, granted),
            )
        row = connection.execute(f"SELECT spent, held FROM trimtab_spend_rows WHERE {_AT}", ask.key).fetchone()
        return Granted(granted, int(row[0]), int(row[1]))

    @staticmethod
    def _hold(connection: Any, key: SpendKey, amount: int, *, below: int) -> bool:
        done = connection.execute(
            f"UPDATE trimtab_spend_rows SET held = held + ? WHERE {_AT} AND spent + held + ? <= ?",
            (amount, *key, amount, below),
        )
        return bool(done.rowcount)

    def book(self, owner: str, booking: Booking, *, at: int) -> None:
        """Write what an owner has spent, and what it still leases."""
        with self._write() as connection:
            row = connection.execute("SELECT number FROM trimtab_spend_owners WHERE owner = ?", (owner,)).fetchone()
            if row is None:
                raise self._gone(owner)
            if row[0] >= booking.number:
                return
            connection.execute(
                "UPDATE trimtab_spend_owners SET number = ?, segment = ?, place = ?, renewed = ? WHERE owner = ?",
                (booking.number, *booking.place, at, owner),
            )
            for key, amount in booking.spent.items():
                self._add(connection, key, amount)
            for (key, purpose, kind), spent in booking.totals.items():
                self._add_total(connection, key, purpose, kind, spent)
            for turn in booking.assumed:
                taken = connection.execute("SELECT 1 FROM trimtab_spend_assumed WHERE id = ?", (turn.id,)).fetchone()
                id_ = f"{turn.id}#{owner}" if taken else turn.id
                body = msgspec.json.encode(msgspec.structs.replace(turn, id=id_)).decode()
                connection.execute("INSERT INTO trimtab_spend_assumed VALUES (?, ?, ?)", (id_, turn.at, body))
            leases = dict(booking.leases)
            if booking.ended:
                leases = {**dict.fromkeys(self._leases(connection, owner), 0), **leases}
            for key, amount in leases.items():
                self._set_lease(connection, owner, key, amount)
            if booking.ended:
                connection.execute("DELETE FROM trimtab_spend_owners WHERE owner = ?", (owner,))

    def _gone(self, owner: str) -> OwnerGone:
        return OwnerGone(f"{self.name}: '{owner}' was taken for dead; what it leased counts as spent")

    @staticmethod
    def _add(connection: Any, key: SpendKey, amount: int) -> None:
        connection.execute(
            "INSERT INTO trimtab_spend_rows VALUES (?, ?, ?, NULL, ?, 0) ON CONFLICT (scope, start, finish) "
            "DO UPDATE SET spent = trimtab_spend_rows.spent + excluded.spent",
            (*key, amount),
        )

    @staticmethod
    def _add_total(connection: Any, key: SpendKey, purpose: str, kind: str, spent: Spent) -> None:
        sums = ", ".join(
            f"{name} = trimtab_spend_totals.{name} + excluded.{name}" for name in ("cost", "calls", "input", "output")
        )
        connection.execute(
            "INSERT INTO trimtab_spend_totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
            f"ON CONFLICT (scope, start, finish, purpose, kind) DO UPDATE SET {sums}",
            (*key, purpose, kind, *spent),
        )

    def _set_lease(self, connection: Any, owner: str, key: SpendKey, amount: int) -> None:
        at = (owner, *key)
        row = connection.execute(f"SELECT amount FROM trimtab_spend_leases WHERE owner = ? AND {_AT}", at).fetchone()
        before = row[0] if row else 0
        if amount == before:
            return
        connection.execute(f"UPDATE trimtab_spend_rows SET held = held + ? WHERE {_AT}", (amount - before, *key))
        if not amount:
            connection.execute(f"DELETE FROM trimtab_spend_leases WHERE owner = ? AND {_AT}", at)
        elif row:
            connection.execute(f"UPDATE trimtab_spend_leases SET amount = ? WHERE owner = ? AND {_AT}", (amount, *at))
        else:
            connection.execute("INSERT INTO trimtab_spend_leases VALUES (?, ?, ?, ?, ?)", (*at, amount))

    @staticmethod
    def _leases(connection: Any, owner: str) -> dict[SpendKey, int]:
        found = connection.execute(
            "SELECT scope, start, finish, amount FROM trimtab_spend_leases WHERE owner = ?", (owner,)
        )
        return {SpendKey(*row[:3]): row[3] for row in found.fetchall()}

    def owners(self) -> list[OwnerState]:
        """Return the processes that lease."""
        with self._write() as connection:
            rows = connection.execute(
                "SELECT owner, number, segment, place, host, renewed FROM trimtab_spend_owners ORDER BY owner"
            ).fetchall()
            return [
                OwnerState(
                    owner=owner,
                    number=number,
                    place=(segment, place),
                    host=host,
                    renewed=renewed,
                    leases=self._leases(connection, owner),
                )
                for owner, number, segment, place, host, renewed in rows
            ]

    def accounts(self, *, since: int = 0, scopes: Sequence[str] = ()) -> list[Account]:
        """Return rows by scope and start."""
        where, values = "finish > ?", [since, *scopes]
        if scopes:
            where += f" AND scope IN ({', '.join('?' * len(scopes))})"
        with self._write() as connection:
            rows = connection.execute(
                f"SELECT scope, start, finish, cap, spent, held FROM trimtab_spend_rows WHERE {where} "
                "ORDER BY scope, start, finish",
                values,
            ).fetchall()
            parts = connection.execute(
                "SELECT scope, start, finish, purpose, kind, cost, calls, input, output FROM trimtab_spend_totals "
                f"WHERE {where} ORDER BY purpose, kind",
                values,
            ).fetchall()
        totals: dict[SpendKey, dict[tuple[str, str], Spent]] = {}
        for part in parts:
            totals.setdefault(SpendKey(*part[:3]), {})[part[3], part[4]] = Spent(*part[5:])
        return [
            Account(key=key, cap=row[3], spent=row[4], held=row[5], totals=totals.get(key, {}))
            for row in rows
            for key in (SpendKey(*row[:3]),)
        ]

    def assumed(self) -> list[AssumedTurn]:
        """Return the turns that count at their bound, oldest first."""
        with self._write() as connection:
            rows = connection.execute("SELECT body FROM trimtab_spend_assumed ORDER BY at, id").fetchall()
        return [_turn.decode(row[0]) for row in rows]

    def settle(self, turn: str, cost: int, *, input: int = 0, output: int = 0) -> None:
        """Replace the bound of an assumed turn by its cost."""
        with self._write() as connection:
            row = connection.execute("SELECT body FROM trimtab_spend_assumed WHERE id = ?", (turn,)).fetchone()
            if row is None:
                known = connection.execute("SELECT id FROM trimtab_spend_assumed ORDER BY at DESC LIMIT 200").fetchall()
                raise NotFound(f"{self.name}: no assumed turn '{turn}'.{nearest(turn, [each[0] for each in known])}")
            found = _turn.decode(row[0])
            connection.execute("DELETE FROM trimtab_spend_assumed WHERE id = ?", (turn,))
            for key, amount in found.amounts:
                self._add(connection, key, cost - amount)
                self._add_total(connection, key, found.purpose, "assumed", Spent(-amount, -1, 0, 0))
                self._add_total(connection, key, found.purpose, "reported", Spent(cost, 1, input, output))

    def forget(self, *, rates_before: int, scopes_before: int, passing: Sequence[str]) -> None:
        """Delete rows that no owner leases and no assumed turn counts in."""
        kept = {key for turn in self.assumed() for key, _ in turn.amounts}
        chosen = [(f"{RATE}%", rates_before), *((f"{prefix}%", scopes_before) for prefix in passing)]
        with self._write() as connection:
            for pattern, before in chosen:
                rows = connection.execute(
                    "SELECT r.scope, r.start, r.finish FROM trimtab_spend_rows r LEFT JOIN trimtab_spend_leases l "
                    "ON l.scope = r.scope AND l.start = r.start AND l.finish = r.finish "
                    "WHERE r.scope LIKE ? AND r.finish < ? AND l.owner IS NULL",
                    (pattern, before),
                ).fetchall()
                for row in rows:
                    if SpendKey(*row) not in kept:
                        connection.execute(f"DELETE FROM trimtab_spend_rows WHERE {_AT}", row)
                        connection.execute(f"DELETE FROM trimtab_spend_totals WHERE {_AT}", row)

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError


class SqliteSpend(_Accounts):
    """Rows in a SQLite file on a local disk. Open it after a fork, not before."""

    PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")

    def __init__(self, path: Path) -> None:
        """Open a file, creating it when it is missing. Raises StoreError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with _wrapped(sqlite3.Error, self.name, str(path)):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            for pragma in self.PRAGMAS:
                self._connection.execute(pragma)
        super().__init__()

    @contextmanager
    def _write(self) -> Iterator[Any]:
        with self._lock, _wrapped(sqlite3.Error, self.name, str(self._path)):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends the transaction by itself
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _Dollars:
    """A PostgreSQL connection that takes statements with `?`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement."""
        return self._connection.execute(statement.replace("?", "%s"), values or None)


class PostgresSpend(_Accounts):
    """Rows in PostgreSQL. A connection that was lost is opened again at the next call."""

    def __init__(self, url: str) -> None:
        """Connect. url: as SQLAlchemy or PostgreSQL writes it. Raises StoreError."""
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._open: Any = None
        super().__init__()

    @contextmanager
    def _write(self) -> Iterator[Any]:
        try:
            failures = psycopg.Error
        except ImportError:
            raise MissingExtra("psycopg", "postgres") from None
        with self._lock, _wrapped(failures, self.name, "PostgreSQL"):
            if self._open is None or self._open.closed:
                self._open = psycopg.connect(self._url, autocommit=True)
            try:
                with self._open.transaction():
                    self._open.execute(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
                    yield _Dollars(self._open)
            except failures:
                self._open.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.close()


@contextmanager
def _wrapped(failures: Any, name: str, where: str) -> Iterator[None]:
    try:
        yield
    except failures as error:
        raise StoreError(f"{name}: {where}: {error}") from error


_FITS: tuple[type[SpendStore], ...] = (SqliteSpend, PostgresSpend)
