"""The first page: whether the loop turns, what waits for a person, what the month brought; and all models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from trimtab.app.overviews.loop_overview import PAGE_MODELS, loop_overview, models_page
from trimtab.app.overviews.wording import money
from trimtab.charts.theme import Frame
from trimtab.charts.window_panels import sparkline
from trimtab.console.access import Visitor
from trimtab.console.documents import document
from trimtab.console.rendering import page

pages, api = APIRouter(), APIRouter(tags=["loop"])

LIVE = ("window", "decision", "resolution", "revision", "workflow_step", "gate_report", "table_version", "run")
SPARK = Frame(width=120)
PageNumber = Annotated[int, Query(alias="page", ge=1, description="Page of the models, from 1 on.")]


@pages.get("/")
def loop_page(visit: Visitor, number: PageNumber = 1) -> Response:
    """Show the loop."""
    found = loop_overview(visit.workspace, page=number)
    return page(
        visit.request,
        "loop.html",
        title="Loop",
        sentence=found.sentence,
        section="Loop",
        live=LIVE,
        visit=visit,
        found=found,
        page_models=PAGE_MODELS,
        spark=_spark,
        money=money,
    )


@pages.get("/models")
def models(visit: Visitor, number: PageNumber = 1) -> Response:
    """Show all models, worst first."""
    found = models_page(visit.workspace, page=number)
    return page(
        visit.request,
        "models.html",
        title="Models",
        sentence=found.sentence,
        section="Models",
        crumbs=(("models", ""),),
        live=LIVE,
        visit=visit,
        found=found,
        page_models=PAGE_MODELS,
        spark=_spark,
        money=money,
    )


@api.get("/loop")
def loop(visit: Visitor, number: PageNumber = 1) -> Response:
    """Return the state of the loop: what waits, the newest record of each stage, the models, the month, events."""
    return document(loop_overview(visit.workspace, page=number))


@api.get("/models", tags=["models"])
def all_models(visit: Visitor, number: PageNumber = 1) -> Response:
    """Return the models of the project, worst first, each with its state in one sentence."""
    return document(models_page(visit.workspace, page=number))


def _spark(losses: tuple[tuple[object, float | None], ...], name: str) -> dict[str, object]:
    return sparkline([loss for _, loss in losses], frame=SPARK, description=name)
