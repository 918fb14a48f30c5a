"""Connections to PostgreSQL and SQLite for reading, and their errors in one line, without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trimtab.data.connectors.contract import Unreachable
from trimtab.data.source_files import nearest_existing
from trimtab.definitions.secrets import Secret, reveal
from trimtab.definitions.sql_source import DATABASES
from trimtab.errors import DataError, MissingExtra, StageError, nearest
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError
else:  # a KPI that asks a query is rare, and the loop starts without the library
    sa = LazyLibrary("sqlalchemy")

CONNECT_SECONDS = 10


class DatabaseAccess:
    """One database.

    where: what asks, for messages. given: URL, or a secret that holds it. folder: of the project, which the paths of
    SQLite are relative to. table: the one that is read, for hints.
    """

    def __init__(self, where: str, given: str | Secret, folder: Path, table: str | None = None) -> None:
        self._where, self._given, self._folder, self._table = where, given, folder, table

    @contextmanager
    def connected(self, *, read_only: bool = False) -> Iterator[Connection]:
        """Open a connection that ends with the block. Raises DataError, Unreachable or MissingExtra.

        read_only: let PostgreSQL refuse whatever writes; a file of SQLite is opened for reading anyway.
        """
        url = self._url()
        is_postgres = url.get_backend_name() == "postgresql"
        try:
            engine = sa.create_engine(
                url,
                poolclass=sa.pool.NullPool,
                connect_args={"connect_timeout": CONNECT_SECONDS} if is_postgres else {},
            )
        except ImportError:
            raise MissingExtra("psycopg", "postgres") from None
        if is_postgres:
            sa.event.listen(engine, "connect", _json_as_text)
        with self._explained(engine):
            connection = engine.connect()
            if read_only and is_postgres:
                connection = connection.execution_options(postgresql_readonly=True)
        with connection:
            yield connection

    def all_rows(
        self, connection: Connection, statement: str, values: Mapping[str, Any]
    ) -> tuple[list[str], Sequence[Sequence[Any]]]:
        """Return the names of the columns and the rows of a statement, whose transaction ends with it."""
        with self._explained(connection.engine):
            found = connection.execute(sa.text(statement), dict(values))
            names, rows = list(found.keys()), found.fetchall()
            connection.rollback()
        return names, rows

    def server(self, url: URL) -> str:
        """Return how messages name the database: without user and password."""
        if url.get_backend_name() == "sqlite":
            return f"SQLite {Path(str(url.database).removeprefix('file:')).name}"
        return f"PostgreSQL {url.host or url.query.get('host') or 'localhost'}/{url.database or ''}"

    def _url(self) -> URL:
        """Return where to connect, with the values of secrets."""
        where, given = f"{self._where}: connection", self._given
        try:
            url = sa.make_url(reveal(given, where) if isinstance(given, Secret) else given)
        except (sa.exc.ArgumentError, ValueError):
            raise StageError(f"{where}: {given} holds no URL such as postgresql://user@host/database") from None
        user, password = (value and reveal(str(value), where) for value in (url.username, url.password))
        url = url.set(username=user, password=password)
        kind = url.get_backend_name()
        if kind not in DATABASES:
            raise StageError(f"{where}: '{kind}' is no database that is known here.{nearest(kind, DATABASES)}")
        if kind == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        path = self._folder / Path(url.database or "").expanduser()
        if not path.is_file():
            raise DataError(f"{self._where}: there is no '{path}'.{nearest_existing(path)}")
        return url.set(database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})

    @contextmanager
    def _explained(self, engine: Engine) -> Iterator[None]:
        """Raise what the database says as one of our errors, in one line and without the statement."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            said, where = _words(error), f"{self._where}: {self.server(engine.url)}"
            gone = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
            gone |= isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
            if gone and not said.startswith(("no such", "near ")):  # SQLite's words for a wrong statement
                raise Unreachable(f"{where} does not answer: {said}") from None
            raise DataError(f"{where} says: {said}{self._hint(engine)}") from None

    def _hint(self, engine: Engine) -> str:
        """Return the nearest table where the source names one that is not there."""
        if self._table is None:
            return ""
        schema, _, name = self._table.rpartition(".")
        try:
            found = sa.inspect(engine)
            known = [*found.get_table_names(schema or None), *found.get_view_names(schema or None)]
        except sa.exc.SQLAlchemyError:
            return ""
        return "" if name in known else f".{nearest(name, known)}"


def quoted(name: str) -> str:
    """Return a name of a column or table as it stands in a statement."""
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'


def subquery(query: str) -> str:
    """Return a SELECT as it stands in FROM."""
    inner = query.strip().rstrip(";").replace(":", "\\:")
    return f"({inner}) AS rows_of_source"


def _words(error: SQLAlchemyError) -> str:
    """Return the first line of what the database said."""
    said = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
    return (said.strip().splitlines() or [type(error).__name__])[0][:300]


def _json_as_text(connection: Any, record: object) -> None:
    """Let JSON columns of PostgreSQL come as they are written."""
    from psycopg.types.json import set_json_loads

    set_json_loads(lambda value: value if isinstance(value, str) else bytes(value).decode(), connection)
