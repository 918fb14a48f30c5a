"""One window of a model: what was different in its rows, and some of them."""

from __future__ import annotations

import base64
from datetime import datetime
from itertools import pairwise
from typing import Any

from fastapi import APIRouter, Response

from trimtab.app.overviews import wording
from trimtab.app.overviews.reads.child_reader import reader
from trimtab.app.overviews.window_columns import WindowColumn
from trimtab.app.overviews.window_detail import WindowDetail, mean_text, window_detail
from trimtab.charts.distribution_panels import ColumnShares, column_panel
from trimtab.charts.theme import Frame, Spec
from trimtab.console.access import Visit, Visitor
from trimtab.console.documents import document, time_of
from trimtab.console.rendering import page
from trimtab.control.cause import COUNTED
from trimtab.errors import UsageError

pages, api = APIRouter(), APIRouter(tags=["models"])

OPEN = 8
"""Columns that are shown at first; the others open."""
TALL = 52
"""Pixels of a histogram."""
CELL = Frame(width=260, axis=44)
LIVE = ("window", "signal", "decision")


@pages.get("/models/{model}/windows/{start}")
def window_page(visit: Visitor, model: str, start: str, version: int | None = None) -> Response:
    """Show a window."""
    found = window_detail(visit.workspace, model, _start(start), version)
    day = wording.window_name(found.start, found.end)
    return page(
        visit.request,
        "window.html",
        title=f"{found.model}, {day}",
        sentence=found.sentence,
        section="Models",
        crumbs=(("models", "/models"), (found.model, f"/models/{found.model}"), (day, "")),
        live=LIVE,
        visit=visit,
        found=found,
        start=wording.iso(found.start),
        metric_name=_metric(visit, found),
        columns=[(each, _histogram(each)) for each in found.columns],
        opened=OPEN,
        tested=any(note.kind in COUNTED and note.p is not None for note in found.notes),
        bins=_bins,
        mean_text=mean_text,
        wording=wording,
    )


@pages.get("/models/{model}/windows/{start}/rows")
def rows_page(visit: Visitor, model: str, start: str, version: int | None = None) -> Response:
    """Show some rows of a window."""
    found, sampled = _sampled(visit, model, start, version)
    address = f"/models/{found.model}/windows/{wording.iso(found.start)}"
    return page(
        visit.request,
        "window_rows.html",
        title=f"{found.model}, rows of {found.name}",
        sentence=f"Rows of {found.name}, {found.role} {found.version}.",
        section="Models",
        crumbs=(
            (found.model, f"/models/{found.model}"),
            (found.name, f"{address}?version={found.version}"),
            ("rows", ""),
        ),
        visit=visit,
        parquet=f"{address}/rows.parquet?version={found.version}",
        wording=wording,
        **sampled,
    )


@pages.get("/models/{model}/windows/{start}/rows.parquet")
def rows_file(visit: Visitor, model: str, start: str, version: int | None = None) -> Response:
    """Send all rows of a window as Parquet; columns with personal data are masked."""
    visit.actor.require("developer", model)
    found = window_detail(visit.workspace, model, _start(start), version)
    content = base64.b64decode(reader(visit.workspace).read("exported_rows", str, **_order(found)))
    name = f"{found.model}-v{found.version}-{found.start:%Y%m%dT%H%M}.parquet"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/vnd.apache.parquet", headers=headers)


@api.get("/models/{model}/windows/{start}")
def window(visit: Visitor, model: str, start: str, version: int | None = None) -> Response:
    """Return a window: its columns compared with the reference, mistakes, segments, signals, and the decision."""
    return document(window_detail(visit.workspace, model, _start(start), version))


@api.get("/models/{model}/windows/{start}/rows")
def rows(visit: Visitor, model: str, start: str, version: int | None = None) -> Response:
    """Return some rows of a window from the prediction log, mistakes and right answers in equal parts."""
    return document(_sampled(visit, model, start, version)[1])


def _sampled(visit: Visit, model: str, start: str, version: int | None) -> tuple[WindowDetail, dict[str, Any]]:
    visit.actor.require("developer", model)
    found = window_detail(visit.workspace, model, _start(start), version)
    return found, reader(visit.workspace).read("sampled_rows", dict[str, Any], **_order(found))


def _order(found: WindowDetail) -> dict[str, Any]:
    return {
        "model": found.model,
        "version": found.version,
        "start": found.start.isoformat(),
        "end": found.end.isoformat(),
    }


def _start(text: str) -> datetime:
    found = time_of("the start of the window", text)
    if found is None:
        raise UsageError("the start of the window is missing")
    return found


def _metric(visit: Visit, found: WindowDetail) -> str:
    return visit.workspace.project.policy.rollout.promote_when.quality_for(visit.workspace.served(found.model).task)


def _histogram(column: WindowColumn) -> Spec | None:
    if not column.now:
        return None
    shares = ColumnShares(labels=column.labels, edges=column.edges, now=column.now, reference=column.reference)
    drawn = column_panel(shares, CELL, name=column.name)
    return drawn if column.labels else {**drawn, "height": TALL}


def _bins(column: WindowColumn) -> list[tuple[str, str, str]]:
    """Return each bin with its shares, as the table under a histogram shows them."""
    edges = column.edges
    names = column.labels or [f"{first} to {last}" for first, last in pairwise(edges)]
    return [
        (name, wording.share(now), wording.share(usual))
        for name, now, usual in zip(names, column.now, column.reference, strict=True)
    ]
