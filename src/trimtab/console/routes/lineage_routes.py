"""Where an answer, or any record, comes from."""

from __future__ import annotations

from functools import partial

import msgspec
from fastapi import APIRouter, Response

from trimtab.app.overviews.lineage_overview import LineageOverview, lineage_overview
from trimtab.console.access import Visit, Visitor
from trimtab.console.documents import document
from trimtab.console.later import soon
from trimtab.console.rendering import page

pages, api = APIRouter(), APIRouter(tags=["lineage"])

ASKS = "Paste an id: a prediction, a bundle, a run, a decision, a training set, a table version or a revision."
FEATURES_ROLE = "developer"


@pages.get("/lineage")
def lineage_start(visit: Visitor, id: str = "", whole: bool = False) -> Response:
    """Show the form, or the way back from an id."""
    return lineage_page(visit, id, whole) if id.strip() else _page(visit, "", None, ASKS)


@pages.get("/lineage/{id:path}")
def lineage_page(visit: Visitor, id: str, whole: bool = False) -> Response:
    """Show the way back from an id. whole: wait for it however long it takes."""
    read = partial(_read, visit, id)
    found = read() if whole else soon(read)
    sentence = found.sentence if found else f"{id} is looked for in the prediction log."
    return _page(visit, id, found, sentence)


@api.get("/lineage/{id:path}")
def lineage(visit: Visitor, id: str) -> Response:
    """Return where something comes from. The inputs of a prediction by name need the role developer."""
    return document(_read(visit, id))


def _read(visit: Visit, id_: str) -> LineageOverview:
    found = lineage_overview(visit.workspace, id_, features=True)
    for model in found.models:
        visit.actor.require("viewer", model)
    if found.features is not None and not visit.may(FEATURES_ROLE, found.models[0]):
        return msgspec.structs.replace(found, features=None)
    return found


def _page(visit: Visit, id_: str, found: LineageOverview | None, sentence: str) -> Response:
    return page(
        visit.request,
        "lineage.html",
        visit=visit,
        title="Lineage",
        sentence=sentence,
        section="Lineage",
        crumbs=[("lineage", "/lineage"), (id_, "")] if id_ else [("lineage", "")],
        id=id_,
        found=found,
    )
