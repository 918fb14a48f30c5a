"""What policies would have done with the past of a model: results, and new backtests."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from trimtab.app.backtest.policy_table import PolicyTable
from trimtab.app.operations.backtest_orders import start_backtest
from trimtab.app.overviews import wording
from trimtab.app.overviews.backtest_charts import backtest_charts
from trimtab.app.overviews.backtest_overview import WORST_WINDOWS, backtest_overview
from trimtab.charts.theme import Frame
from trimtab.console.access import Visitor
from trimtab.console.changes import Key
from trimtab.console.documents import csv_answer, document
from trimtab.console.page_cache import changing
from trimtab.console.rendering import page, segment

pages, api = APIRouter(), APIRouter(tags=["backtest"])

COLUMNS = (
    "policy", "saved", "saved_low", "saved_high", "lost", "loss", "trainings", "refused", "reviews", "promotions",
    "no_better", "judged", "regret", "delay_days", "training_cost", "on_frontier",
)  # fmt: skip


class NewBacktest(BaseModel):
    """What to try, as the options of `trimtab backtest`. Lists may be texts, with a line for each value."""

    reason: str
    policies: list[str] | str = []
    vary: list[str] | str = []
    start: str | None = None
    end: str | None = None
    log: bool = False
    label_delay: str | None = None


@pages.get("/backtest")
def backtests_page(visit: Visitor) -> Response:
    """Go to the backtests of the only model, or show a list of models."""
    names = sorted(visit.actor.models or visit.workspace.project.definitions.models)
    if len(names) == 1:
        return RedirectResponse(f"/models/{segment(names[0])}/backtest", 303)
    return page(
        visit.request,
        "backtests.html",
        visit=visit,
        title="Backtest",
        sentence=wording.sentence(f"choose one of {len(names)} models" if names else "no model is defined"),
        section="Backtest",
        crumbs=[("backtest", "")],
        found=[backtest_overview(visit.workspace, name) for name in names],
    )


@pages.get("/models/{model}/backtest")
def backtest_page(visit: Visitor, model: str) -> Response:
    """Show the newest backtest of a model."""
    return result_page(visit, model, None)


@pages.get("/models/{model}/backtest/{id}.csv")
def result_file(visit: Visitor, model: str, id: str) -> Response:
    """Send the policies of a backtest as CSV."""
    visit.models(model)
    found = backtest_overview(visit.workspace, model, id)
    rows = (
        (
            row.name, row.saved.value, row.saved.low, row.saved.high, row.money.value if row.money else None,
            row.loss.value, row.retrainings, row.refused, row.decisions.get("review", 0), row.promotions,
            row.false_alarms, row.judged, row.regret, row.delay_days, row.training_cost, row.on_frontier,
        )
        for row in (found.table.rows if found.table else ())
    )  # fmt: skip
    return csv_answer(f"backtest-{id}", COLUMNS, rows)


@pages.get("/models/{model}/backtest/{id}")
def result_page(visit: Visitor, model: str, id: str | None) -> Response:
    """Show one backtest."""
    visit.models(model)
    found = backtest_overview(visit.workspace, model, id)
    answer = page(
        visit.request,
        "backtest.html",
        visit=visit,
        title=f"Backtest of {model}",
        sentence=found.sentence,
        section="Backtest",
        crumbs=[(model, f"/models/{segment(model)}"), ("backtest", "")],
        found=found,
        worst=WORST_WINDOWS,
        may_run=visit.may("developer", model),
        charts=backtest_charts(found.table, Frame()) if found.table is not None else None,
        frontier_rows=[(each.name, each.trainings, each.saved, each.interval) for each in found.policies],
    )
    return changing(answer)


@api.get("/models/{model}/backtests")
def backtests(visit: Visitor, model: str) -> Response:
    """Return the backtests of a model, and the newest result."""
    visit.models(model)
    return changing(document(backtest_overview(visit.workspace, model)))


@api.get("/models/{model}/backtests/{id}")
def backtest(visit: Visitor, model: str, id: str) -> Response:
    """Return one backtest: how far it is, and its result."""
    visit.models(model)
    return changing(document(backtest_overview(visit.workspace, model, id)))


@api.post("/models/{model}/backtests")
def run_backtest(visit: Visitor, model: str, body: NewBacktest, key: Key = None) -> Response:
    """Start a backtest; it changes nothing that serves. Needs the role developer."""
    order = start_backtest(
        visit.workspace,
        visit.actor,
        model,
        environment=visit.request.app.state.environment,
        reason=body.reason,
        policies=_lines(body.policies),
        vary=_lines(body.vary),
        start=body.start,
        end=body.end,
        log=body.log,
        label_delay=body.label_delay,
        key=key,
    )
    return document(order)


def _lines(given: list[str] | str) -> list[str]:
    lines = given.splitlines() if isinstance(given, str) else given
    return [line.strip() for line in lines if line.strip()]


def _unit(table: PolicyTable) -> str:
    return table.currency or f"{table.loss_name} a row"
