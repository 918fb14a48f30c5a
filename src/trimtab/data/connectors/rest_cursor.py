"""The incremental cursor of a REST source: from where the next sweep asks, by the values of the rows so far."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from trimtab import units
from trimtab.clock import EPOCH, parse_time
from trimtab.data.json_rows import SEPARATOR
from trimtab.definitions.rest_source import RESTSource
from trimtab.errors import DefinitionError
from trimtab.units import MICROS

CursorValue = str | int | float
AHEAD = timedelta(days=1)
"""A time that is further ahead does not move the cursor: all rows until then would be left out."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DIGITS = re.compile(r"-?\d{1,18}")


class _Place(NamedTuple):
    """A value on the axis of its kind, such as seconds since 1970."""

    kind: str
    at: datetime | int | float


class Cursor:
    """Follows the values of one sweep.

    greatest: the greatest value so far, as the API wrote it. safe: the value from which a new sweep may start when this
    one ends here: the greatest one if the rows come in order, else that of the last complete sweep.
    """

    def __init__(self, source: RESTSource) -> None:
        given = source.incremental or {}
        self._source = source
        self.column = str(given["cursor_path"]).removeprefix("$.").replace(".", SEPARATOR)
        self.start_param = str(given["start_param"])
        self._initial: CursorValue | None = given.get("initial_value")
        self._lag: str | int | float = given.get("lag", 0)
        self._in_order = given.get("row_order") == "asc"
        self._may_miss = given.get("on_cursor_value_missing") == "include"
        self.greatest: CursorValue | None = None
        self.safe: CursorValue | None = None
        self._ahead = EPOCH
        self._before: _Place | None = None

    def begin(self, value: CursorValue | None, *, now: datetime) -> None:
        """Begin a sweep from the value of the state."""
        self.greatest = self.safe = value
        self._before, self._ahead = None, now + AHEAD

    def start(self) -> CursorValue | None:
        """Return the value to ask from, the lag before the greatest one; None for all rows. Raises DefinitionError."""
        value = self.greatest
        if value is None:
            return self._initial
        if not self._lag:
            return value
        if isinstance(value, str) and not _DIGITS.fullmatch(value):
            seconds = units.micros(self._lag) / MICROS["s"] if isinstance(self._lag, str) else self._lag
            return self._written(self._time(value) - timedelta(seconds=seconds), value)
        lag, unit = self._lag, self._source.time_unit
        if isinstance(lag, str):
            if unit is None:
                raise DefinitionError(
                    f"{self._source.where}: incremental: lag is '{lag}', and the values of '{self.column}' are "
                    "numbers; expected a number, or the time_unit of the source"
                )
            lag = units.micros(lag) * _PER_SECOND[unit] // MICROS["s"]
        return str(int(value) - int(lag)) if isinstance(value, str) else value - lag

    def see(self, row: Mapping[str, Any]) -> None:
        """Take in the next row. Raises ValueError when it has no value, or comes before the row before it."""
        value = row.get(self.column)
        if value is None:
            if self._may_miss:
                return
            raise ValueError(
                f"it has no '{self.column}', which cursor_path names; to take in such rows: "
                "'on_cursor_value_missing': 'include'"
            )
        place = self._place(value)
        if self._in_order:
            if self._before is not None and self._is_less(place, self._before):
                raise ValueError(
                    f"'{self.column}' is {value!r:.60}, less than that of the row before; expected an ascending order, "
                    "as row_order says"
                )
            self._before = place
        if isinstance(place.at, datetime) and place.at > self._ahead:
            return
        if self.greatest is None or self._is_less(self._place(self.greatest), place):
            self.greatest = value
            if self._in_order:
                self.safe = value

    def _is_less(self, one: _Place, other: _Place) -> bool:
        if one.kind != other.kind:
            raise ValueError(f"'{self.column}' is a {one.kind} and was a {other.kind}; expected one of them")
        return bool(one.at < other.at)  # type: ignore[operator]  # of one kind

    def _place(self, value: Any) -> _Place:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"'{self.column}' is {value!r:.60}; expected a time or a number")
        if isinstance(value, str) and not _DIGITS.fullmatch(value):
            return _Place("time", self._time(value))
        unit, number = self._source.time_unit, int(value) if isinstance(value, str) else value
        if unit is None:
            return _Place("number", number)
        try:
            return _Place("time", EPOCH + timedelta(microseconds=number * MICROS["s"] // _PER_SECOND[unit]))
        except OverflowError:
            raise ValueError(f"'{self.column}' is {value!r:.60}; expected a time in {unit} since 1970") from None

    def _time(self, text: str) -> datetime:
        format_ = self._source.date_format
        try:
            if format_ is None:
                return parse_time(text)
            found = datetime.strptime(text, format_)
        except ValueError:
            what = "ISO 8601" if format_ is None else f"date_format '{format_}'"
            raise ValueError(f"'{self.column}' is {text!r:.60}; expected a number or a time in {what}") from None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def _written(self, at: datetime, like: str) -> str:
        """Return a time in the form of another one."""
        if self._source.date_format is not None:
            return at.strftime(self._source.date_format)
        before = datetime.fromisoformat(like.strip())
        if before.tzinfo is None:
            return at.replace(tzinfo=None).isoformat()
        text = at.astimezone(before.tzinfo).isoformat()
        return text.replace("+00:00", "Z") if like.strip().endswith(("Z", "z")) else text
