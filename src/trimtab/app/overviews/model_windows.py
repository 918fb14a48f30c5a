"""The windows of a model as series over event time, read from records alone: what served, loss, gains, signals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.project.workspace import Workspace
from trimtab.control.cause import COUNTED
from trimtab.metric_catalog import MONEY
from trimtab.policy.matrix import Matrix
from trimtab.records.monitoring import ANSWER_MONEY, ANSWERS_PRICED, MONEY_GAIN, Comparison, Signal, WindowReport
from trimtab.records.record import Role, SignalKind
from trimtab.stores.metadata.contract import Between, Metadata

SHOWN: tuple[SignalKind, ...] = (*COUNTED, "latency", "error", "kpi")
"""Kinds of signals about all rows that are shown over time: those that choose the band, and what is watched; kpi is
the money that mistakes cost beyond what is expected."""


WINDOWS_A_QUERY = 1000
"""Windows whose records are read at once."""

STARTS_A_QUERY = 300
"""Windows that are looked up by their starts at once."""


class TimeRange(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of event time, half open. since: None begins with the first record; until: None ends with the last."""

    since: datetime | None = None
    until: datetime | None = None

    def parts(self, length: timedelta) -> Iterator[TimeRange]:
        """Yield the stretch in parts of at most `length`; as a whole where an end is not known."""
        begin = self.since
        while begin is not None and self.until is not None and begin + length < self.until:
            yield TimeRange(since=begin, until=begin + length)
            begin += length
        yield TimeRange(since=begin, until=self.until)

    @property
    def condition(self) -> Between:
        """The condition on `start` of records whose windows begin in the stretch."""
        return Between(self.since, self.until)


class VersionSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A version in a role without a break: from the start of its first window to the end of its last one."""

    version: int
    role: Role
    start: datetime
    end: datetime
    windows: int


class ChampionWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window of the version that served. Metrics are None while they are not known."""

    start: datetime
    end: datetime
    version: int
    rows: int
    answered: int
    """Rows of the window that clients got answers to, of all versions: on a day of change more than `rows`."""
    labelled: int
    matured: bool
    loss: float | None = None
    """The metric of the model."""
    loss_low: float | None = None
    loss_high: float | None = None
    money_lost: float | None = None
    p99_ms: float | None = None
    error_rate: float | None = None
    cost: float | None = None

    @property
    def coverage(self) -> float:
        """Labelled share of the rows."""
        return self.labelled / self.rows if self.rows else 0.0


class GainWindow(msgspec.Struct, frozen=True, kw_only=True):
    """By how much another version was better than the champion on the same labelled rows of one window."""

    start: datetime
    end: datetime
    version: int
    against: int
    role: Role
    rows: int
    gain: float
    money: float | None = None
    """Money a prediction."""
    mean: float | None = None
    """Gain of all windows of the comparison so far, with its bounds; None before there are enough windows."""
    low: float | None = None
    high: float | None = None


class SignalPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One signal about all rows of a window of the champion."""

    start: datetime
    end: datetime
    version: int
    kind: SignalKind
    p: float | None
    p_seq: float | None
    corrected: float | None
    """p_seq times how many of the kinds that choose the band were measured, at most 1; None of other kinds."""
    counted: int
    """How many these were."""
    band: str
    """The p-value band of `corrected`; empty of other kinds."""
    tone: Tone
    value: float
    carriers: tuple[str, ...]
    reason: str


class KpiSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The windows of one KPI stream. points: start, end, value, p."""

    stream: str
    unit: str
    points: tuple[tuple[datetime, datetime, float, float | None], ...]


def role_windows(metadata: Metadata, model: str, wanted: TimeRange, metric: str, part: timedelta) -> list[WindowReport]:
    """Return one report for each window and version, in order of event time: the matured one where there is one.

    Reports hold the metrics that series show, so that a long stretch takes little memory.

    Args:
        metadata: the store of records.
        model: name of the model.
        wanted: stretch in which windows begin.
        metric: metric of the model.
        part: so long a part of the stretch is read at once.
    """
    money = {"money_lost", ANSWER_MONEY, ANSWERS_PRICED}
    shown = {metric, f"{metric}_low", f"{metric}_high", "p99_ms", "error_rate", "cost"} | money
    found: dict[tuple[datetime, int], WindowReport] = {}
    newest = wanted.since
    for each in wanted.parts(part):
        for report in metadata.find(WindowReport, model=model, stage="matured", start=each.condition):
            found[report.start, report.version] = _without_other_metrics(report, shown)
            newest = report.start if newest is None else max(newest, report.start)
    if newest is not None and _some_never_matured(metadata, model, Between(wanted.since, newest), found):
        newest = wanted.since
    for each in TimeRange(since=newest, until=wanted.until).parts(part):
        for report in metadata.find(WindowReport, model=model, stage="closed", start=each.condition):
            if (report.start, report.version) not in found:
                found[report.start, report.version] = _without_other_metrics(report, shown)
    return sorted(found.values(), key=lambda w: (w.start, w.version))


def _some_never_matured(
    metadata: Metadata, model: str, before: Between, matured: Collection[tuple[datetime, int]]
) -> bool:
    """Return True if a window before the newest matured one has a closed report alone."""
    closed = metadata.count(WindowReport, model=model, stage="closed", start=before)
    return closed > sum(start < before.end for start, _ in matured if before.end is not None)


def _without_other_metrics(report: WindowReport, shown: Container[str]) -> WindowReport:
    kept = {name: value for name, value in report.metrics.items() if name in shown or name.startswith("paired_")}
    return msgspec.structs.replace(report, metrics=kept)


def version_spans(reports: Iterable[WindowReport]) -> tuple[VersionSpan, ...]:
    """Return which version had which role when. reports: in order of event time.

    A span ends when another version takes its role in a later window, or when the version has no window between two
    others of the model. The champion's spans are in order of time; other roles follow.
    """
    starts: dict[datetime, int] = {}
    found: dict[tuple[Role, int], list[VersionSpan]] = defaultdict(list)
    seen: dict[tuple[Role, int], int] = {}
    for report in reports:
        place = starts.setdefault(report.start, len(starts))
        key = (report.role, report.version)
        if seen.get(key) == place:
            continue
        if seen.get(key) == place - 1:
            last = found[key][-1]
            found[key][-1] = msgspec.structs.replace(last, end=report.end, windows=last.windows + 1)
        else:
            span = VersionSpan(version=report.version, role=report.role, start=report.start, end=report.end, windows=1)
            found[key].append(span)
        seen[key] = place
    order = {"champion": 0, "challenger": 1, "shadow": 2}
    return tuple(
        sorted((s for spans in found.values() for s in spans), key=lambda s: (order[s.role], s.start, s.version))
    )


def champion_windows(reports: Iterable[WindowReport], metric: str) -> tuple[ChampionWindow, ...]:
    """Return the champion's windows. reports: of `role_windows`."""
    found, answered = list(reports), Counter[datetime]()
    for report in found:
        answered[report.start] += report.served_rows
    return tuple(
        ChampionWindow(
            start=w.start,
            end=w.end,
            version=w.version,
            rows=w.rows,
            answered=answered[w.start],
            labelled=w.labelled,
            matured=w.stage == "matured",
            loss=w.metrics.get(metric),
            loss_low=w.metrics.get(f"{metric}_low"),
            loss_high=w.metrics.get(f"{metric}_high"),
            money_lost=w.metrics.get("money_lost"),
            p99_ms=w.metrics.get("p99_ms"),
            error_rate=w.metrics.get("error_rate"),
            cost=w.metrics.get("cost"),
        )
        for w in found
        if w.role == "champion"
    )


def gain_windows(
    reports: Iterable[WindowReport], metric: str, comparisons: Iterable[Comparison]
) -> tuple[GainWindow, ...]:
    """Return the gain of one other version a window: the challenger, else the newest version that was compared."""
    grown = {(c.start, c.version, c.against): c for c in comparisons}
    name = MONEY_GAIN if metric == MONEY else f"paired_{metric}_gain"
    best: dict[datetime, WindowReport] = {}
    for report in reports:
        if report.stage != "matured" or report.role == "champion" or name not in report.metrics:
            continue
        other = best.get(report.start)
        if other is None or _rank(report) > _rank(other):
            best[report.start] = report
    found = []
    for w in best.values():
        against = int(w.metrics["paired_version"])
        so_far = grown.get((w.start, w.version, against))
        gain = GainWindow(
            start=w.start,
            end=w.end,
            version=w.version,
            against=against,
            role=w.role,
            rows=int(w.metrics["paired_rows"]),
            gain=w.metrics[name],
            money=w.metrics.get(MONEY_GAIN),
            mean=None if so_far is None else so_far.mean,
            low=None if so_far is None else so_far.low,
            high=None if so_far is None else so_far.high,
        )
        found.append(gain)
    return tuple(found)


def signal_points(
    workspace: Workspace,
    model: str,
    windows: Sequence[ChampionWindow],
    telling: Container[datetime] | None = None,
) -> tuple[SignalPoint, ...]:
    """Return the signals about all rows of the champion's windows, in order of event time.

    telling: starts of the windows whose signals of the kinds that choose the band are returned; of the other windows
    only the money is. None returns those of all windows and of all kinds in SHOWN.
    """
    served = {(w.start, w.version) for w in windows}
    by_window: dict[tuple[datetime, int], list[Signal]] = defaultdict(list)
    for version, stretch in _stretches(windows):
        for kinds, starts in _wanted(telling, stretch, windows):
            for signal in workspace.metadata.find(
                Signal, model=model, version=version, kind=kinds, subject="all", start=starts
            ):
                if (signal.start, signal.version) in served:
                    by_window[signal.start, signal.version].append(signal)
    matrix = workspace.project.policy.decide.matrix
    found = []
    for key in sorted(by_window):
        signals = sorted({s.kind: s for s in by_window[key]}.values(), key=lambda s: SHOWN.index(s.kind))
        found += [signal_point(signal, signals, matrix) for signal in signals]
    return tuple(found)


Wanted = tuple[tuple[SignalKind, ...], Between | tuple[datetime, ...]]
"""Kinds of signals, and in which windows."""


def _wanted(
    telling: Container[datetime] | None, stretch: Between, windows: Sequence[ChampionWindow]
) -> Iterator[Wanted]:
    """Yield which kinds are searched in which windows of a stretch."""
    if telling is None:
        yield SHOWN, stretch
        return
    yield ("kpi",), stretch
    assert stretch.start is not None
    assert stretch.end is not None
    starts = [w.start for w in windows if stretch.start <= w.start < stretch.end and w.start in telling]
    for first in range(0, len(starts), STARTS_A_QUERY):
        yield COUNTED, tuple(starts[first : first + STARTS_A_QUERY])


def _stretches(windows: Sequence[ChampionWindow]) -> Iterator[tuple[int, Between]]:
    """Yield each version with a stretch in which it was champion."""
    begin = 0
    for place, window in enumerate(windows):
        last = place + 1 == len(windows)
        if last or windows[place + 1].version != window.version or place + 1 - begin == WINDOWS_A_QUERY:
            yield window.version, Between(windows[begin].start, window.end)
            begin = place + 1


def signal_point(signal: Signal, window: Sequence[Signal], matrix: Matrix) -> SignalPoint:
    """Return a signal with its p-value corrected for the kinds that were measured. window: signals of its window.

    As `Cause.p_seq` does it, so that the smallest corrected one is that of the decision.
    """
    counted = sum(s.kind in COUNTED and s.subject == "all" and s.p_seq is not None for s in window)
    decides = signal.kind in COUNTED and signal.p_seq is not None
    corrected = min(1.0, (signal.p_seq or 0.0) * counted) if decides else None
    band = "" if corrected is None else matrix.band(corrected)[0]
    return SignalPoint(
        start=signal.start,
        end=signal.end,
        version=signal.version,
        kind=signal.kind,
        p=signal.p,
        p_seq=signal.p_seq,
        corrected=corrected,
        counted=counted if decides else 0,
        band=band,
        tone=band_tone(matrix, band),
        value=signal.value,
        carriers=signal.carriers,
        reason=signal.reason,
    )


def kpi_series(workspace: Workspace, model: str, wanted: TimeRange) -> tuple[KpiSeries, ...]:
    """Return the windows of the KPI streams that belong to a model."""
    found: Mapping[str, list[Signal]] = defaultdict(list)
    streams = {
        kpi.name: kpi.unit
        for kpi in workspace.project.definitions.kpis.values()
        if kpi.model is None or kpi.model.name == model
    }
    if not streams:
        return ()
    for signal in workspace.metadata.find(
        Signal, model=model, kind="kpi", subject=tuple(streams), start=wanted.condition
    ):
        found[signal.subject].append(signal)
    return tuple(
        KpiSeries(
            stream=name,
            unit=unit,
            points=tuple((s.start, s.end, s.value, s.p) for s in sorted(found[name], key=lambda s: s.start)),
        )
        for name, unit in streams.items()
    )


def _rank(report: WindowReport) -> tuple[bool, int]:
    return report.role == "challenger", report.version
