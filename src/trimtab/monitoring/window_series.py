"""Signals that follow from reports and table versions: volume of traffic, confidence, the tables behind a model.

    closed reports of a window (all versions) + versions of tables -> one signal a series -> records

volume       rows answered in the window, over all versions; a stretch without any window is one signal of value 0
confidence   mean confidence of a version (binary models), against the windows of its training span
freshness    of each table: how old its newest row was at the end of the window
volume       of each table: rows that came in during the window
freshness    of each view with a limit (features.freshness): how old its online values were at most in the window

A table's versions count by the time at which they were ingested. So in a replay, whose tables came in long after the
event time, they give no signal. All signals of a window are written together, oldest window first; a new process goes
on behind the newest one, which leads to the same records.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby

from trimtab.clock import Clock, from_micros, to_micros
from trimtab.errors import DataError, TrimtabError
from trimtab.monitoring.event_windows import BEGINNING, Span
from trimtab.monitoring.kpi_windows import MOST_EMPTY
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.series import Direction, Series, SeriesStep
from trimtab.monitoring.window_records import VersionWindow
from trimtab.monitoring.window_stream import References
from trimtab.policy.decide import Decide
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import VIEW, Signal, WindowReport
from trimtab.records.record import SignalKind
from trimtab.stores.metadata.contract import Metadata, newest_until
from trimtab.units import MICROS, plural, short

log = logging.getLogger(__name__)

NewestTime = Callable[[TableVersion], int | None]
"""Returns the largest event time (microseconds) of a table version; None when it has no rows."""

ViewAges = Callable[[int, int], Mapping[str, tuple[int, int]]]
"""Returns by view the greatest age of its values in a stretch of time, and the limit; all in microseconds."""

KINDS: tuple[SignalKind, ...] = ("volume", "confidence", "freshness")
TRAFFIC = "all"
CONFIDENCE_SD = 0.005
"""Spread of the mean confidence between windows that counts: half a point more or less is noise."""


AGE_SD = 1 / 60
"""The same of a table's age, in hours."""
DIRECTIONS: dict[SignalKind, Direction] = {"volume": "both", "confidence": "both", "freshness": "rise"}

Key = tuple[SignalKind, str, int]
"""Kind, subject, and version for series that each version has of its own; 0 for those of the model."""


class WindowSeries:
    """The series of one model. tables: names of the tables behind it. One instance at a time a project."""

    def __init__(
        self,
        model: str,
        tables: Sequence[str],
        metadata: Metadata,
        references: References,
        newest: NewestTime,
        decide: Decide,
        clock: Clock,
        ages: ViewAges = lambda _start, _end: {},
    ) -> None:
        self._model = model
        self._ages_of_views = ages
        self._tables = tuple(tables)
        self._metadata = metadata
        self._references = references
        self._newest = newest
        self._decide = decide
        self._clock = clock
        self._series: dict[Key, Series] | None = None
        self._until = BEGINNING
        """End of the newest window whose signals are written."""
        self._seen: str | None = None
        """Id of the newest report that was read."""
        self._known: dict[str, list[TableVersion]] = {name: [] for name in self._tables}
        """Versions of each table, oldest first."""
        self._ages: dict[str, int | None] = {}
        """By table: newest event time of the version that was looked at last."""
        self._aged: dict[str, str] = {}

    def step(self) -> list[Signal]:
        """Write the signals of all windows that closed since the last step, and return them."""
        try:
            return self._step()
        except TrimtabError as error:
            self._series = None  # read again from the records
            log.error("%s: series of its windows: %s", self._model, error)
            return []

    def _step(self) -> list[Signal]:
        if self._series is None:
            self._restore()
        new = newest_until(
            self._metadata, WindowReport, lambda w: w.id == self._seen, model=self._model, stage="closed"
        )
        if not new:
            return []
        self._read_tables()
        written: list[Signal] = []
        ordered = sorted((w for w in new if to_micros(w.end) > self._until), key=lambda w: (w.start, w.version))
        for _, group in groupby(ordered, key=lambda w: w.start):
            signals = self._signals(list(group))
            self._metadata.put(*signals)
            written += signals
        self._seen = new[0].id
        return written

    def _restore(self) -> None:
        """Step the series through the signals that are stored."""
        self._series, self._until, self._seen = {}, BEGINNING, None
        stored = [s for kind in KINDS for s in self._metadata.find(Signal, model=self._model, kind=kind)]
        for signal in sorted(stored, key=lambda s: s.start):
            self._until = max(self._until, to_micros(signal.end))
            if signal.subject.startswith(VIEW):
                continue
            series = self._of(signal.kind, signal.subject, signal.version)
            for n in range(_steps(signal, self._decide.window)):
                weight = signal.rows if signal.kind == "confidence" else 1
                series.step(to_micros(signal.start) + n * self._decide.window, signal.value, weight)

    def _of(self, kind: SignalKind, subject: str, version: int) -> Series:
        assert self._series is not None
        key = (kind, subject, version if kind == "confidence" else 0)
        if key not in self._series:
            sd = {"confidence": CONFIDENCE_SD, "freshness": AGE_SD}.get(kind, 0.0)
            made = Series(
                f"{self._model}/{kind}/{subject}/{key[2]}",
                direction=DIRECTIONS[kind],
                window=self._decide.window,
                horizon=self._decide.horizon,
                smallest_sd=sd,
            )
            if kind == "confidence":
                _fit(made, self._references(self._model, version), self._decide.window)
            self._series[key] = made
        return self._series[key]

    def _signals(self, reports: list[WindowReport]) -> list[Signal]:
        """Return the signals of one window. reports: of all versions that scored in it."""
        champion = next((w for w in reports if w.role == "champion"), reports[0])
        start, end = to_micros(champion.start), to_micros(champion.end)
        found = []
        if BEGINNING < self._until < start:
            found.append(self._gap(champion.version, self._until, start))
        found.append(self._traffic(champion, reports))
        found += [self._confidence(w) for w in reports if "confidence" in w.metrics]
        for table in self._tables:
            found += self._table(table, champion.version, start, end)
        self._until = end
        return [*found, *self._views(champion.version, start, end)]

    def _views(self, version: int, start: int, end: int) -> Iterator[Signal]:
        """Yield how old the values of views were in a window. A view has a limit, so no reference decides."""
        window = VersionWindow(model=self._model, version=version, span=Span(start, end, 1), now=self._clock.now())
        for view, (age, limit) in sorted(self._ages_of_views(start, end).items()):
            yield window.signal(
                "freshness",
                subject=f"{VIEW}{view}",
                statistic="greatest age of the values, hours",
                value=age / MICROS["h"],
                effect={"limit": limit / MICROS["h"]},
                rows=0,
                reason=f"the values of view {view} were up to {short(age - age % MICROS['s'])} old; "
                f"{short(limit)} is allowed (features.freshness)",
            )

    def _traffic(self, champion: WindowReport, reports: Sequence[WindowReport]) -> Signal:
        windows = (to_micros(champion.end) - to_micros(champion.start)) / self._decide.window
        answered = sum(w.served_rows for w in reports) or champion.rows
        step = self._of("volume", TRAFFIC, 0).step(to_micros(champion.start), answered / windows)
        reference = self._references(self._model, champion.version)
        fits = reference and reference.window == self._decide.window and reference.made_of != "examples"
        usual = reference.median_rows if reference and fits else None
        return self._signal(
            "volume",
            TRAFFIC,
            champion.version,
            Span(to_micros(champion.start), to_micros(champion.end), 1),
            step,
            statistic="rows answered a window",
            rows=answered,
            more={"reference_rows": usual, "windows": windows if windows > 1 else None},
            about="rows",
        )

    def _gap(self, version: int, start: int, end: int) -> Signal:
        """Return the signal of a stretch without rows; its first windows count as windows of no rows."""
        windows = -(-(end - start) // self._decide.window)
        series = self._of("volume", TRAFFIC, 0)
        for n in range(min(windows, MOST_EMPTY)):
            step = series.step(start + n * self._decide.window, 0.0)
        return self._signal(
            "volume",
            TRAFFIC,
            version,
            Span(start, end, 0),
            step,
            statistic="rows answered a window",
            rows=0,
            more={"windows": float(windows)},
            about=f"{plural(windows, 'window')} without rows",
        )

    def _confidence(self, report: WindowReport) -> Signal:
        value = report.metrics["confidence"]
        start, end = to_micros(report.start), to_micros(report.end)
        step = self._of("confidence", TRAFFIC, report.version).step(start, value, report.rows)
        return self._signal(
            "confidence",
            TRAFFIC,
            report.version,
            Span(start, end, 1),
            step,
            statistic="mean confidence",
            rows=report.rows,
            about="confidence",
        )

    def _table(self, table: str, version: int, start: int, end: int) -> list[Signal]:
        there = [v for v in self._known[table] if to_micros(v.created_at) <= end]
        if not there:
            return []
        came = [v for v in there if to_micros(v.created_at) > start and not v.replaces_all]
        rows, span = sum(v.added_rows for v in came), Span(start, end, 1)
        windows = (end - start) / self._decide.window
        found = []
        if (newest := self._age(there[-1])) is not None:
            step = self._of("freshness", table, 0).step(start, max(0.0, (end - newest) / MICROS["h"]))
            found.append(
                self._signal(
                    "freshness",
                    table,
                    version,
                    span,
                    step,
                    statistic="age of the newest row at the end of the window, hours",
                    rows=there[-1].rows,
                    about=f"hours since the newest row of {table} ({from_micros(newest):%Y-%m-%d %H:%M})",
                )
            )
        step = self._of("volume", table, 0).step(start, rows / windows)
        found.append(
            self._signal(
                "volume",
                table,
                version,
                span,
                step,
                statistic="rows ingested a window",
                rows=rows,
                more={"batches": float(len(came))},
                about=f"rows that came into {table}",
            )
        )
        return found

    def _age(self, version: TableVersion) -> int | None:
        if self._aged.get(version.table) != version.id:
            self._ages[version.table], self._aged[version.table] = self._newest(version), version.id
        return self._ages[version.table]

    def _read_tables(self) -> None:
        for table, known in self._known.items():
            newest = known[-1].id if known else None
            new = newest_until(self._metadata, TableVersion, lambda v, id_=newest: v.id == id_, table=table)  # type: ignore[misc]  # bound now
            known += sorted(new, key=lambda v: v.version)

    def _signal(
        self,
        kind: SignalKind,
        subject: str,
        version: int,
        span: Span,
        step: SeriesStep,
        *,
        statistic: str,
        rows: int,
        about: str,
        more: Mapping[str, float | None] | None = None,
    ) -> Signal:
        return VersionWindow(model=self._model, version=version, span=span, now=self._clock.now()).signal(
            kind,
            subject=subject,
            statistic=statistic,
            value=step.value,
            p=step.p,
            p_seq=step.p_seq,
            effect={**step.effect, **(more or {})},
            rows=rows,
            reference_windows=step.m,
            reason=f"{about}: {step.reason}",
        )


def _steps(signal: Signal, window: int) -> int:
    """Return how many windows a stored signal was for its series."""
    if signal.kind == "volume" and signal.subject == TRAFFIC and signal.rows == 0 and signal.value == 0:
        return min(-(-round((signal.end - signal.start) / timedelta(microseconds=1)) // window), MOST_EMPTY)
    return 1


def _fit(series: Series, reference: Reference | None, window: int) -> None:
    """Give a series the windows of a version's training span; without them its own first ones are the reference."""
    if reference is None or reference.window != window:
        return
    known = [
        (start, value, rows)
        for start, value, rows in zip(reference.starts, reference.confidence, reference.rows, strict=True)
        if value is not None
    ]
    if not known:
        return
    starts, values, rows = zip(*known, strict=True)
    try:
        series.fit(starts, values, rows)
    except DataError:  # too few windows
        return
