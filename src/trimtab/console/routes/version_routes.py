"""One version of a model, and one revision of what serves."""

from __future__ import annotations

from fastapi import APIRouter, Response

from trimtab.app.overviews import wording
from trimtab.app.overviews.version_overview import revision_overview, version_overview
from trimtab.console.access import Visitor
from trimtab.console.documents import document
from trimtab.console.rendering import page

pages, api = APIRouter(), APIRouter(tags=["models"])

LIVE = ("window", "revision")


@pages.get("/models/{model}/versions/{version}")
def version_page(visit: Visitor, model: str, version: int) -> Response:
    """Show a version."""
    found = version_overview(visit.workspace, model, version)
    return page(
        visit.request,
        "version.html",
        title=f"{found.model} {version}",
        sentence=found.sentence,
        section="Models",
        crumbs=(("models", "/models"), (found.model, f"/models/{found.model}"), (f"version {version}", "")),
        live=LIVE,
        visit=visit,
        found=found,
        wording=wording,
    )


@pages.get("/models/{model}/revisions/{number}")
def revision_page(visit: Visitor, model: str, number: int) -> Response:
    """Show a revision."""
    found = revision_overview(visit.workspace, model, number)
    return page(
        visit.request,
        "revision.html",
        title=f"{found.model}, revision {number}",
        sentence=found.sentence,
        section="Models",
        crumbs=(("models", "/models"), (found.model, f"/models/{found.model}"), (f"revision {number}", "")),
        live=LIVE,
        visit=visit,
        found=found,
    )


@api.get("/models/{model}/versions/{version}")
def version(visit: Visitor, model: str, version: int) -> Response:
    """Return a version: what it was made of, what the gates said, when it served."""
    return document(version_overview(visit.workspace, model, version))


@api.get("/models/{model}/revisions/{number}")
def revision(visit: Visitor, model: str, number: int) -> Response:
    """Return a revision of what serves, with the newest ones."""
    return document(revision_overview(visit.workspace, model, number))
