"""The windows of one model that are not closed yet, with their rows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.clock import from_micros
from trimtab.monitoring.event_windows import BEGINNING, Span, Windowing, split
from trimtab.monitoring.label_join import NEVER
from trimtab.monitoring.prediction_rows import KEPT, versions_of
from trimtab.monitoring.written_windows import WrittenWindows

log = logging.getLogger(__name__)


class OpenWindows:
    """Rows by window, until a window has all of them. Memory: the rows of open windows only."""

    def __init__(self, windowing: Windowing, stored: WrittenWindows) -> None:
        self.windowing = windowing
        self.watermark = BEGINNING
        """Event time that rows have reached, or that a caller has set, in microseconds; it never goes back."""
        self.reached = BEGINNING
        """Event time that rows have reached."""
        self.late = 0
        """Rows left out because their window had been closed."""
        self.ahead = 0
        """Rows left out because their event time is more than a window later than their `logged_at`."""
        self._stored = stored
        self._rows: dict[int, list[pa.Table]] = {}
        self._read_again: list[pa.ChunkedArray] = []

    def begin_at(self, time: int) -> None:
        """Continue at an event time that rows have reached; all windows of those rows are judged."""
        self.watermark = self.reached = time

    def add(self, rows: pa.Table) -> None:
        """Take in rows in the order of the log."""
        rows, times = self._plausible(rows)
        self.reached = max(self.reached, int(times.max(initial=BEGINNING)))
        wanted, self.watermark = self.windowing.in_time(times, self.watermark)
        self.late += len(times) - int(wanted.sum())
        again = wanted & (times < self._stored.matured_until)
        if again.any():
            self._read_again.append(rows.filter(pa.array(again))["prediction_id"])
        wanted &= ~again
        if not wanted.all():
            rows, times = rows.filter(pa.array(wanted)), times[wanted]
        for number, places in split(self.windowing.number(times)):
            contiguous = int(places[-1]) - int(places[0]) + 1 == len(places)
            part = rows.slice(int(places[0]), len(places)) if contiguous else rows.take(pa.array(places))
            self._rows.setdefault(number, []).append(part)

    def _plausible(self, rows: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        """Leave out rows from the future: one wrong clock would close all windows before its time."""
        times, logged = (rows[name].cast(pa.int64()).to_numpy() for name in ("event_time", "logged_at"))
        rows = rows.select(KEPT)
        ahead = times > logged + self.windowing.size
        if not ahead.any():
            return rows, times
        if not self.ahead:
            log.warning(
                "rows with event times in the future are left out, the first of them: %s",
                from_micros(int(times[ahead][0])),
            )
        self.ahead += int(ahead.sum())
        return rows.filter(pa.array(~ahead)), times[~ahead]

    def next_closed(self, min_rows: Callable[[int], float]) -> tuple[Span, pa.Table] | None:
        """Return the oldest window that has all its rows, with the small ones before it; None when there is none.

        It stays until `forget` is called. min_rows: from how many rows on a window stands alone, by the version that
        has the most.
        """
        numbers: list[int] = []
        parts: list[pa.Table] = []
        for number in sorted(self._rows):
            stored = self._stored.end(numbers[0] * self.windowing.size) if numbers else None
            if stored is not None and number * self.windowing.size >= stored:  # the rows of its end are gone
                return Span(numbers[0] * self.windowing.size, stored, len(numbers)), pa.concat_tables(parts)
            numbers.append(number)
            parts += self._rows[number]
            if not self._complete(numbers, parts):
                return None
            if self._enough(numbers, parts, min_rows):
                return self.windowing.span(numbers), pa.concat_tables(parts)
        return None

    def take_judged(self) -> pa.StringArray | None:
        """Return the ids of rows that were read again although their windows are judged, once; None without any."""
        if not self._read_again:
            return None
        found = [chunk for column in self._read_again for chunk in column.chunks]
        self._read_again.clear()
        return pc.unique(pa.concat_arrays(found))

    def forget(self, span: Span) -> None:
        """Take out the rows of a window that `next_closed` returned."""
        for number in [n for n in self._rows if n * self.windowing.size < span.end]:
            del self._rows[number]

    @property
    def oldest(self) -> int:
        """Start of the oldest open window, or the watermark when no row waits."""
        return min(self._rows) * self.windowing.size if self._rows else self.watermark

    @property
    def logged_from(self) -> int:
        """Oldest `logged_at` of the rows that wait; NEVER without any."""
        parts = (part for parts in self._rows.values() for part in parts if part.num_rows)
        return min((pc.min(part["logged_at"]).cast(pa.int64()).as_py() for part in parts), default=NEVER)

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return sum(part.num_rows for parts in self._rows.values() for part in parts)

    def _complete(self, numbers: list[int], parts: list[pa.Table]) -> bool:
        """A window that is stored is complete when the rows it was made of are here again, or can come no more."""
        start = numbers[0] * self.windowing.size
        stored, end = self._stored.closed.get(start), self._stored.end(start)
        if stored is None or end is None or self.windowing.closed(numbers[-1], self.watermark):
            return self.windowing.closed(numbers[-1], self.watermark)
        if (numbers[-1] + 1) * self.windowing.size < end:
            return True
        rows = _rows_by_version(parts)
        return all(rows.get(version, 0) >= report.rows for version, report in stored.items())

    def _enough(self, numbers: list[int], parts: list[pa.Table], min_rows: Callable[[int], float]) -> bool:
        start = numbers[0] * self.windowing.size
        if (end := self._stored.end(start)) is not None:
            return (numbers[-1] + 1) * self.windowing.size >= end
        rows = _rows_by_version(parts)
        most = max(rows, key=lambda version: (rows[version], version))
        return rows[most] >= min_rows(most)


def _rows_by_version(parts: list[pa.Table]) -> dict[int, int]:
    return versions_of(pa.concat_tables([part.select(["version"]) for part in parts]))


def of_model(table: pa.Table, model: str) -> pa.Table:
    """Return the rows of one model."""
    mask = pc.equal(table["model"], model)
    return table if pc.all(mask).as_py() else table.filter(mask)
