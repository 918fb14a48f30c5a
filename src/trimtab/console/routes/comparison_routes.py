"""Two versions compared: how the gain grew, groups of rows, calibration, gates; as a page and as documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse

from trimtab.app.overviews import wording
from trimtab.app.overviews.comparison_overview import ComparisonOverview, comparison_overview, comparison_rows
from trimtab.app.overviews.gate_marks import gate_marks
from trimtab.app.reports import version_words
from trimtab.app.reports.comparison_result import CalibrationCurve, VersionComparison
from trimtab.app.reports.version_words import interval, number
from trimtab.charts.choice_panels import gates_panel
from trimtab.charts.distribution_panels import CalibrationBin, SegmentGain, calibration_panel, segments_panel
from trimtab.charts.theme import Frame, Spec
from trimtab.charts.window_panels import WindowValue, gain_growth_panel
from trimtab.console.access import Visitor
from trimtab.console.documents import csv_answer, document
from trimtab.console.rendering import page, with_query
from trimtab.errors import TrimtabError, UsageError

pages, api = APIRouter(), APIRouter(tags=["comparisons"])

LIVE = ("comparison", "revision", "window")
COLUMNS = (
    "start", "end", "version", "against", "gain", "mean", "low", "high", "windows", "labels", "money", "money_low",
    "money_high",
)  # fmt: skip
With = Annotated[
    str, Query(alias="with", description="Two versions, such as 4,3: the compared one and the other.", max_length=40)
]


@pages.get("/compare")
def compare(visit: Visitor) -> Response:
    """Go to the comparison of the first model that has one."""
    models = visit.models() or tuple(visit.workspace.project.definitions.served)
    compared = (name for name in models if comparison_overview(visit.workspace, name).version is not None)
    chosen = next(compared, models[0] if models else None)
    return RedirectResponse(f"/models/{chosen}/compare" if chosen else "/models", 303)


@pages.get("/models/{model}/compare")
def comparison_page(visit: Visitor, model: str, versions: With = "", whole: bool = False) -> Response:
    """Show a comparison. whole: with what the rows say, which takes seconds to read."""
    visit.models(model)
    found = comparison_overview(visit.workspace, model, two_versions(versions))
    rows, trouble = None, ""
    if whole and found.version is not None and found.against is not None:
        try:
            rows = comparison_rows(visit.workspace, model, (found.version, found.against))
        except TrimtabError as error:  # the rest of the page stands
            trouble = str(error)
    return page(
        visit.request,
        "compare.html",
        visit=visit,
        title=f"Compare {model}",
        sentence=found.sentence,
        section="Compare",
        crumbs=(("models", "/models"), (model, f"/models/{model}"), ("compare", "")),
        live=LIVE,
        found=found,
        models=visit.models() or tuple(visit.workspace.project.definitions.served),
        growth=_growth(found, money=False),
        growth_rows=_growth_rows(found),
        money=_growth(found, money=True) if any(p.money is not None for p in found.growth) else None,
        money_rows=_money_rows(found),
        gates=_gates(found),
        gate_rows=[
            (g.gate, g.metric, wording.metric(g.value), _or_none(g.threshold), g.verdict, g.reason) for g in found.gates
        ],
        rows=rows,
        trouble=trouble,
        segments=_segments(rows) if rows else None,
        segment_rows=_segment_rows(rows) if rows else (),
        bins=[(curve.version, _bins(curve)) for curve in rows.calibration] if rows else (),
        calibration=_calibration(rows, found.role) if rows else None,
        words=version_words,
        whole_page=with_query(visit.request, whole="true"),
        wording=wording,
    )


@api.get("/models/{model}/compare")
def comparison(visit: Visitor, model: str, versions: With = "", format: str = "json") -> Response:
    """Return how the gain of a version grew, with the rule and the gates. format=csv sends the growth."""
    visit.models(model)
    found = comparison_overview(visit.workspace, model, two_versions(versions))
    if format == "csv":
        rows = ([getattr(p, name, getattr(found, name, None)) for name in COLUMNS] for p in found.growth)
        return csv_answer(f"{model}-comparison", COLUMNS, rows)
    if format != "json":
        raise UsageError(f"format: '{format}'; expected json or csv")
    return document(found)


@api.get("/models/{model}/compare/rows")
def compared_rows(visit: Visitor, model: str, versions: With = "") -> Response:
    """Return what the rows say that two versions both scored: money, rates, segments, calibration. Takes seconds."""
    visit.models(model)
    found = comparison_overview(visit.workspace, model, two_versions(versions))
    if found.version is None or found.against is None:
        return document(None)
    return document(comparison_rows(visit.workspace, model, (found.version, found.against)))


def two_versions(text: str) -> tuple[int, int] | None:
    """Return the two versions of a query; None where it is empty. Raises UsageError."""
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts) or parts[0].strip() == parts[1].strip():
        raise UsageError(f"with: '{text}'; expected two versions such as 4,3: the compared one and the other")
    return int(parts[0]), int(parts[1])


def _growth(found: ComparisonOverview, *, money: bool) -> Spec:
    values = [
        WindowValue(
            start=p.start,
            end=p.end,
            value=p.money if money else p.mean,
            low=p.money_low if money else p.low,
            high=p.money_high if money else p.high,
            version=found.version,
            role="challenger",
        )
        for p in found.growth
    ]
    first, last = (found.growth[0].start, found.growth[-1].end) if found.growth else (None, None)
    name = f"{found.currency} a day" if money else found.metric.replace("_", " ")
    return gain_growth_panel(values, Frame(start=first, end=last), metric=name)


def _growth_rows(found: ComparisonOverview) -> list[tuple[str, ...]]:
    return [
        (
            wording.window_name(p.start, p.end),
            *(wording.metric(value, signed=True) for value in (p.gain, p.mean, p.low, p.high)),
            wording.count(p.labels),
        )
        for p in reversed(found.growth)
    ]


def _money_rows(found: ComparisonOverview) -> list[tuple[str, ...]]:
    return [
        (wording.window_name(p.start, p.end), *(wording.signed(v) for v in (p.money, p.money_low, p.money_high)))
        for p in reversed(found.growth)
    ]


def _segment_rows(rows: VersionComparison) -> list[tuple[str, ...]]:
    worst = sorted(rows.segments, key=lambda s: s.metric.gain if s.metric.gain is not None else 0.0)
    return [
        (
            f"{s.column} {s.value}",
            wording.count(s.rows),
            number(s.metric.gain, s.metric.unit, signed=True),
            interval(s.metric),
            "" if s.money is None else number(s.money.gain, "money", signed=True),
        )
        for s in worst
    ]


def _bins(curve: CalibrationCurve) -> list[tuple[str, ...]]:
    return [(wording.count(b.rows), *map(wording.metric, (b.said, b.happened, b.low, b.high))) for b in curve.bins]


def _or_none(value: float | None) -> str:
    return "none" if value is None else wording.metric(value)


def _gates(found: ComparisonOverview) -> Spec | None:
    marks = gate_marks(found.gates)
    return gates_panel(marks, Frame()) if marks else None


def _segments(rows: VersionComparison) -> Spec | None:
    groups = [
        SegmentGain(name=f"{s.column} {s.value}", gain=s.metric.gain, low=s.metric.low, high=s.metric.high, rows=s.rows)
        for s in rows.segments
    ]
    return segments_panel(groups, Frame(), metric=rows.metric) if groups else None


def _calibration(rows: VersionComparison, role: str) -> Spec | None:
    """Return the chart of what was said and what happened; None where scores are no probabilities."""
    if rows.task not in ("binary", "multiclass"):
        return None
    roles = ("shadow" if role == "shadow" else "challenger", "champion")
    series = [
        (
            name,
            [CalibrationBin(said=b.said, happened=b.happened, rows=b.rows, low=b.low, high=b.high) for b in curve.bins],
        )
        for name, curve in zip(roles, rows.calibration, strict=True)
    ]
    return calibration_panel(series, Frame())
