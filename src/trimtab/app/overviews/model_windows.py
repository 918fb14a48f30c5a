"""The windows of a model as series over event time, read from records alone: what served, loss, gains, signals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.project.workspace import Workspace
from trimtab.control.cause import COUNTED
from trimtab.metric_catalog import MONEY
from trimtab.policy.matrix import Matrix
from trimtab.records.monitoring import MONEY_GAIN, Comparison, Signal, WindowReport
from trimtab.records.record import Role, SignalKind
from trimtab.stores.metadata.contract import Between, Metadata

SHOWN: tuple[SignalKind, ...] = (*COUNTED, "latency", "error", "kpi")
"""Kinds of signals about all rows that are shown over time: those that choose the band, and what is watched; kpi is
the money that mistakes cost beyond what is expected."""


class TimeRange(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of event time, half open. since: None begins with the first record; until: None ends with the last."""

    since: datetime | None = None
    until: datetime | None = None

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


def role_windows(metadata: Metadata, model: str, wanted: TimeRange) -> list[WindowReport]:
    """Return the closed and matured reports of a model whose windows begin in a stretch, in order of event time."""
    found = metadata.find(WindowReport, model=model, stage=("closed", "matured"), start=wanted.condition)
    return sorted(found, key=lambda w: (w.start, w.version, w.stage))


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
    """Return the champion's windows, matured where their labels are complete. reports: in order of event time."""
    newest: dict[tuple[datetime, int], WindowReport] = {}
    for report in reports:
        if report.role == "champion":
            newest[report.start, report.version] = report  # matured comes after closed
    return tuple(
        ChampionWindow(
            start=w.start,
            end=w.end,
            version=w.version,
            rows=w.rows,
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
        for w in newest.values()
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
    workspace: Workspace, model: str, windows: Sequence[ChampionWindow], kinds: Sequence[SignalKind] = SHOWN
) -> tuple[SignalPoint, ...]:
    """Return the signals about all rows of the champion's windows, in order of event time."""
    served = {(w.start, w.version): w for w in windows}
    by_window: dict[tuple[datetime, int], list[Signal]] = defaultdict(list)
    for version in sorted({w.version for w in windows}):
        own = [w.start for w in windows if w.version == version]
        stretch = Between(min(own), max(own) + timedelta(microseconds=1))
        for signal in workspace.metadata.find(
            Signal, model=model, version=version, kind=tuple(kinds), subject="all", start=stretch
        ):
            if (signal.start, signal.version) in served:
                by_window[signal.start, signal.version].append(signal)
    matrix = workspace.project.policy.decide.matrix
    found = []
    for key in served:
        signals = sorted(by_window.get(key, []), key=lambda s: kinds.index(s.kind))
        found += [signal_point(signal, signals, matrix) for signal in signals]
    return tuple(found)


def signal_point(signal: Signal, window: Sequence[Signal], matrix: Matrix) -> SignalPoint:
    """Return a signal with its p-value corrected for the kinds that were measured. window: all signals of its window.

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
        counted=counted,
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
