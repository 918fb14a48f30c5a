"""Tables, quarantined rows, features and the graph of what is made from what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from trimtab.app.operations.actors import needed
from trimtab.app.operations.own_process import order_rows
from trimtab.app.overviews import wording
from trimtab.app.overviews.data.data_graph import data_graph
from trimtab.app.overviews.data.data_overview import (
    data_overview,
    held_batches,
    held_rows,
    table_detail,
    table_rows,
    view_facts,
    view_summary,
)
from trimtab.app.overviews.data.feature_overview import FeatureDetail, feature_detail
from trimtab.charts.theme import Frame, Spec
from trimtab.charts.window_panels import WindowValue, metric_panel
from trimtab.console.access import Visit, Visitor
from trimtab.console.changes import ForcedChange, Key
from trimtab.console.documents import csv_answer, document
from trimtab.console.later import soon
from trimtab.console.rendering import page, with_query
from trimtab.errors import Forbidden, NotFound

pages, api = APIRouter(), APIRouter(tags=["data"])

PAGE_ROWS = 50
HEAD_ROWS = 20
LIVE = ("table_version", "check_report", "quarantine_end")
FEATURES = (
    "feature", "view", "origin", "entity", "source", "window", "type", "missing", "skew", "moved", "models",
)  # fmt: skip
VERSIONS = ("id", "version", "created_at", "rows", "added_rows", "columns", "source", "content_hash")
HELD = ("batch", "table", "source", "at", "rows", "held", "column", "check", "failing_rows", "example")
Limit = Annotated[int, Query(ge=1, le=1000)]


class HeldRows(ForcedChange):
    """Which held rows of a batch a person answers. rows: numbers in the batch; empty for all."""

    batch: str
    rows: list[int] = Field(default=[])


@pages.get("/data")
def data_page(visit: Visitor, find: str = "", after: str | None = None, around: str | None = None) -> Response:
    """Show tables, quarantine, features and the graph."""
    found = data_overview(visit.workspace, find, after=after, limit=PAGE_ROWS)
    graph = data_graph(visit.workspace, around or None, models=visit.models())
    return page(
        visit.request,
        "data.html",
        visit=visit,
        title="Data",
        sentence=found.sentence,
        section="Data",
        crumbs=[("data", "")],
        live=LIVE,
        found=found,
        find=find,
        graph=graph,
        may_release=visit.may("developer"),
        next=with_query(visit.request, after=found.next) if found.next else "",
    )


@pages.get("/data/features.csv")
def features_file(visit: Visitor, find: str = "") -> Response:
    """Send all features that match as CSV."""
    found = data_overview(visit.workspace, find, limit=None)
    rows = (
        [each.name, *(getattr(each, name) for name in FEATURES[1:-1]), " ".join(each.models)] for each in found.features
    )
    return csv_answer("features", FEATURES, rows)


@pages.get("/data/quarantine.csv")
def quarantine_file(visit: Visitor) -> Response:
    """Send the batches with held rows as CSV, a line for each check that failed."""
    rows = (
        (
            each.batch, each.table, each.source, each.at, each.rows, each.held, failure.column, failure.check,
            failure.rows, failure.example,
        )
        for each in held_batches(visit.workspace)
        for failure in each.failures
    )  # fmt: skip
    return csv_answer("quarantine", HELD, rows)


@pages.get("/data/tables/{table}/versions.csv")
def versions_file(visit: Visitor, table: str) -> Response:
    """Send all versions of a table as CSV."""
    found = table_detail(visit.workspace, table, limit=None)
    rows = (
        (
            each.id, each.version, each.created_at, each.rows, each.added_rows, len(each.schema), each.source,
            each.content_hash,
        )
        for each in found.versions
    )  # fmt: skip
    return csv_answer(f"{table}-versions", VERSIONS, rows)


@pages.get("/data/tables/{table}")
def table_page(visit: Visitor, table: str, version: int | None = None, after: str | None = None) -> Response:
    """Show a version of a table, the newest one if none is given."""
    return version_page(visit, table, version, after)


@pages.get("/data/tables/{table}/{version}")
def version_page(visit: Visitor, table: str, version: int | None, after: str | None = None) -> Response:
    """Show one version of a table."""
    found = table_detail(visit.workspace, table, version, before=after, limit=PAGE_ROWS)
    return page(
        visit.request,
        "table.html",
        visit=visit,
        title=f"Table {table}",
        sentence=found.sentence,
        section="Data",
        crumbs=[("data", "/data"), (table, f"/data/tables/{table}"), (f"version {found.version.version}", "")],
        live=LIVE,
        found=found,
        next=with_query(visit.request, after=found.next) if found.next else "",
        may_see=_is_developer(visit),
    )


@pages.get("/data/tables/{table}/{version}/rows")
def rows_page(visit: Visitor, table: str, version: int) -> Response:
    """Show the last rows of a version; values of personal data are hidden."""
    _require_developer(visit)
    found = table_rows(visit.workspace, table, version, HEAD_ROWS)
    return page(
        visit.request,
        "table_rows.html",
        visit=visit,
        title=f"Rows of {table}",
        sentence=f"The last {len(found['head'])} rows of {table}, version {version}.",
        section="Data",
        crumbs=[("data", "/data"), (table, f"/data/tables/{table}/{version}"), ("rows", "")],
        found=found,
    )


@pages.get("/data/views/{view}")
def view_page(visit: Visitor, view: str, whole: bool = False) -> Response:
    """Show a feature view. whole: wait for its statistics however long they take."""
    row = view_summary(visit.workspace, view)
    read = partial(view_facts, visit.workspace, view)
    used = wording.joined(row.models) or "no model"
    return page(
        visit.request,
        "view.html",
        visit=visit,
        title=f"View {view}",
        sentence=wording.sentence(f"view {view} gives {row.features} features of {row.entity} to {used}"),
        section="Data",
        crumbs=[("data", "/data"), (view, "")],
        row=row,
        facts=read() if whole else soon(read),
    )


@pages.get("/data/features/{name}")
def feature_page(visit: Visitor, name: str, model: str = "") -> Response:
    """Show a feature over the newest windows."""
    visit.models(model)
    found = feature_detail(visit.workspace, name, model or None)
    return page(
        visit.request,
        "feature.html",
        visit=visit,
        title=f"Feature {name}",
        sentence=found.sentence,
        section="Data",
        crumbs=[("data", "/data"), (name, "")],
        live=("window",),
        found=found,
        missing=_line(found, "missing"),
        mean=_line(found, "mean"),
    )


@pages.get("/data/quarantine/{batch}")
def quarantine_page(visit: Visitor, batch: str) -> Response:
    """Show the rows of a quarantined batch."""
    held = {each.batch: each for each in held_batches(visit.workspace)}
    rows = held_rows(visit.workspace, batch) if _is_developer(visit) else []
    about = held.get(batch)
    state = f"{about.held} of its rows are held" if about else "none of its rows is held any more"
    return page(
        visit.request,
        "quarantine.html",
        visit=visit,
        title="Quarantine",
        sentence=wording.sentence(f"batch {about.source if about else batch[:12]}: {state}"),
        section="Data",
        crumbs=[("data", "/data"), ("quarantine", "")],
        live=LIVE,
        batch=batch,
        held=about,
        rows=rows,
        may_see=_is_developer(visit),
        columns=list(dict.fromkeys(name for row in rows for name in row["values"])),
    )


@api.get("/data")
def data(visit: Visitor, find: str = "", after: str | None = None, limit: Limit = PAGE_ROWS) -> Response:
    """Return tables, quarantine and features. after: name of the last feature of the page before."""
    return document(data_overview(visit.workspace, find, after=after, limit=limit))


@api.get("/data/graph")
def graph(visit: Visitor, around: str | None = None) -> Response:
    """Return the graph of what is made from what, or the neighbours of one of its nodes."""
    return document(data_graph(visit.workspace, around, models=visit.models()))


@api.get("/data/tables/{table}")
def table(
    visit: Visitor, table: str, version: int | None = None, after: str | None = None, limit: Limit = PAGE_ROWS
) -> Response:
    """Return one version of a table, and a page of its versions."""
    return document(table_detail(visit.workspace, table, version, before=after, limit=limit))


@api.get("/data/tables/{table}/rows")
def rows(visit: Visitor, table: str, version: int | None = None, limit: Limit = HEAD_ROWS) -> Response:
    """Return the last rows of a table; values of personal data are hidden. Needs the role developer."""
    _require_developer(visit)
    return document(table_rows(visit.workspace, table, version, limit))


@api.get("/data/views/{view}")
def view(visit: Visitor, view: str) -> Response:
    """Return a feature view with statistics of its features."""
    return document(view_facts(visit.workspace, view))


@api.get("/data/features/{name}")
def feature(visit: Visitor, name: str, model: str | None = None) -> Response:
    """Return a feature over the newest windows of a model."""
    visit.models(model)
    return document(feature_detail(visit.workspace, name, model))


@api.get("/quarantine")
def quarantine(visit: Visitor) -> Response:
    """Return the batches with held rows."""
    return document(list(held_batches(visit.workspace)))


@api.get("/quarantine/{batch}/rows")
def quarantined(visit: Visitor, batch: str) -> Response:
    """Return the first rows of a quarantined batch; values of personal data are hidden. Needs the role developer."""
    _require_developer(visit)
    return document(held_rows(visit.workspace, batch))


@api.post("/quarantine/{table}/{verb}")
def answer_quarantine(
    visit: Visitor, table: str, verb: Literal["release", "drop"], body: HeldRows, key: Key = None
) -> Response:
    """Release held rows of a batch into their table, or drop them. Needs the role developer."""
    if table not in visit.workspace.project.definitions.sources:
        raise NotFound(f"there is no table '{table}'")
    handled = order_rows(
        visit.workspace, visit.actor, verb, body.batch, rows=body.rows, reason=body.reason, key=key, force=body.force
    )
    return document(handled)


def _is_developer(visit: Visit) -> bool:
    """Return True if the person may see rows: tables belong to all models, so one model is enough."""
    return visit.may("developer", visit.actor.models[0] if visit.actor.models else None)


def _require_developer(visit: Visit) -> None:
    if not _is_developer(visit):
        raise Forbidden(needed("developer"))


def _line(found: FeatureDetail, name: str) -> tuple[Spec, Sequence[Sequence[str]]] | None:
    """Return the chart of a feature's missing share or mean, and its rows as a table."""
    points = [point for point in found.points if getattr(point, name) is not None]
    if not points:
        return None
    windows = [WindowValue(start=point.start, end=point.end, value=getattr(point, name)) for point in points]
    frame = Frame(start=points[0].start, end=points[-1].end)
    text = wording.share if name == "missing" else wording.metric
    table = [(wording.window_name(point.start, point.end), text(getattr(point, name))) for point in points]
    return metric_panel(windows, frame, metric=f"{name} of {found.summary.name}", zero=name == "missing"), table
