"""What the page of a model shows: is it as good as it should be, since when not, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.overviews.model_brief import ModelBrief, milliseconds, model_brief
from trimtab.app.overviews.model_windows import (
    WINDOWS_A_QUERY,
    ChampionWindow,
    GainWindow,
    KpiSeries,
    SignalPoint,
    TimeRange,
    VersionSpan,
    champion_windows,
    gain_windows,
    kpi_series,
    role_windows,
    signal_points,
    version_spans,
)
from trimtab.app.overviews.model_words import done, is_judged, why
from trimtab.app.overviews.wording import window_name
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import Effect, effect_of
from trimtab.control.cause import COUNTED
from trimtab.control.decision import REVIEW_P
from trimtab.policy.model import Policy
from trimtab.records.control import Decision
from trimtab.records.monitoring import Comparison, WindowReport
from trimtab.records.record import Action, Level, SignalKind
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import Metadata

YEAR = timedelta(days=365)
MOST_WINDOWS = 1000
"""Windows that are shown at first; more where a longer stretch is asked for."""
FULL_WINDOWS = 400
"""Up to so many windows all signals are read."""


class DecisionMark(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that is not simply to monitor."""

    number: int
    start: datetime
    end: datetime
    band: str
    tone: Tone
    cell: Action
    action: Action
    effect: Effect


class DecisionGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions in a row that are equal in model, band, impact, cell, action and trigger; numbers and times of all."""

    model: str
    first: int
    last: int
    windows: int
    start: datetime
    end: datetime
    name: str
    version: int
    band: str
    tone: Tone
    impact: Level
    lowest_per_day: float
    highest_per_day: float
    cell: Action
    action: Action
    done: str
    why: str


class JudgedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision says of a matured window: its corrected p-value, and the money a day that was avoidable."""

    start: datetime
    end: datetime
    version: int
    p_seq: float
    impact_per_day: float


class UsualLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Between which values the metric of a version was in nine of ten reference windows."""

    version: int
    low: float
    high: float


class ModelOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The page of a model. since, until: the stretch of event time that the series cover, without what lies before the
    first window in it."""

    now: ModelBrief
    first: datetime | None
    """Start of the oldest window of the model."""
    since: datetime | None
    until: datetime | None
    spans: tuple[VersionSpan, ...]
    windows: tuple[ChampionWindow, ...]
    usual: tuple[UsualLoss, ...]
    gain_metric: str
    gains: tuple[GainWindow, ...]
    signals: tuple[SignalPoint, ...]
    """Of more than FULL_WINDOWS windows: money of all, and the others of those windows alone that are in another band
    than the mildest, unusual by themselves, or not judged yet."""
    judged: tuple[JudgedWindow, ...]
    marks: tuple[DecisionMark, ...]
    groups: tuple[DecisionGroup, ...]
    kpis: tuple[KpiSeries, ...]
    medium: float
    """Money a day from which the impact is medium."""
    high: float
    p99_limit_ms: float | None
    bands: tuple[tuple[str, float], ...]
    """Upper limit of each p-value band below 1, the largest first."""


def model_overview(
    workspace: Workspace, name: str, wanted: TimeRange | None = None, *, signal: SignalKind | None = None
) -> ModelOverview:
    """Return the page of a model.

    Args:
        workspace: an open project.
        name: name of the model.
        wanted: stretch of event time of the series and of the decisions; None: the year up to the newest window, at
            most MOST_WINDOWS.
        signal: kind of the signal whose p-values are looked at; None: the one that chose the band.

    Raises:
        DefinitionError: there is no such model.
    """
    now = model_brief(workspace, name)
    model, policy, metadata = workspace.served(name), workspace.project.policy, workspace.metadata
    size = timedelta(microseconds=policy.decide.window)
    first = next(iter(metadata.find(WindowReport, model=name, limit=1, oldest_first=True)), None)
    wanted = _bounded(wanted, now.until, None if first is None else first.start, size)
    reports = role_windows(metadata, name, wanted, now.metric, WINDOWS_A_QUERY * size)
    windows = champion_windows(reports, now.metric)
    decisions = _decisions(metadata, name, wanted, size)
    telling = _telling(policy, windows, decisions) if len(windows) > FULL_WINDOWS and signal is None else None
    compared = policy.rollout.promote_when.metric_for(model.task)
    return ModelOverview(
        now=now,
        first=None if first is None else first.start,
        since=_later(wanted.since, reports[0].start if reports else None),
        until=wanted.until or now.until,
        spans=version_spans(reports),
        windows=windows,
        usual=_usual(metadata, name, now.metric, windows),
        gain_metric=compared,
        gains=gain_windows(reports, compared, metadata.find(Comparison, model=name, start=wanted.condition)),
        signals=signal_points(workspace, name, windows, telling),
        judged=tuple(_judged(d) for d in reversed(decisions) if is_judged(d)),
        marks=tuple(mark for d in reversed(decisions) if (mark := _mark(policy, d)) is not None),
        groups=decision_groups(policy, decisions),
        kpis=kpi_series(workspace, name, wanted),
        medium=policy.impact.medium,
        high=policy.impact.high,
        p99_limit_ms=milliseconds(policy.rollout.rollback_when.p99),
        bands=_limits(policy),
    )


def _bounded(wanted: TimeRange | None, newest: datetime | None, first: datetime | None, size: timedelta) -> TimeRange:
    """Return a stretch with both ends, without what lies before the first window."""
    if newest is None:
        return wanted or TimeRange()
    wanted = wanted or TimeRange(since=newest - min(YEAR, MOST_WINDOWS * size))
    return TimeRange(since=_later(wanted.since, first), until=wanted.until or newest)


def _decisions(metadata: Metadata, name: str, wanted: TimeRange, size: timedelta) -> list[Decision]:
    """Return the decisions of a stretch, newest first; those that did nothing without what is not shown of them."""
    found = []
    for part in wanted.parts(WINDOWS_A_QUERY * size):
        for d in metadata.find(Decision, model=name, start=part.condition):
            quiet = d.action == d.cell == "monitor"
            found.append(msgspec.structs.replace(d, signals=(), **({"reasons": ()} if quiet else {})))
    return sorted(found, key=lambda d: d.number, reverse=True)


def _telling(policy: Policy, windows: Sequence[ChampionWindow], decisions: Sequence[Decision]) -> frozenset[datetime]:
    """Return the starts of the windows whose signals say more than that nothing differs."""
    quiet = {
        d.start
        for d in decisions
        if band_tone(policy.decide.matrix, d.band) in ("", "minor") and d.p >= len(COUNTED) * REVIEW_P
    }
    newest = windows[-1].start if windows else None
    return frozenset(w.start for w in windows if w.start not in quiet or w.start == newest)


def _judged(d: Decision) -> JudgedWindow:
    return JudgedWindow(start=d.start, end=d.end, version=d.version, p_seq=d.p_seq, impact_per_day=d.impact_per_day)


def _usual(metadata: Metadata, name: str, loss: str, windows: Sequence[ChampionWindow]) -> tuple[UsualLoss, ...]:
    """Return what is usual for the versions that served, as far as their bundles say it."""
    served = {w.version for w in windows}
    found = sorted((b for b in metadata.find(Bundle, model=name) if b.version in served), key=lambda b: b.version)
    return tuple(
        UsualLoss(version=b.version, low=b.usual[loss].low, high=b.usual[loss].high) for b in found if loss in b.usual
    )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), default=None)


def decision_groups(policy: Policy, decisions: Sequence[Decision]) -> tuple[DecisionGroup, ...]:
    """Return decisions with equal neighbours as one. decisions: newest first; the reason is that of the newest."""
    groups: list[list[Decision]] = []
    for decision in decisions:
        if groups and _same(groups[-1][-1], decision):
            groups[-1].append(decision)
        else:
            groups.append([decision])
    return tuple(_group(policy, group) for group in groups)


def _same(one: Decision, other: Decision) -> bool:
    kind = [(d.model, d.band, d.impact, d.cell, d.action, d.trigger) for d in (one, other)]
    return one.action == "monitor" and kind[0] == kind[1]


def _group(policy: Policy, group: Sequence[Decision]) -> DecisionGroup:
    newest, oldest = group[0], group[-1]
    return DecisionGroup(
        model=newest.model,
        first=oldest.number,
        last=newest.number,
        windows=len(group),
        start=oldest.start,
        end=newest.end,
        name=window_name(oldest.start, newest.end),
        version=newest.version,
        band=newest.band,
        tone=band_tone(policy.decide.matrix, newest.band),
        impact=newest.impact,
        lowest_per_day=min(d.impact_per_day for d in group),
        highest_per_day=max(d.impact_per_day for d in group),
        cell=newest.cell,
        action=newest.action,
        done=done(newest),
        why=why(newest),
    )


def _mark(policy: Policy, decision: Decision) -> DecisionMark | None:
    if decision.action == decision.cell == "monitor":
        return None
    return DecisionMark(
        number=decision.number,
        start=decision.start,
        end=decision.end,
        band=decision.band,
        tone=band_tone(policy.decide.matrix, decision.band),
        cell=decision.cell,
        action=decision.action,
        effect=effect_of(decision),
    )


def _limits(policy: Policy) -> tuple[tuple[str, float], ...]:
    bands = ((name, band.p[1]) for name, band in policy.decide.matrix.root.items() if band.p[1] < 1)
    return tuple(sorted(bands, key=lambda each: -each[1]))
