"""Sums of a query by stretches of time: one statement a window, which the database computes. It only reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trimtab import timestamps
from trimtab.clock import from_micros, to_micros, to_utc
from trimtab.data.connectors.database_access import DatabaseAccess, quoted, subquery
from trimtab.errors import DataError, nearest

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Sums:
    """What a query holds in one stretch: rows with a value, their total, different entities (0 without a column)."""

    rows: int
    total: float
    entities: int


class KpiQuery:
    """A SELECT with a column of times, one of values and perhaps one of entities.

    where: names the KPI in messages. Times are timestamps, texts in ISO 8601 (UTC), or microseconds since 1970.
    """

    def __init__(
        self, where: str, database: DatabaseAccess, query: str, *, timestamp: str, value: str, entity: str | None
    ) -> None:
        self._where = where
        self._database = database
        self._rows = subquery(query)
        self._timestamp, self._value, self._entity = timestamp, value, entity
        self._sample: Any = None
        """A time as the database gives it."""

    def sums(self, windows: list[tuple[int, int]]) -> list[Sums]:
        """Return what lies in each half-open stretch (microseconds). Raises DataError, Unreachable or MissingExtra."""
        with self._database.connected(read_only=True) as connection:
            if self._sample is None and not self._look(connection):
                return [Sums(0, 0.0, 0) for _ in windows]
            return [self._one(connection, start, end) for start, end in windows]

    def rows(self, start: int, end: int) -> list[tuple[int, float, str | None]]:
        """Return time (microseconds), value and entity of the rows in a half-open stretch. Raises as `sums`."""
        names = [self._timestamp, self._value, *([self._entity] if self._entity is not None else [])]
        time = quoted(self._timestamp)
        statement = (
            f"SELECT {', '.join(map(quoted, names))} FROM {self._rows} "
            f"WHERE {time} >= :start AND {time} < :end AND {quoted(self._value)} IS NOT NULL"
        )
        with self._database.connected(read_only=True) as connection:
            if not self._look(connection):
                return []
            bound = {"start": self._bound(start), "end": self._bound(end)}
            _, found = self._database.all_rows(connection, statement, bound)
        entities = [None if len(row) < 3 or row[2] is None else str(row[2]) for row in found]
        return [(self._micros(row[0]), float(row[1]), entity) for row, entity in zip(found, entities, strict=True)]

    def check(self) -> str:
        """Return a sentence about the query. Raises DataError, Unreachable or MissingExtra."""
        with self._database.connected(read_only=True) as connection:
            found = self._look(connection)
            server = self._database.server(connection.engine.url)
        return f"the query of {server} gives rows" if found else f"the query of {server} gives no row yet"

    def _look(self, connection: Connection) -> bool:
        """Check the columns, and note what times look like; return False while there is no row."""
        names, _ = self._database.all_rows(connection, f"SELECT * FROM {self._rows} LIMIT 0", {})
        for name in filter(None, (self._timestamp, self._value, self._entity)):
            if name not in names:
                raise DataError(f"{self._where}: the query has no column '{name}'.{nearest(name, names)}")
        time = quoted(self._timestamp)
        _, rows = self._database.all_rows(
            connection, f"SELECT {time} FROM {self._rows} WHERE {time} IS NOT NULL LIMIT 1", {}
        )
        self._sample = rows[0][0] if rows else None
        if rows:
            self._bound(0)
        return bool(rows)

    def _one(self, connection: Connection, start: int, end: int) -> Sums:
        time, value = quoted(self._timestamp), quoted(self._value)
        entities = "0" if self._entity is None else f"COUNT(DISTINCT {quoted(self._entity)})"
        statement = (
            f"SELECT COUNT({value}), SUM({value}), {entities} FROM {self._rows} "
            f"WHERE {time} >= :start AND {time} < :end AND {value} IS NOT NULL"
        )
        bound = {"start": self._bound(start), "end": self._bound(end)}
        _, ((rows, total, different),) = self._database.all_rows(connection, statement, bound)
        try:
            sum_ = float(total or 0.0)
        except (TypeError, ValueError):
            sum_ = math.nan
        if not math.isfinite(sum_):
            raise DataError(f"{self._where}: column '{self._value}' sums up to {total!r}; expected numbers")
        return Sums(int(rows), sum_, int(different))

    def _bound(self, micros: int) -> Any:
        """Return a time as the column has it, so that the database compares it without a conversion."""
        at, sample = from_micros(micros), self._sample
        if isinstance(sample, datetime):
            return at if sample.tzinfo is not None else at.replace(tzinfo=None)
        if isinstance(sample, date):
            return at.replace(tzinfo=None)
        if isinstance(sample, int) and timestamps.micros(sample) is not None:
            return micros
        if isinstance(sample, str):
            return _as_text(at, sample, self._wrong)
        raise self._wrong()

    def _micros(self, time: Any) -> int:
        if isinstance(time, datetime):
            return to_micros(to_utc(time) if time.tzinfo is not None else time.replace(tzinfo=UTC))
        if isinstance(time, date):
            return to_micros(datetime(time.year, time.month, time.day, tzinfo=UTC))
        found = timestamps.micros(time)
        if found is None:
            raise self._wrong()
        return found

    def _wrong(self) -> DataError:
        return DataError(
            f"{self._where}: column '{self._timestamp}' holds {self._sample!r}; expected timestamps, texts in ISO 8601 "
            f"in UTC such as '2026-03-01 12:00:00', or microseconds since 1970{timestamps.hint(self._sample)}"
        )


def _as_text(at: datetime, sample: str, wrong: Callable[[], DataError]) -> str:
    """Return a time written as the texts of a column are, so that they compare as times do."""
    try:
        parsed = datetime.fromisoformat(sample)
    except ValueError:
        raise wrong() from None
    if len(sample) == 10:
        return at.date().isoformat()
    if parsed.utcoffset() not in (None, timedelta(0)):
        raise wrong()
    return at.replace(tzinfo=None).isoformat(sep=sample[10])
