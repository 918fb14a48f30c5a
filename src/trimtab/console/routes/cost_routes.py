"""What each model costs: page, documents and CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from trimtab.app.overviews import wording
from trimtab.app.overviews.cost.cost_overview import CostOverview, MonthCost, cost_overview, run_costs
from trimtab.charts.choice_panels import CostBar, cost_panel
from trimtab.charts.theme import Frame
from trimtab.console.access import Visitor
from trimtab.console.documents import csv_answer, document
from trimtab.console.later import soon
from trimtab.console.rendering import page, with_query

pages, api = APIRouter(), APIRouter(tags=["cost"])

PAGE_ROWS = 50
MONTHS = (
    "month",
    "model",
    "training",
    "serving",
    "cpu_seconds",
    "predictions",
    "trainings",
    "lost",
    "saved",
    "counted",
)
RUNS = (
    "run", "model", "as_of", "created_at", "decision", "refit_of", "cpu_seconds", "wall_seconds", "peak_memory_mb",
    "cost",
)  # fmt: skip


@pages.get("/cost")
def cost_page(visit: Visitor, model: str = "", after: str | None = None, whole: bool = False) -> Response:
    """Show what the models cost, and what their mistakes cost. whole: wait for the sums however long they take."""
    models = visit.models(model)
    read = partial(cost_overview, visit.workspace, models)
    found = read() if whole else soon(read)
    if found is None:
        return page(
            visit.request,
            "later.html",
            visit=visit,
            title="Cost",
            sentence="The runs and windows are summed up for the first time.",
            section="Cost",
            crumbs=[("cost", "")],
            address=with_query(visit.request, whole="true"),
        )
    runs = run_costs(visit.workspace, models, before=after, limit=PAGE_ROWS + 1)
    return page(
        visit.request,
        "cost.html",
        visit=visit,
        title="Cost",
        sentence=found.sentence,
        section="Cost",
        crumbs=[("cost", "")],
        live=("window", "run"),
        found=found,
        model=model,
        runs=runs[:PAGE_ROWS],
        next=with_query(visit.request, after=runs[PAGE_ROWS - 1].run) if len(runs) > PAGE_ROWS else "",
        chart=_bars(found),
        month_rows=[_month_row(each, found.currency) for each in found.months],
    )


def _month_row(each: MonthCost, currency: str) -> tuple[str, ...]:
    money = [wording.cost(value, currency) for value in (each.training, each.serving, each.cost)]
    money += [wording.money(value, currency) for value in (each.lost, each.saved)]
    return wording.month(each.month), each.model, *money, wording.count(each.predictions), wording.count(each.counted)


def _bars(found: CostOverview) -> object:
    bars = [
        CostBar(month=f"{each.month:%Y-%m}", kind=kind, value=value)
        for each in found.months
        for kind, value in (
            (("trainings", each.training), ("predictions", each.serving))
            if found.priced
            else (("trainings", each.training_cpu_seconds),)
        )
    ]
    return cost_panel(_summed(bars), Frame(), currency=found.currency if found.priced else "CPU seconds")


def _summed(bars: Sequence[CostBar]) -> list[CostBar]:
    """Return one bar a month and kind, over all models."""
    sums: dict[tuple[str, str], float] = {}
    for bar in bars:
        sums[bar.month, bar.kind] = sums.get((bar.month, bar.kind), 0.0) + bar.value
    return [CostBar(month=month, kind=kind, value=value) for (month, kind), value in sums.items()]


@pages.get("/cost/months.csv")
def months_file(visit: Visitor, model: str = "") -> Response:
    """Send the months as CSV."""
    found = cost_overview(visit.workspace, visit.models(model))
    rows = (
        (
            f"{each.month:%Y-%m}", each.model, each.training, each.serving, each.training_cpu_seconds,
            each.predictions, each.trainings, each.lost, each.saved, each.counted,
        )
        for each in found.months
    )  # fmt: skip
    return csv_answer("cost-months", MONTHS, rows)


@pages.get("/cost/runs.csv")
def runs_file(visit: Visitor, model: str = "") -> Response:
    """Send the trainings as CSV."""
    found = run_costs(visit.workspace, visit.models(model), limit=None)
    return csv_answer("cost-runs", RUNS, ([getattr(each, name) for name in RUNS] for each in found))


@api.get("/cost")
def cost(visit: Visitor, model: str = "") -> Response:
    """Return what the models cost by month, with their budgets."""
    return document(cost_overview(visit.workspace, visit.models(model)))


@api.get("/cost/runs")
def cost_of_runs(
    visit: Visitor, model: str = "", after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = PAGE_ROWS
) -> Response:
    """Return what trainings cost, the newest first. after: id of the last run of the page before."""
    return document(run_costs(visit.workspace, visit.models(model), before=after, limit=limit))
