"""A model over event time, and its windows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request, Response

from trimtab.app.llm.searches import no_search
from trimtab.app.overviews import wording
from trimtab.app.overviews.model_brief import model_brief
from trimtab.app.overviews.model_charts import model_charts, without_time_labels
from trimtab.app.overviews.model_overview import ModelOverview, model_overview
from trimtab.app.overviews.model_timeline import timeline
from trimtab.app.overviews.model_windows import TimeRange
from trimtab.app.overviews.window_list import (
    ListedWindow,
    Stage,
    WindowFilter,
    all_windows,
    known_model,
    window_page,
)
from trimtab.charts.svg import draw_svg
from trimtab.charts.theme import LIGHT, Frame
from trimtab.console.access import Visit, Visitor
from trimtab.console.documents import csv_answer, document, time_of
from trimtab.console.rendering import page, query_of, with_query
from trimtab.control.cause import COUNTED
from trimtab.errors import NotFound, UsageError, nearest
from trimtab.records.record import Role, SignalKind

pages, api = APIRouter(), APIRouter(tags=["models"])

LIVE = ("window", "signal", "decision", "resolution", "revision")
RANGES = (("30 d", 30), ("90 d", 90), ("1 y", 365), ("all", 0))
GROUPS = 50
"""Rows of decisions a page."""
TABLE_WINDOWS = 60
"""Newest windows in the table under the charts; the CSV has all."""
From = Annotated[str | None, Query(alias="from", description="Begin of event time, ISO 8601.")]
Until = Annotated[str | None, Query(alias="to", description="End of event time, ISO 8601.")]
COLUMNS = (
    "id", "model", "version", "role", "stage", "start", "end", "rows", "labelled", "coverage", "decision", "band",
    "p_seq", "impact", "impact_per_day", "cell", "action",
)  # fmt: skip


@pages.get("/models/{model}")
def model_page(
    visit: Visitor, model: str, since: From = None, until: Until = None, signal: str | None = None, below: int = 0
) -> Response:
    """Show a model. below: only decisions with a smaller number are in the table."""
    name = known_model(visit.workspace, model)
    kind = _signal(signal)
    found = model_overview(visit.workspace, name, _range(since, until), signal=kind)
    panels = model_charts(found, signal=kind)
    groups = [group for group in found.groups if not below or group.last < below]
    return page(
        visit.request,
        "model.html",
        title=name,
        sentence=found.now.sentence,
        section="Models",
        crumbs=(("models", "/models"), (name, "")),
        live=LIVE,
        visit=visit,
        found=found,
        panels=[(each, each.spec if n == 0 else without_time_labels(each.spec)) for n, each in enumerate(panels)],
        moments=(moments := timeline(found)),
        moment_values=[(each.at, each.text, each.start, each.version) for each in moments],
        groups=groups[:GROUPS],
        all_groups=len(groups),
        below=groups[GROUPS - 1].first if len(groups) > GROUPS else None,
        ranges=_ranges(visit.request, found),
        steps=_steps(visit.request, found),
        signal=kind or "",
        signals=[(each, wording.SIGNALS[each]) for each in COUNTED],
        newest=found.windows[::-1][:TABLE_WINDOWS],
        drawn=query_of(visit.request, "from", "to", "signal"),
        tunes=not no_search(visit.workspace, name),
        listed=query_of(visit.request, "from", "to"),
        wording=wording,
    )


@pages.get("/models/{model}/charts/{panel}.svg")
def model_chart(
    visit: Visitor, model: str, panel: str, since: From = None, until: Until = None, signal: str | None = None
) -> Response:
    """Send one panel as SVG, in light colours."""
    kind, name = _signal(signal), known_model(visit.workspace, model)
    found = model_overview(visit.workspace, name, _range(since, until), signal=kind)
    frame = Frame(start=found.since, end=found.until, width=900, palette=LIGHT)
    panels = {each.id: each.spec for each in model_charts(found, signal=kind, frame=frame)}
    if panel not in panels:
        raise NotFound(f"there is no panel '{panel}'; the panels are {', '.join(panels)}")
    return Response(draw_svg([panels[panel]])[0], media_type="image/svg+xml")


@api.get("/models/{model}")
def model(visit: Visitor, model: str, since: From = None, until: Until = None) -> Response:
    """Return a model: its state in one sentence, figures, and series over a stretch of event time."""
    name = known_model(visit.workspace, model)
    return document(model_overview(visit.workspace, name, _range(since, until)))


@api.get("/models/{model}/state")
def model_state(visit: Visitor, model: str) -> Response:
    """Return the state of a model at its newest window, without series."""
    return document(model_brief(visit.workspace, known_model(visit.workspace, model)))


@api.get("/models/{model}/windows")
def windows(
    visit: Visitor,
    model: str,
    since: From = None,
    until: Until = None,
    version: int | None = None,
    role: Role | None = None,
    stage: Stage | None = "matured",
    after: str | None = None,
    limit: int = 50,
    format: str = "json",
) -> Response:
    """Return windows with the decisions about them, the last written first.

    Each page has at most `limit` windows; `after` of one page asks for the next. format=csv sends all of them.
    """
    wanted = WindowFilter(range=_range(since, until) or TimeRange(), version=version, role=role, stage=stage)
    if format == "csv":
        known_model(visit.workspace, model)
        names = _metrics(visit, model, wanted)
        return csv_answer(
            f"{model}-windows", (*COLUMNS, *names), _rows(all_windows(visit.workspace, model, wanted), names)
        )
    if format != "json":
        raise UsageError(f"format: '{format}'; expected json or csv")
    return document(window_page(visit.workspace, model, wanted, after=after, limit=limit))


def _rows(windows: Iterator[ListedWindow], metrics: tuple[str, ...]) -> Iterator[list[Any]]:
    for window in windows:
        own = [getattr(window, column) for column in COLUMNS]
        yield [*own, *(window.metrics.get(name) for name in metrics)]


def _metrics(visit: Visit, model: str, wanted: WindowFilter) -> tuple[str, ...]:
    """Return the metrics of the newest windows of each role, in alphabetical order."""
    newest = window_page(visit.workspace, model, wanted, limit=GROUPS).windows
    return tuple(sorted({name for window in newest for name in window.metrics}))


def _range(since: str | None, until: str | None) -> TimeRange | None:
    first, last = time_of("from", since), time_of("to", until)
    if first is None and last is None:
        return None
    if first is not None and last is not None and last <= first:
        raise UsageError(f"to: {until} is not after from: {since}")
    return TimeRange(since=first, until=last)


def _signal(text: str | None) -> SignalKind | None:
    if not text:
        return None
    if text not in COUNTED:
        known = ", ".join(COUNTED)
        raise UsageError(f"signal: '{text}' does not choose the band; expected one of {known}.{nearest(text, COUNTED)}")
    return next(kind for kind in get_args(SignalKind) if kind == text)


def _ranges(request: Request, found: ModelOverview) -> list[tuple[str, str, bool]]:
    """Return text, address and whether it is the present one, of each range up to the newest window."""
    newest = found.now.until
    if newest is None or found.since is None:
        return []
    made = []
    for text, days in RANGES:
        begin = newest - timedelta(days=days) if days else None
        since = "1970-01-01" if begin is None else wording.iso(begin)
        chosen = found.until == newest and found.since == max(filter(None, (begin, found.first)))
        made.append((text, with_query(request, **{"from": since, "to": None, "below": None}), chosen))
    return made


def _steps(request: Request, found: ModelOverview) -> tuple[str, str]:
    """Return the addresses of the range before and of the one after, as long as the present one."""
    if found.since is None or found.until is None:
        return "", ""
    length = found.until - found.since
    moves = [(found.since - length, found.since), (found.until, found.until + length)]
    before, after = (
        with_query(request, **{"from": wording.iso(first), "to": wording.iso(last), "below": None})
        for first, last in moves
    )
    if found.first is None or found.since <= found.first:
        before = ""
    return before, after if found.now.until is not None and found.until < found.now.until else ""
