"""Runs: list, one run, and what differs between some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from trimtab.app.overviews.experiment_overview import (
    MOST_COMPARED,
    NEWEST,
    ExperimentOverview,
    ExperimentRow,
    RunDetail,
    experiment_overview,
    run_detail,
    run_differences,
    run_plots,
    same_rows,
)
from trimtab.app.overviews.gate_marks import gate_marks
from trimtab.app.overviews.wording import interval
from trimtab.app.overviews.wording import metric as metric_text
from trimtab.charts.choice_panels import RunPoint, gates_panel, runs_panel
from trimtab.charts.theme import Frame, Spec
from trimtab.console.access import Visit, Visitor
from trimtab.console.documents import csv_answer, document
from trimtab.console.later import soon
from trimtab.console.rendering import day, page, with_query

pages, api = APIRouter(), APIRouter(tags=["experiments"])

PAGE_ROWS = 50
FILE_ROWS = 1000
SHOWN_METRICS = 200
CSV = (
    "run", "model", "created_at", "as_of", "bundle", "verdict", "dataset", "code_version", "cost", "cpu_seconds",
    "wall_seconds", "peak_memory_mb",
)  # fmt: skip
Names = Annotated[list[str], Query()]
SORTS = {NEWEST: "newest first", "cost": "cheapest first", "wall_seconds": "quickest first"}


@pages.get("/experiments")
def experiments_page(
    visit: Visitor,
    model: str = "",
    where: str = "",
    sort: str = NEWEST,
    metric: Names = [],  # noqa: B006 - FastAPI copies it
    param: Names = [],  # noqa: B006
    after: str | None = None,
    whole: bool = False,
) -> Response:
    """Show a page of runs. whole: wait for the sorted or filtered list however long it takes."""
    models = visit.models(model)
    read = partial(
        experiment_overview, visit.workspace, models, where=where, sort=sort, metrics=_named(metric),
        params=_named(param), before=after, limit=PAGE_ROWS,
    )  # fmt: skip
    found = read() if whole else soon(read)
    if found is None:
        return page(
            visit.request,
            "later.html",
            visit=visit,
            title="Experiments",
            sentence="The runs are sorted and filtered.",
            section="Experiments",
            crumbs=[("experiments", "/experiments")],
            address=with_query(visit.request, whole="true"),
        )
    return page(
        visit.request,
        "experiments.html",
        visit=visit,
        title="Experiments",
        sentence=found.sentence,
        section="Experiments",
        crumbs=[("experiments", "")],
        live=("run", "gate_report"),
        found=found,
        model=model,
        models=sorted(visit.actor.models or visit.workspace.project.definitions.served),
        where=where,
        sort=sort,
        sorts={**SORTS, **{name: f"best {name} first" for name in found.known_metrics}},
        most=MOST_COMPARED,
        next=with_query(visit.request, after=found.next) if found.next else "",
        csv=f"/experiments.csv{with_query(visit.request, after=None).removeprefix('/experiments')}",
        chart=_chart(found),
        chart_rows=[
            (row.id[:8], row.bundle or "", day(row.as_of), metric_text(row.metrics.get(found.metrics[0])))
            for row in (found.rows if found.metrics else ())
        ],
        currency=visit.workspace.project.policy.impact.currency,
    )


@pages.get("/experiments.csv")
def experiments_file(
    visit: Visitor,
    model: str = "",
    where: str = "",
    sort: str = NEWEST,
    metric: Names = [],  # noqa: B006
    param: Names = [],  # noqa: B006
) -> Response:
    """Send all runs that match as CSV."""
    models, metrics, params = visit.models(model), _named(metric), _named(param)
    first = experiment_overview(visit.workspace, models, where=where, sort=sort, metrics=metrics, params=params)
    columns = [*CSV, *(f"metrics.{name}" for name in first.metrics), *(f"params.{name}" for name in first.params)]

    def rows() -> Iterator[Sequence[Any]]:
        found, before = first, first.next
        while True:
            for row in found.rows:
                own = (getattr(row, "id" if name == "run" else name) for name in CSV)
                chosen = (row.metrics.get(name) for name in first.metrics)
                yield [*own, *chosen, *(row.params.get(name) for name in first.params)]
            if before is None:
                return
            found = experiment_overview(
                visit.workspace, models, where=where, sort=sort, metrics=first.metrics, params=first.params,
                before=before, limit=FILE_ROWS,
            )  # fmt: skip
            before = found.next

    return csv_answer("experiments", columns, rows())


@pages.get("/experiments/diff")
def differences_page(visit: Visitor, run: Names = []) -> Response:  # noqa: B006
    """Show what differs between runs."""
    found = run_differences(visit.workspace, run)
    visit.models(found.runs[0].model)
    return page(
        visit.request,
        "run_differences.html",
        visit=visit,
        title="Runs compared",
        sentence=found.sentence,
        section="Experiments",
        crumbs=[("experiments", "/experiments"), ("compared", "")],
        found=found,
    )


@pages.get("/experiments/diff/rows")
def same_rows_page(visit: Visitor, a: str, b: str) -> Response:
    """Show two runs on rows that neither was fitted on, and their code."""
    _seen(visit, a)
    _seen(visit, b)
    found = same_rows(visit.workspace, a, b)
    return page(
        visit.request,
        "run_rows.html",
        visit=visit,
        title="Runs on the same rows",
        sentence="Both models on rows that neither was fitted on.",
        section="Experiments",
        crumbs=[("experiments", "/experiments"), ("compared", f"/experiments/diff?run={a}&run={b}"), ("rows", "")],
        found=found,
    )


@pages.get("/experiments/{run}")
def run_page(visit: Visitor, run: str) -> Response:
    """Show one run."""
    found = _seen(visit, run)
    plots = soon(lambda: run_plots(visit.workspace, found.facts.run))
    return page(
        visit.request,
        "run.html",
        visit=visit,
        title=f"Run {found.facts.run[:8]}",
        sentence=found.sentence,
        section="Experiments",
        crumbs=[("experiments", "/experiments"), (found.facts.run[:8], "")],
        live=("run", "gate_report"),
        found=found,
        plots=plots or (),
        gates=_gates(found),
        gate_rows=[
            (
                each.gate,
                each.metric,
                each.verdict,
                metric_text(each.value),
                interval(each.low, each.high),
                metric_text(each.threshold),
                each.reason,
            )
            for each in found.gates
        ],
        metric_rows=[(name, metric_text(value)) for name, value in list(found.facts.metrics.items())[:SHOWN_METRICS]],
        currency=visit.workspace.project.policy.impact.currency,
    )


@api.get("/experiments")
def experiments(
    visit: Visitor,
    model: str = "",
    where: str = "",
    sort: str = NEWEST,
    metric: Names = [],  # noqa: B006
    param: Names = [],  # noqa: B006
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=FILE_ROWS)] = PAGE_ROWS,
) -> Response:
    """Return a page of runs. where: filter in MLflow's syntax; after: id of the last run of the page before."""
    return document(
        experiment_overview(
            visit.workspace, visit.models(model), where=where, sort=sort, metrics=_named(metric), params=_named(param),
            before=after, limit=limit,
        )
    )  # fmt: skip


@api.get("/experiments/diff")
def differences(visit: Visitor, run: Names = []) -> Response:  # noqa: B006
    """Return what differs between 2 to 10 runs."""
    found = run_differences(visit.workspace, run)
    visit.models(found.runs[0].model)
    return document(found)


@api.get("/experiments/diff/rows")
def on_same_rows(visit: Visitor, a: str, b: str) -> Response:
    """Return two runs compared on rows that neither was fitted on, and the difference of their code."""
    _seen(visit, a)
    _seen(visit, b)
    return document(same_rows(visit.workspace, a, b))


@api.get("/experiments/{run}")
def one_run(visit: Visitor, run: str) -> Response:
    """Return one run, by its id or the start of it."""
    return document(_seen(visit, run))


def _seen(visit: Visit, run: str) -> RunDetail:
    found = run_detail(visit.workspace, run)
    visit.actor.require("viewer", found.facts.model)
    return found


def _named(names: Sequence[str]) -> list[str]:
    """Return names that are given one by one, or with commas between them."""
    return [part.strip() for name in names for part in name.split(",") if part.strip()]


def _chart(found: ExperimentOverview) -> Spec | None:
    """Return the first metric of the page's runs against the time up to which their data was known."""
    if not found.metrics:
        return None
    (name, *_) = found.metrics
    return runs_panel([_point(row, name) for row in found.rows if name in row.metrics], Frame(), metric=name)


def _point(row: ExperimentRow, metric: str) -> RunPoint:
    return RunPoint(
        name=row.bundle or row.id[:8], time=row.as_of, value=row.metrics[metric], registered=row.bundle is not None
    )


def _gates(found: RunDetail) -> Spec | None:
    marks = gate_marks(found.gates)
    return gates_panel(marks, Frame()) if marks else None
