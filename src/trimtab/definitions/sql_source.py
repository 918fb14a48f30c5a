"""Sources of rows in SQL databases."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from trimtab.definitions.arguments import check_text, duration
from trimtab.definitions.secrets import Secret
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError, nearest

DATABASES = ("postgresql", "sqlite")


@dataclass(frozen=True)
class SQLSource(Source):
    """Rows of a table or query in PostgreSQL or SQLite.

    With a cursor, each ingest reads the rows beyond the largest cursor value so far. Without one, it reads all rows and
    leaves out those that the table has, which takes a key.

    Args:
        name, timestamp, known_at, key, dtypes, time_unit, date_format, time_zone, description, owner, tags, pii: as in
            `Source`.
        connection: postgresql://user:${PASSWORD}@host/database, where ${PASSWORD} is an environment variable;
            sqlite:///shop.db, relative to the project folder; or tt.secret("NAME") for a variable with the whole URL.
        table: name of a table or view, such as "orders" or "sales.orders".
        query: a SELECT, instead of a table.
        cursor: column that never falls for later rows: an increasing id, or the time of the last change.
        cursor_unique: column that orders rows with one cursor value; by default the columns of the key. Without both,
            no two rows may have one cursor value.
        lag: how far before the largest cursor value rows are read again, since a transaction that was open meanwhile
            may have written them: a duration for a cursor that is a time, a number for one that is a number. Takes a
            key.
        batch_rows: most rows of one pull.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> orders = tt.SQLSource(
    ...     "orders",
    ...     connection=f"postgresql://app:{tt.secret('SHOP_PASSWORD')}@db/shop",
    ...     table="orders",
    ...     timestamp="ordered_at",
    ...     known_at="updated_at",
    ...     key=["order_id"],
    ...     cursor="updated_at",
    ...     lag="10m",
    ... )
    >>> orders.origin
    'postgresql://app:${SHOP_PASSWORD}@db/shop orders'
    """

    connection: str | Secret = field(kw_only=True)
    table: str | None = field(default=None, kw_only=True)
    query: str | None = field(default=None, kw_only=True)
    cursor: str | None = field(default=None, kw_only=True)
    cursor_unique: str | None = field(default=None, kw_only=True)
    lag: str | int = field(default="0s", kw_only=True)
    batch_rows: int = field(default=50_000, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_connection()
        for name in ("table", "query", "cursor", "cursor_unique"):
            if (value := getattr(self, name)) is not None:
                check_text(f"{self.where}: {name}", value, "updated_at" if "cursor" in name else "orders")
        if (self.table is None) == (self.query is None):
            has = "neither table nor query" if self.table is None else "a table and a query"
            raise DefinitionError(f"{self.where} has {has}; expected one of them")
        if isinstance(self.batch_rows, bool) or not isinstance(self.batch_rows, int) or self.batch_rows < 1:
            raise DefinitionError(f"{self.where}: batch_rows is {self.batch_rows!r}; expected a number from 1")
        if not isinstance(self.lag, str) and (
            isinstance(self.lag, bool) or not isinstance(self.lag, int) or self.lag < 0
        ):
            raise DefinitionError(f"{self.where}: lag is {self.lag!r}; expected such as '10m', or 1000 for a number")
        _ = self.lag_micros  # raises for what is no duration
        if self.cursor is None and not self.key:
            raise DefinitionError(
                f"{self.where} has neither cursor nor key, so its rows would be taken in again and again. Name a "
                "column that never falls for later rows, cursor='updated_at', or what identifies a row, key=[...]"
            )
        if self.cursor is None and (self.cursor_unique is not None or self.lags):
            raise DefinitionError(
                f"{self.where} has cursor_unique or lag, but no cursor; name the cursor, or leave them out"
            )
        if self.lags and not self.key:
            raise DefinitionError(
                f"{self.where}: lag reads rows again, so rows need a key to count once: name the columns that identify "
                "one, key=[...]"
            )

    @property
    def tie_break(self) -> tuple[str, ...]:
        """Columns that order rows with one cursor value; empty when the cursor is unique."""
        columns = (self.cursor_unique,) if self.cursor_unique is not None else tuple(self.key)
        return tuple(column for column in columns if column != self.cursor)

    @property
    def lags(self) -> bool:
        """True if rows before the largest cursor value are read again."""
        return self.lag not in (0, "0s", "0")

    @property
    def lag_micros(self) -> int:
        """The lag of a cursor that is a time, in microseconds."""
        return duration(f"{self.where}: lag", self.lag) if self.lags and isinstance(self.lag, str) else 0

    @property
    def origin(self) -> str:
        """The connection without secrets, and the table or query."""
        return f"{self.connection} {self.table or self.query}"

    def _check_connection(self) -> None:
        if isinstance(self.connection, Secret):
            return
        check_text(f"{self.where}: connection", self.connection, "sqlite:///data/shop.db")
        try:
            parts = urlsplit(self.connection)
            password = parts.password
        except ValueError as error:
            raise DefinitionError(f"{self.where}: connection is no URL: {error}") from None
        kind = parts.scheme.split("+")[0]
        if kind not in DATABASES:
            raise DefinitionError(
                f"{self.where}: connection begins with '{kind}'; expected postgresql://user@host/database, "
                f"sqlite:///file.db, or tt.secret('NAME').{nearest(kind, DATABASES)}"
            )
        if password and not (password.startswith("${") and password.endswith("}")):
            raise DefinitionError(
                f"{self.where}: connection has a password in it; let an environment variable hold it: "
                f"{parts.scheme}://{parts.username}:${{NAME}}@{parts.hostname}{parts.path}"
            )
