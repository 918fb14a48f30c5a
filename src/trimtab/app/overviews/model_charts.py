"""The charts of a model, made of its overview: one panel each, on one axis of event time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import cast

import msgspec

from trimtab.app.overviews.model_overview import ModelOverview
from trimtab.app.overviews.wording import SIGNALS, joined, metric, p_value
from trimtab.app.reports.decision_list import Effect
from trimtab.charts.event_panels import (
    Band,
    DecisionMark,
    Done,
    ServingSpan,
    SignalMark,
    decisions_panel,
    serves_panel,
    signals_panel,
)
from trimtab.charts.theme import Frame, Spec
from trimtab.charts.window_panels import (
    Level,
    UsualRange,
    WindowValue,
    gain_panel,
    loss_panel,
    metric_panel,
    money_panel,
    p_seq_panel,
)
from trimtab.control.cause import COUNTED
from trimtab.control.decision import REVIEW_P
from trimtab.records.record import SignalKind

ROWS: dict[SignalKind, str] = {
    "concept": SIGNALS["concept"],
    "data": SIGNALS["data"],
    "prediction": SIGNALS["prediction"],
    "quality": "missing",
    "latency": SIGNALS["latency"],
    "error": SIGNALS["error"],
}
"""Kinds in the panel of signals, and their rows; those that choose the band come first."""
DONE: dict[Effect, Done] = {"as_said": "acted", "raised": "raised", "held_back": "held back"}
DECISIONS_NOTE = "\u25bc acted, \u25b2 raised, | held back"
CLOSED = ("latency", "cost", "kpi-")
"""Begins of the ids of panels that are not open at first."""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel of a page. heading, unit and note stand above the drawing."""

    id: str
    heading: str
    unit: str
    note: str
    spec: Spec
    open: bool = True


def model_charts(page: ModelOverview, *, signal: SignalKind | None = None, frame: Frame | None = None) -> list[Panel]:
    """Return the panels of a model, from the top.

    signal: the kind whose p-values are drawn; None draws the one that chose the band in each window.
    """
    frame = frame or Frame(start=page.since, end=page.until)
    loss, currency = page.now.metric.replace("_", " "), page.now.currency
    rivals = {gain.role for gain in page.gains}
    rival = "challenger" if "challenger" in rivals else "newest shadow"
    p_values, about = _p_values(page, signal)
    bounds = [p for _, p in page.bands]
    titled = loss[0].upper() + loss[1:]
    panels = [
        ("serves", "What serves", "", "versions, by role", serves_panel(_spans(page), frame)),
        ("decisions", "Decisions", "", DECISIONS_NOTE, decisions_panel(_marks(page), frame)),
        ("loss", titled, "", _loss_note(page), loss_panel(_losses(page), _usual(page), frame, metric=loss)),
        ("gain", f"Gain of the {rival}", page.gain_metric.replace("_", " "), "above 0 it is better than the champion",
         gain_panel(_gains(page), _growth(page), frame, metric=page.gain_metric)),
        ("signals", "Signals", "", "half block moderate, full block severe; dot: this window alone p < 0.01",
         signals_panel(_signals(page), frame)),
        ("p_seq", f"p-value of {about}", "corrected", "bands at " + joined([p_value(p) for p in bounds]),
         p_seq_panel(p_values, frame, levels=bounds)),
        ("money", "Lost a day", currency, "bars: beyond what is expected, by window; line: what decisions read",
         money_panel(_money(page), _impacts(page), frame, currency=currency, levels=_levels(page))),
        ("latency", "Latency", "p99, ms", "", _metric(page, frame, "p99_ms", "p99 in ms", _p99_limit(page))),
        ("cost", "Cost of serving", currency, "by window", _metric(page, frame, "cost", "cost", ())),
    ]  # fmt: skip
    panels += [
        (f"kpi-{kpi.stream}", kpi.stream, kpi.unit, "KPI", metric_panel(_kpi(kpi.points), frame, metric=kpi.stream))
        for kpi in page.kpis
    ]
    return [
        Panel(id=id_, heading=heading, unit=unit, note=note, spec=spec, open=not id_.startswith(CLOSED))
        for id_, heading, unit, note, spec in panels
    ]


def _spans(page: ModelOverview) -> list[ServingSpan]:
    return [ServingSpan(role=s.role, version=s.version, start=s.start, end=s.end) for s in page.spans]


def _marks(page: ModelOverview) -> list[DecisionMark]:
    return [
        DecisionMark(start=m.start, end=m.end, number=m.number, band=_band(m.tone), done=DONE[m.effect])
        for m in page.marks
    ]


def _losses(page: ModelOverview) -> list[WindowValue]:
    return [
        WindowValue(start=w.start, end=w.end, value=w.loss, low=w.loss_low, high=w.loss_high, version=w.version)
        for w in page.windows
    ]


def _usual(page: ModelOverview) -> list[UsualRange]:
    known = {usual.version: usual for usual in page.usual}
    return [
        UsualRange(start=s.start, end=s.end, low=known[s.version].low, high=known[s.version].high)
        for s in page.spans
        if s.role == "champion" and s.version in known
    ]


def _loss_note(page: ModelOverview) -> str:
    better = f"{page.now.metric_better} is better"
    return f"{better}; tint: 90 % of the reference windows" if page.usual else better


def _gains(page: ModelOverview) -> list[WindowValue]:
    return [WindowValue(start=g.start, end=g.end, value=g.gain, version=g.version, role=g.role) for g in page.gains]


def _growth(page: ModelOverview) -> list[WindowValue]:
    return [
        WindowValue(start=g.start, end=g.end, value=g.mean, low=g.low, high=g.high, version=g.version, role=g.role)
        for g in page.gains
        if g.mean is not None
    ]


def _signals(page: ModelOverview) -> list[SignalMark]:
    points = sorted((s for s in page.signals if s.kind in ROWS), key=lambda s: list(ROWS).index(s.kind))
    return [
        SignalMark(
            start=s.start,
            end=s.end,
            row=ROWS[s.kind],
            band=_band(s.tone),
            alone=s.p is not None and s.p < REVIEW_P,
            decides=s.kind in COUNTED,
        )
        for s in points
    ]


def _p_values(page: ModelOverview, signal: SignalKind | None) -> tuple[list[WindowValue], str]:
    """Return the corrected p-values of a kind, or of the smallest one of each window: that of the decision."""
    smallest: dict[tuple[datetime, int], WindowValue] = {}
    if signal is None:
        for j in page.judged:
            value = WindowValue(start=j.start, end=j.end, value=j.p_seq, version=j.version)
            smallest[j.start, j.version] = value
    decided = frozenset(smallest)
    for s in page.signals:
        if s.corrected is None or signal not in (None, s.kind) or (s.start, s.version) in decided:
            continue
        value = WindowValue(start=s.start, end=s.end, value=s.corrected, version=s.version)
        known = smallest.get((s.start, s.version))
        if known is None or (s.corrected or 0.0) < (known.value or 0.0):
            smallest[s.start, s.version] = value
    return list(smallest.values()), "the decision" if signal is None else SIGNALS[signal]


def _money(page: ModelOverview) -> list[WindowValue]:
    return [
        WindowValue(start=s.start, end=s.end, value=s.value, version=s.version) for s in page.signals if s.kind == "kpi"
    ]


def _impacts(page: ModelOverview) -> list[WindowValue]:
    return [WindowValue(start=j.start, end=j.end, value=j.impact_per_day) for j in page.judged]


def _levels(page: ModelOverview) -> list[Level]:
    return [
        Level(name=f"medium {metric(page.medium)}", value=page.medium, use="moderate"),
        Level(name=f"high {metric(page.high)}", value=page.high, use="severe"),
    ]


def _p99_limit(page: ModelOverview) -> tuple[Level, ...]:
    limit = page.p99_limit_ms
    return () if limit is None else (Level(name=f"limit {metric(limit)}", value=limit, use="severe"),)


def _metric(page: ModelOverview, frame: Frame, field: str, name: str, limits: Iterable[Level]) -> Spec:
    windows = [
        WindowValue(start=w.start, end=w.end, value=cast("float | None", getattr(w, field)), version=w.version)
        for w in page.windows
    ]
    return metric_panel(windows, frame, metric=name, limits=list(limits), zero=True)


def _kpi(points: Iterable[tuple[datetime, datetime, float, float | None]]) -> list[WindowValue]:
    return [WindowValue(start=start, end=end, value=value) for start, end, value, _ in points]


def _band(tone: str) -> Band:
    return cast("Band", tone) if tone in ("moderate", "severe") else "minor"


def without_time_labels(spec: Spec) -> Spec:
    """Return a panel whose time axis has no labels: the one below it has them."""
    return cast("Spec", _walk(spec, _quiet))


def _quiet(part: dict[str, object]) -> dict[str, object]:
    axis = part.get("axis")
    if part.get("type") == "temporal" and isinstance(axis, dict):
        return {**part, "axis": {**axis, "labels": False, "ticks": False}}
    return part


def _walk(value: object, change: Callable[[dict[str, object]], dict[str, object]]) -> object:
    if isinstance(value, dict):
        return change({key: each if key == "values" else _walk(each, change) for key, each in value.items()})
    return [_walk(each, change) for each in value] if isinstance(value, list) else value
