"""Reports that stand alone: the same files as those of `trimtab report`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from trimtab.app.llm.kept_evaluations import evaluation_of
from trimtab.app.overviews.comparison_overview import comparison_overview, comparison_rows
from trimtab.app.pages.comparison_report import comparison_page
from trimtab.app.pages.decision_report import decision_page
from trimtab.app.pages.evaluation_report import evaluation_page
from trimtab.app.pages.model_report import model_page
from trimtab.console.access import Visitor
from trimtab.console.routes.comparison_routes import With, two_versions
from trimtab.errors import NotFound
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import latest

pages, api = APIRouter(), APIRouter()

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
}
"""A report has its style in it, and no script."""


@pages.get("/models/{model}/report")
def model_report(visit: Visitor, model: str) -> Response:
    """Send the report of a model."""
    return _report(model_page(visit.workspace, visit.models(model)[0]))


@pages.get("/models/{model}/decisions/{number}/report")
def decision_report(visit: Visitor, model: str, number: int) -> Response:
    """Send the report of a decision."""
    return _report(decision_page(visit.workspace, visit.models(model)[0], number))


@pages.get("/models/{model}/compare/report")
def comparison_report(visit: Visitor, model: str, versions: With = "") -> Response:
    """Send the report of a comparison. Raises NotFound when nothing was compared."""
    name = visit.models(model)[0]
    found = comparison_overview(visit.workspace, name, two_versions(versions))
    if found.version is None or found.against is None:
        raise NotFound(f"model '{name}': {found.sentence} Next: {found.next}")
    return _report(comparison_page(comparison_rows(visit.workspace, name, (found.version, found.against))))


@pages.get("/experiments/{run}/evaluation")
def evaluation_report(visit: Visitor, run: str) -> Response:
    """Send all items and answers of an evaluation of a prompt. Raises NotFound for a run of a model."""
    found = visit.workspace.metadata.get(Run, run)
    visit.models(found.model)  # raises for a model that the actor may not see
    report = latest(visit.workspace.metadata, GateReport, run=found.id)
    if found.purpose != "evaluate" or report is None:
        raise NotFound(f"run {run} is no evaluation of a prompt")
    return _report(evaluation_page(report, evaluation_of(visit.workspace, found)))


def _report(text: str) -> Response:
    return Response(text, media_type="text/html; charset=utf-8", headers=HEADERS)
