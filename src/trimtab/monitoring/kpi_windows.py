"""Business KPIs as streams: points by window of event time, each window a signal of the version that served in it.

    points -> open windows -> closed: value -> the version that served -> records

A batch is the rows of one version of a table, or one pushed point. A query has no batches: it is asked for each window
once, when the model's own window of that time is closed. Event time of a stream is the largest time of its
points; a window closes with the batch that brings it to the window's end plus the allowed lateness. Points that come
after that are late and left out. A closed window waits until the model's own window of that time is closed, since its
report says which version served most rows; without rows in it the version before counts.

What is written depends on the batches alone, not on how often `step` is called: batches are taken one by one, and a new
process goes on behind the last signal of each stream. A point that names a model counts for that model alone.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from trimtab.clock import Clock, to_micros
from trimtab.definitions.kpis import Kpi
from trimtab.errors import DataError, TrimtabError, nearest
from trimtab.monitoring.event_windows import BEGINNING, Span, Windowing
from trimtab.monitoring.series import Direction, Series, reference_windows
from trimtab.monitoring.window_records import VersionWindow
from trimtab.policy.decide import Decide
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import KPI_LOST, KpiPoint, Signal, WindowReport
from trimtab.stores.metadata.contract import Metadata, newest_until
from trimtab.units import MICROS

log = logging.getLogger(__name__)

Rows = Callable[[Kpi, int], pl.LazyFrame]
"""Returns the rows of a stream's table up to a version, without those that a correction replaces."""

QuerySums = Callable[[Kpi, Sequence[tuple[int, int]]], Sequence[tuple[int, float, int]]]
"""Returns how many rows with a value the query of a stream has in each stretch, their total, and the different
entities."""

MOST_EMPTY = 31
"""Of a stretch without points so many windows of a sum are written as 0; the others are left out."""
TIME, VALUE, ENTITY = "time", "value", "entity"


@dataclass(frozen=True)
class KpiWindow:
    """A closed window. entities: different ones among its points; 0 where the stream has none."""

    start: int
    end: int
    value: float
    points: int
    entities: int = 0


@dataclass
class _Sums:
    total: float = 0.0
    points: int = 0
    entities: set[str] = field(default_factory=set)


class _Stream:
    """The windows of one stream for one model until they are written; closed ones oldest first."""

    def __init__(self, kpi: Kpi, model: str, windowing: Windowing, series: Series, closed_until: int) -> None:
        self.kpi = kpi
        self.model = model
        self.windowing = windowing
        self.series = series
        self.closed_until = closed_until
        """Everything before has been closed, microseconds."""
        self.watermark = BEGINNING
        self.closed: deque[tuple[KpiWindow, ...]] = deque()
        """Each window with the empty ones before it: they are written together."""
        self.version = -1
        """Last version of the table that was taken in."""
        self.newest: str | None = None
        """Id of the last pushed point."""
        self.asked_until = closed_until
        """End of the last window that a query was asked for."""
        self._open: dict[int, _Sums] = {}

    def replace(self, sums: Mapping[int, _Sums], watermark: int) -> None:
        """Take the windows of a table as they are by now, and close those that are complete."""
        self._open = {
            number: each for number, each in sums.items() if number * self.windowing.size >= self.closed_until
        }
        self._close(watermark)

    def add(self, point: KpiPoint, *, again: bool) -> None:
        """Take in one point, and close the windows that are complete. again: its window may be written by now."""
        time = to_micros(point.time)
        if time > to_micros(point.created_at) + self.windowing.size:
            log.warning("%s: %s lies in the future and is left out", point.stream, point.id)
            return
        if time < self.closed_until:
            if not again:
                log.warning("%s: %s came after its window was closed and is left out", point.stream, point.id)
            return
        sums = self._open.setdefault(time // self.windowing.size, _Sums())
        sums.total += point.value
        sums.points += 1
        if point.entity is not None:
            sums.entities.add(point.entity)
        self._close(max(self.watermark, time))

    def answer(self, number: int, rows: int, total: float, entities: int) -> None:
        """Take a window that a query was asked for. One without rows is 0, or none: before the first, and of a mean."""
        size, is_sum = self.windowing.size, self.kpi.aggregation == "sum"
        if rows or (is_sum and self.closed_until != BEGINNING):
            value = total if is_sum else total / rows
            self.closed.append((KpiWindow(number * size, (number + 1) * size, value, rows, entities),))
            self.closed_until = (number + 1) * size

    def _close(self, watermark: int) -> None:
        self.watermark = max(self.watermark, watermark)
        complete = sorted(n for n in self._open if self.windowing.closed(n, self.watermark))
        for number in complete:
            self.closed.append((*self._empty(number), self._window(number, self._open.pop(number))))
            self.closed_until = (number + 1) * self.windowing.size

    def _empty(self, number: int) -> Iterator[KpiWindow]:
        """Yield the windows without points before a window, if their sum is 0; a mean of nothing is no value."""
        if self.kpi.aggregation != "sum" or self.closed_until == BEGINNING:
            return
        first = self.closed_until // self.windowing.size
        for empty in range(first, min(number, first + MOST_EMPTY)):
            yield self._window(empty, _Sums())

    def _window(self, number: int, sums: _Sums) -> KpiWindow:
        value = sums.total if self.kpi.aggregation == "sum" else sums.total / sums.points
        size = self.windowing.size
        return KpiWindow(number * size, (number + 1) * size, value, sums.points, len(sums.entities))


@dataclass
class _Service:
    """Which champion served when: start, end, version and rows of closed windows, oldest first."""

    spans: list[tuple[int, int, int, int]] = field(default_factory=list)
    newest: str | None = None

    @property
    def until(self) -> int:
        """End of the newest window; windows up to here have a version."""
        return self.spans[-1][1] if self.spans else BEGINNING

    def version(self, start: int, end: int) -> int:
        """Return the champion of most rows in a stretch, else the one before it, else 0."""
        rows: dict[int, int] = {}
        before = 0
        for first, last, version, count in reversed(self.spans):
            if last <= start:
                before = version
                break
            if first < end:
                rows[version] = rows.get(version, 0) + count
        return max(rows, key=lambda version: (rows[version], version)) if rows else before


class KpiMonitor:
    """Writes a signal of kind kpi for each closed window of each stream and each model that it belongs to.

    kpis: by name. models: names of all models. rows: reads a stream's table. query: asks a stream's query.
    One instance at a time a project.
    """

    def __init__(
        self,
        metadata: Metadata,
        kpis: Mapping[str, Kpi],
        models: Sequence[str],
        decide: Decide,
        rows: Rows,
        clock: Clock,
        query: QuerySums = lambda _kpi, _windows: (),
    ) -> None:
        self._query = query
        self._metadata = metadata
        self._kpis = dict(kpis)
        self._models = tuple(models)
        self._decide = decide
        self._rows = rows
        self._clock = clock
        self._windowing = Windowing(decide.window, decide.lateness)
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._service: dict[str, _Service] = {}
        self._told: set[str] = set()

    def step(self) -> list[Signal]:
        """Take in new points and return the signals that were written. A stream that cannot be read is logged once."""
        found: list[Signal] = []
        for model in self._models if self._kpis else ():
            self._read_service(model)
        for kpi in self._kpis.values():
            for model in self._models if kpi.model is None else (kpi.model.name,):
                try:
                    found += self._follow(kpi, model)
                except TrimtabError as error:
                    self._tell(f"Kpi '{kpi.name}': {error}")
                    self._streams.pop((kpi.name, model), None)
        return found

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.error("%s", text)

    def _follow(self, kpi: Kpi, model: str) -> list[Signal]:
        if (kpi.name, model) not in self._streams:
            self._streams[kpi.name, model] = self._restored(kpi, model)
        stream = self._streams[kpi.name, model]
        if kpi.query is not None:
            self._ask(stream)
        elif kpi.is_pushed:
            self._take_points(stream)
        else:
            self._take_table(stream)
        return self._write(stream)

    def _restored(self, kpi: Kpi, model: str) -> _Stream:
        """Return a stream, brought to where the stored signals end."""
        size = self._windowing.size
        direction: Direction = "fall" if kpi.higher_is == "better" else "rise"
        series = Series(f"{model}/{kpi.name}", direction=direction, window=size, horizon=self._decide.horizon)
        until = BEGINNING
        for signal in reversed(stream_signals(self._metadata, model, kpi.name)):
            start, end = to_micros(signal.start), to_micros(signal.end)
            if end - start == size:
                series.step(start, signal.value, _weight(kpi, signal.rows))
            until = max(until, end)
        return _Stream(kpi, model, self._windowing, series, until)

    def _read_service(self, model: str) -> None:
        service = self._service.setdefault(model, _Service())
        new = newest_until(self._metadata, WindowReport, lambda w: w.id == service.newest, model=model, stage="closed")
        service.newest = new[0].id if new else service.newest
        spans = [(to_micros(w.start), to_micros(w.end), w.version, w.rows) for w in new if w.role == "champion"]
        service.spans = sorted([*service.spans, *spans])

    def _ask(self, stream: _Stream) -> None:
        """Ask the query for the windows that the model's own windows have reached."""
        service, size = self._service[stream.model], self._windowing.size
        if not service.spans:
            return
        first = max(stream.asked_until, stream.closed_until, service.spans[0][0] - reference_windows(size) * size)
        numbers = range(-(-first // size), service.until // size)
        answers = self._query(stream.kpi, [(n * size, (n + 1) * size) for n in numbers]) if numbers else ()
        for number, (rows, total, entities) in zip(numbers, answers, strict=True):
            stream.answer(number, rows, total, entities)
            stream.asked_until = (number + 1) * size

    def _take_points(self, stream: _Stream) -> None:
        new = newest_until(self._metadata, KpiPoint, lambda p: p.id == stream.newest, stream=stream.kpi.name)
        again = stream.newest is None
        for point in reversed(new):
            if point.model in (None, stream.model):
                stream.add(point, again=again)
            stream.newest = point.id

    def _take_table(self, stream: _Stream) -> None:
        """Take in the versions of the table one by one, from the first that can close a window on."""
        assert stream.kpi.source is not None
        table = stream.kpi.source.name
        new = newest_until(self._metadata, TableVersion, lambda v: v.version <= stream.version, table=table)
        versions = sorted(new, key=lambda v: v.version)
        if not versions:
            return
        points = _Points(stream.kpi, self._rows)
        points.check(versions[-1])
        if stream.version < 0 and stream.closed_until > BEGINNING:
            versions = versions[_first_behind(points, versions, stream) :]
        for version in versions:
            ahead = to_micros(version.created_at) + self._windowing.size
            if late := points.late(version, stream.closed_until):
                log.warning(
                    "Kpi '%s': %d rows of %s came after their window was closed", stream.kpi.name, late, version.id
                )
            sums, watermark = points.sums(version.version, self._windowing.size, stream.closed_until, ahead)
            stream.replace(sums, watermark)
            stream.version = version.version

    def _write(self, stream: _Stream) -> list[Signal]:
        """Write the closed windows of which the version is known, oldest first."""
        written: list[Signal] = []
        service = self._service[stream.model]
        while stream.closed and service.spans and stream.closed[0][-1].end <= service.until:
            history = reference_windows(self._windowing.size) * self._windowing.size
            windows = [w for w in stream.closed[0] if w.end > service.spans[0][0] - history]
            signals = [self._signal(stream, w, service.version(w.start, w.end)) for w in windows]
            self._metadata.put(*signals)
            written += signals
            stream.closed.popleft()
        return written

    def _signal(self, stream: _Stream, window: KpiWindow, version: int) -> Signal:
        kpi = stream.kpi
        step = stream.series.step(window.start, window.value, _weight(kpi, window.points))
        span = Span(window.start, window.end, 1)
        unit = f", {kpi.unit}" if kpi.unit else ""
        return VersionWindow(model=stream.model, version=version, span=span, now=self._clock.now()).signal(
            "kpi",
            subject=kpi.name,
            statistic=f"{kpi.aggregation} of {kpi.name} in the window{unit}",
            value=window.value,
            p=step.p,
            p_seq=step.p_seq,
            effect={
                **step.effect,
                "entities": float(window.entities) if window.entities else None,
                KPI_LOST: _lost_per_day(kpi, window, step.expected),
            },
            rows=window.points,
            reference_windows=step.m,
            reason=f"{kpi.name}: {step.reason}",
        )


class _Points:
    """The rows of a stream's table as points."""

    def __init__(self, kpi: Kpi, rows: Rows) -> None:
        self._kpi = kpi
        self._rows = rows

    def check(self, version: TableVersion) -> None:
        """Raise DataError for a column that the table does not have."""
        for name in (self._kpi.time_column, self._kpi.value, self._kpi.entity):
            if name is not None and name not in version.schema:
                raise DataError(f"table '{version.table}' has no column '{name}'.{nearest(name, version.schema)}")

    def newest(self, version: int) -> int:
        """Return the largest event time of a version, microseconds."""
        found = self._select(version).select(pl.col(TIME).max()).collect().item()
        return BEGINNING if found is None else int(found)

    def sums(self, version: int, size: int, since: int, until: int) -> tuple[dict[int, _Sums], int]:
        """Return the sums by window of the points from `since` to `until`, and their largest time."""
        frame = self._select(version).filter(pl.col(TIME).is_between(since, until)).collect()
        if frame.is_empty():
            return {}, BEGINNING
        sums = {}
        for (number,), rows in frame.group_by(pl.col(TIME).floordiv(size), maintain_order=True):
            entities = set(rows[ENTITY].drop_nulls().unique().to_list())
            sums[int(str(number))] = _Sums(math.fsum(rows[VALUE].to_list()), rows.height, entities)
        return sums, int(frame[TIME].to_numpy().max())

    def late(self, version: TableVersion, since: int) -> int:
        """Return how many rows a version added to windows that are closed. Corrections are not counted."""
        if self._kpi.source is None or self._kpi.source.key or version.replaces_all:
            return 0
        added = self._select(version.version, after=version.rows - version.added_rows)
        return int(added.filter(pl.col(TIME) < since).select(pl.len()).collect().item())

    def _select(self, version: int, *, after: int = 0) -> pl.LazyFrame:
        """Return time, value and entity of the rows after the first ones; without time or value they do not count."""
        kpi = self._kpi
        entity = pl.lit(None, pl.String) if kpi.entity is None else pl.col(kpi.entity).cast(pl.String)
        value = pl.col(str(kpi.value))
        rows = self._rows(kpi, version)
        schema = rows.collect_schema()
        kind = schema[str(kpi.value)]
        if not (kind.is_numeric() or kind == pl.Boolean):
            raise DataError(f"column '{kpi.value}' holds {kind}; expected numbers")
        time = pl.col(kpi.time_column)
        if schema[kpi.time_column].base_type() not in (pl.Datetime, pl.Date):
            raise DataError(f"column '{kpi.time_column}' holds no times")
        micros = time.cast(pl.Datetime("us")).to_physical()
        chosen = rows.slice(after).select(micros.alias(TIME), value.cast(pl.Float64).alias(VALUE), entity.alias(ENTITY))
        return chosen.filter(pl.col(TIME).is_not_null() & pl.col(VALUE).is_finite())


def _first_behind(points: _Points, versions: Sequence[TableVersion], stream: _Stream) -> int:
    """Return the place of the first version that reaches beyond what is closed; earlier ones close nothing new."""
    reach = stream.closed_until + stream.windowing.lateness
    low, high = 0, len(versions) - 1
    while low < high:
        middle = (low + high) // 2
        if points.newest(versions[middle].version) >= reach:
            high = middle
        else:
            low = middle + 1
    return low


def _lost_per_day(kpi: Kpi, window: KpiWindow, expected: float | None) -> float | None:
    """Return by how much a window is worse than usual, a day; None unless it counts as money lost."""
    if not kpi.impact or expected is None:
        return None
    worse = expected - window.value if kpi.higher_is == "better" else window.value - expected
    return worse * MICROS["d"] / (window.end - window.start)


def _weight(kpi: Kpi, points: int) -> int:
    """Return what a value rests on: a mean on its points, a sum on its window."""
    return points if kpi.aggregation == "mean" else 1


def stream_signals(metadata: Metadata, model: str, name: str) -> list[Signal]:
    """Return the signals of a stream, newest first."""
    found = metadata.find(Signal, model=model, kind="kpi")
    return sorted((s for s in found if s.subject == name), key=lambda s: s.start, reverse=True)
