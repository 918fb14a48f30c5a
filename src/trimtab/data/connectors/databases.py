"""Rows of tables and queries in PostgreSQL and SQLite.

Rows come in pages, in the order of the cursor and of the columns that break its ties, each page by a statement of its
own: no transaction stays open while rows are checked and written. The state is the place of the last row in that order.
An ingest first reads again what may have come late, the rows from the cursor minus the lag up to that place, and then
the rows beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import polars as pl
import pyarrow as pa
from sqlalchemy import Connection

from trimtab.data.connectors.contract import Access, Pull
from trimtab.data.connectors.database_access import DatabaseAccess, quoted, subquery
from trimtab.data.json_rows import BadValue, column_of
from trimtab.definitions.sql_source import SQLSource
from trimtab.errors import DataError, nearest
from trimtab.units import plural

WHOLE_DIGITS, FRACTION_DIGITS = 28, 10
"""A decimal has room for so many digits before and after the point, so that its type fits later rows, too."""

Place = list[Any]
"""Values of the columns that rows are ordered by, as JSON has them."""
_Page = dict[str, list[Any]]
"""Values of some rows, by column."""


class _State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where rows end. place: of the last row; None without a cursor. same: how many rows with its cursor value were
    read. reads: pulls so far, so that no state comes twice."""

    place: Place | None = None
    same: int = 0
    reads: int = 0


class SQLConnector:
    """The rows of one `SQLSource`."""

    def __init__(self, source: SQLSource, access: Access) -> None:
        self._source = source
        self._database = DatabaseAccess(source.where, source.connection, access.folder, source.table)
        self._order = [source.cursor, *source.tie_break] if source.cursor is not None else list(source.key)

    def check(self) -> str:
        """Return the number of columns. Raises DataError, Unreachable or MissingExtra."""
        with self._database.connected() as connection:
            return (
                f"{plural(len(self._columns(connection)), 'column')} in {self._database.server(connection.engine.url)}"
            )

    def pulls(self, state: str | None) -> Iterator[Pull]:
        """Yield the rows after a state in pages. Raises DataError, Unreachable or MissingExtra."""
        start = msgspec.json.decode(state, type=_State) if state else _State()
        with self._database.connected() as connection:
            self._expect_order(self._columns(connection))
            self._expect_values(connection)
            if start.place is not None and self._source.key:
                for pull in self._again(connection, start):
                    start = msgspec.json.decode(pull.state, type=_State)
                    yield pull
            elif start.place is not None:
                self._expect_nothing_late(connection, start.place, start.same)
            yield from self._beyond(connection, start)

    def _again(self, connection: Connection, start: _State) -> Iterator[Pull]:
        """Yield the rows up to the place of the state that may have come late, or may have changed."""
        assert start.place is not None
        low, after, reads = self._lower(start.place[0], connection), None, start.reads
        until = f"{self._quoted(0)} >= :low AND NOT {self._is_beyond('high')}"
        while page := self._page(connection, after, until, {"low": low, **_bound("high", start.place)}):
            after, reads = self._place(page, -1), reads + 1
            yield self._pull(page, _State(start.place, start.same, reads))

    def _beyond(self, connection: Connection, start: _State) -> Iterator[Pull]:
        """Yield the rows beyond the place of the state; without a cursor all rows."""
        after, same, reads = start.place, start.same, start.reads
        while page := self._page(connection, after):
            before, after, reads = after, self._place(page, -1), reads + 1
            same = _equal_at_end(page[self._order[0]]) + (same if before and before[0] == after[0] else 0)
            yield self._pull(page, _State(after if self._source.cursor else None, same, reads))

    def _page(
        self, connection: Connection, after: Place | None, where: str = "", values: Mapping[str, Any] | None = None
    ) -> _Page:
        """Return the next rows after a place, by column; empty when there are none."""
        conditions = [*([where] if where else []), *([self._is_beyond("after")] if after is not None else [])]
        clause = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        order = ", ".join(self._quoted(n) for n in range(len(self._order)))
        bound = {**(values or {}), **(_bound("after", after) if after is not None else {})}
        size = self._source.batch_rows
        statement = f"SELECT * FROM {self._rows} {clause}ORDER BY {order} LIMIT {size + 1}"  # the next one, to compare
        names, rows = self._database.all_rows(connection, statement, bound)
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))
        if not rows:
            return {}
        places = list(zip(*(columns[name] for name in self._order), strict=True))
        if twice := next((one for one, other in pairwise(places) if one == other), None):
            raise self._not_unique(twice)
        return {name: column[:size] for name, column in columns.items()}

    def _pull(self, page: _Page, state: _State) -> Pull:
        label = f"{self._source.name}: {self._place(page, 0)[0]} .. {self._place(page, -1)[0]}"
        place = f"{self._source.where}: {label}"
        texts = {name for name, kind in self._source.dtypes.items() if kind == "text"}
        columns = {name: _column(values, name, place, is_text=name in texts) for name, values in page.items()}
        return Pull(pl.DataFrame(pa.table(columns)), msgspec.json.encode(state).decode(), label)

    def _place(self, page: _Page, row: int) -> Place:
        return [self._plain(page[name][row], name) for name in self._order]

    def _plain(self, value: Any, name: str) -> Any:
        """Return a value as JSON has it, such that the database compares it with the column without loss."""
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, Decimal | UUID):
            return str(value)
        if isinstance(value, int | float | str):
            return value
        raise DataError(
            f"{self._source.where}: column '{name}' is {type(value).__name__}; rows are ordered by it, so it has to "
            "be a number, a time or text"
        )

    def _lower(self, cursor: Any, connection: Connection) -> Any:
        """Return the cursor value from which on rows are read again."""
        source = self._source
        if not source.lags:
            return cursor
        number = _number(cursor)
        if isinstance(source.lag, int) != (number is not None):
            raise DataError(
                f"{source.where}: lag is {source.lag!r} and the cursor '{source.cursor}' is such as {cursor!r}; "
                "expected a duration, such as '10m', for a time, and a number for a number"
            )
        if number is not None:
            less = number - int(source.lag)
            return str(less) if isinstance(cursor, str) else less
        try:
            before = datetime.fromisoformat(cursor) - timedelta(microseconds=source.lag_micros)
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"{source.where}: the cursor '{source.cursor}' is {cursor!r}; lag takes times in ISO 8601"
            ) from None
        if connection.dialect.name == "postgresql":
            return before.isoformat()
        # SQLite compares texts: written as the column is, whole seconds, and one second earlier
        whole = (before - timedelta(seconds=1)).replace(microsecond=0, tzinfo=None)
        return whole.isoformat(sep=cursor[10])[: len(cursor)] if len(cursor) > 10 else whole.date().isoformat()

    @property
    def _rows(self) -> str:
        """The table or query, as it stands in FROM."""
        if self._source.table is not None:
            return ".".join(quoted(part) for part in self._source.table.split("."))
        return subquery(self._source.query or "")

    def _quoted(self, place: int) -> str:
        return quoted(self._order[place])

    def _is_beyond(self, name: str) -> str:
        """Return the condition that a row comes after the place bound as name0, name1, ..."""
        columns = ", ".join(self._quoted(n) for n in range(len(self._order)))
        return f"({columns}) > ({', '.join(f':{name}{n}' for n in range(len(self._order)))})"

    def _expect_order(self, columns: Sequence[str]) -> None:
        named = {"cursor": self._source.cursor, "cursor_unique": self._source.cursor_unique}
        for what, name in [*named.items(), *(("key", name) for name in self._source.key)]:
            if name is not None and name not in columns:
                hint = nearest(name, columns)
                raise DataError(f"{self._source.where}: there is no column '{name}', its {what}.{hint}")
        twice = [name for name in columns if columns.count(name) > 1]
        if twice:
            raise DataError(f"{self._source.where}: the column '{twice[0]}' appears twice; name each once in the query")

    def _expect_values(self, connection: Connection) -> None:
        """Raise DataError for rows without a place in the order: no comparison would ever find them.

        Nor does one find those of PostgreSQL's `real`, whose values come rounded.
        """
        for name in self._order:
            kind = f"SELECT pg_typeof({quoted(name)}) \\:\\: text FROM {self._rows} LIMIT 1"
            if (
                connection.dialect.name == "postgresql"
                and ("real",) in self._database.all_rows(connection, kind, {})[1]
            ):
                raise DataError(
                    f"{self._source.where}: column '{name}' is real, whose values come rounded: rows would be missed "
                    f"or read twice; cast it in a query, such as {name}::double precision AS {name}"
                )
            statement = f"SELECT 1 FROM {self._rows} WHERE {quoted(name)} IS NULL LIMIT 1"
            if self._database.all_rows(connection, statement, {})[1]:
                raise DataError(
                    f"{self._source.where}: there are rows without a '{name}', by which rows are ordered, so they "
                    "would never be read; let a query fill it, such as COALESCE(updated_at, created_at) AS updated_at"
                )

    def _expect_nothing_late(self, connection: Connection, place: Place, same: int) -> None:
        """Raise DataError when rows came later whose cursor value is that of the last row, and whose place is before
        it. Without a key they cannot be told from those that were read."""
        condition = f"{self._quoted(0)} = :cursor AND NOT {self._is_beyond('high')}"
        statement = f"SELECT count(*) FROM {self._rows} WHERE {condition}"
        _, ((found,),) = self._database.all_rows(connection, statement, {"cursor": place[0], **_bound("high", place)})
        if found > same:
            raise self._not_unique(place[:1])

    def _not_unique(self, place: Sequence[Any]) -> DataError:
        values = ", ".join(f"{name} = {value}" for name, value in zip(self._order, place, strict=False))
        return DataError(
            f"{self._source.where}: several rows have {values}, so some may be missed; name columns that tell them "
            "apart, key=[...] or cursor_unique="
        )

    def _columns(self, connection: Connection) -> list[str]:
        return self._database.all_rows(connection, f"SELECT * FROM {self._rows} LIMIT 0", {})[0]


def _bound(name: str, place: Place) -> dict[str, Any]:
    return {f"{name}{n}": value for n, value in enumerate(place)}


def _equal_at_end(values: Sequence[Any]) -> int:
    """Return how many values at the end are equal to the last one."""
    return next((n for n, value in enumerate(reversed(values)) if value != values[-1]), len(values))


def _number(value: Any) -> int | float | Decimal | None:
    """Return a cursor value as a number; None for a time."""
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]  # JSON has numbers and texts
    try:
        return Decimal(value)
    except ArithmeticError:
        return None


def _column(values: list[Any], name: str, place: str, *, is_text: bool) -> pa.Array:
    """Return values of a database as a column. Raises DataError for a type that tables do not hold."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) != 1 or kinds <= {bool, int, float, str, list}:
        try:
            return column_of(values, name, is_text=is_text)
        except BadValue as error:
            raise DataError(f"{place}: row {error.row + 1}: {error}") from None
    (kind,) = kinds
    if kind is UUID or is_text:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if kind is Decimal:
        return _decimals(values, name, place)
    if kind is datetime:
        if next(value for value in values if value is not None).tzinfo is None:
            return pa.array(values, pa.timestamp("us"))
        # in UTC already, because pyarrow passes over offsets where PYARROW_IGNORE_TIMEZONE is set, as some libraries do
        moments = [None if value is None else value.astimezone(UTC) for value in values]
        return pa.array(moments, pa.timestamp("us", tz="UTC"))
    if kind is date:
        return pa.array(values, pa.date32())
    if issubclass(kind, bytes | memoryview | bytearray):
        return pa.array([None if value is None else bytes(value) for value in values], pa.binary())
    example = next(value for value in values if value is not None)
    raise DataError(
        f"{place}: column '{name}' is {kind.__name__}, such as {example}, which tables do not hold; cast it in the "
        f"query, such as {name}::text, or leave it out"
    )


def _decimals(values: list[Any], name: str, place: str) -> pa.Array:
    """Return exact decimals, in a type with the digits after the point that these values need."""
    known = [value for value in values if value is not None]
    odd = next((value for value in known if not value.is_finite()), None)
    if odd is None:
        scale = max(0, *(-int(value.as_tuple().exponent) for value in known))
        whole = max(value.adjusted() + 1 for value in known)
        odd = next((value for value in known if -value.as_tuple().exponent == scale), None)
        if scale <= FRACTION_DIGITS and whole <= WHOLE_DIGITS:
            return pa.array(values, pa.decimal128(WHOLE_DIGITS + scale, scale))
    raise DataError(
        f"{place}: column '{name}' has {odd}; an exact decimal has at most {WHOLE_DIGITS} digits before the point and "
        f"{FRACTION_DIGITS} after it. Round it in the query, cast it to double precision, or let it be text: "
        f"dtypes={{'{name}': 'text'}}"
    )
