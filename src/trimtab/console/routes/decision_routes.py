"""What was decided and what waits: the page of decisions, that of one decision, and the same as documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query, Response

from trimtab.app.operations.promotion_requests import promotion_states, told
from trimtab.app.overviews import wording
from trimtab.app.overviews.decision_detail import decision_detail
from trimtab.app.overviews.decision_overview import PAGE_ROWS, decision_overview, decision_row
from trimtab.app.reports.decision_list import BRAKES, DecisionFilter, Effect, all_decisions
from trimtab.console.access import Visit, Visitor
from trimtab.console.documents import csv_answer, document, time_of
from trimtab.console.rendering import page, query_of, with_query
from trimtab.errors import UsageError, nearest
from trimtab.records.control import Trigger
from trimtab.records.record import Action, Level

pages, api = APIRouter(), APIRouter(tags=["decisions"])

LIVE = ("decision", "resolution", "workflow_step", "promotion_request", "promotion_answer")
MOST_ROWS = 500
COLUMNS = (
    "id", "model", "number", "version", "start", "end", "band", "p_seq", "p", "impact", "impact_per_day", "cell",
    "action", "trigger", "effect", "held_by", "held_until", "why", "state", "became", "answered", "answered_by",
    "decided_at", "previous_hash", "hash",
)  # fmt: skip
EFFECTS: dict[Effect, str] = {"as_said": "as the policy said", "held_back": "held back", "raised": "raised"}
Text = Annotated[str, Query(max_length=200)]


def _wanted(
    visit: Visitor,
    model: Text = "",
    action: Text = "",
    trigger: Text = "",
    band: Text = "",
    impact: Text = "",
    cell: Text = "",
    effect: Text = "",
    held_by: Text = "",
    answered_by: Text = "",
    since: Annotated[str, Query(alias="from", description="Begin of event time, ISO 8601.")] = "",
    until: Annotated[str, Query(alias="to", description="End of event time, ISO 8601.")] = "",
) -> DecisionFilter:
    """Return which decisions are wanted. Raises UsageError, Forbidden and DefinitionError."""
    known = visit.workspace.project.policy.decide.matrix.root
    models = visit.models(model)
    return DecisionFilter(
        model=models[0] if model else models or None,
        action=_choice("action", action, get_args(Action)),
        trigger=_choice("trigger", trigger, get_args(Trigger)),
        band=_choice("band", band, tuple(known)),
        impact=_choice("impact", impact, get_args(Level)),
        cell=_choice("cell", cell, get_args(Action)),
        effect=_choice("effect", effect, get_args(Effect)),
        held_by=_choice("held_by", held_by, tuple(BRAKES)),
        answered_by=answered_by or None,
        since=time_of("from", since),
        until=time_of("to", until),
    )


Wanted = Annotated[DecisionFilter, Depends(_wanted)]


@pages.get("/decisions")
def decisions_page(
    visit: Visitor, wanted: Wanted, after: str | None = None, check: str = "", group: str = "yes"
) -> Response:
    """Show what waits, what was decided, and how often in each cell. check: all verifies the whole chain."""
    found = decision_overview(visit.workspace, wanted, before=after or None, whole=check == "all")
    names = ("model", "action", "trigger", "band", "impact", "cell", "effect", "held_by", "answered_by", "from", "to")
    return page(
        visit.request,
        "decisions.html",
        visit=visit,
        title="Decisions",
        sentence=found.sentence,
        section="Decisions",
        crumbs=(("decisions", ""),),
        live=LIVE,
        found=found,
        promotions=[each for each in promotion_states(visit.workspace) if each.state in ("waits", "approved")],
        told=told,
        grouped=group != "no" and not wanted.effect,
        wanted={name: visit.request.query_params.get(name, "") for name in names},
        actions=get_args(Action),
        levels=get_args(Level),
        effects=EFFECTS,
        brakes=BRAKES,
        largest=max((cell.windows for cell in found.cells), default=0),
        query_of=query_of(visit.request, *names),
        next=with_query(visit.request, after=found.next) if found.next else "",
        wording=wording,
    )


@pages.get("/models/{model}/decisions/{number}")
def decision_page(visit: Visitor, model: str, number: int) -> Response:
    """Show one decision: its evidence, its brakes, what was done, and why nothing else was."""
    visit.models(model)
    found = decision_detail(visit.workspace, model, number)
    return page(
        visit.request,
        "decision.html",
        visit=visit,
        title=f"{model} decision {number}",
        sentence=found.sentence,
        section="Decisions",
        crumbs=(
            ("models", "/models"),
            (model, f"/models/{model}"),
            ("decisions", f"/decisions?model={model}"),
            (str(number), ""),
        ),
        live=LIVE,
        found=found,
        held={brake.word for brake in found.brakes if brake.state == "held back"},
        wording=wording,
    )


@api.get("/decisions")
def decisions(
    visit: Visitor,
    wanted: Wanted,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = PAGE_ROWS,
    check: Annotated[str, Query(description="all verifies the whole chain, not its newest part.")] = "",
    format: str = "json",
) -> Response:
    """Return decisions, the last written first, with what waits and how often each cell of the matrix was met.

    format=csv sends all that match, with their hashes.
    """
    if format == "csv":
        return csv_answer("decisions", COLUMNS, _rows(visit, wanted))
    if format != "json":
        raise UsageError(f"format: '{format}'; expected json or csv")
    return document(decision_overview(visit.workspace, wanted, limit=limit, before=after or None, whole=check == "all"))


@api.get("/models/{model}/decisions/{number}")
def decision(visit: Visitor, model: str, number: int) -> Response:
    """Return one decision: its evidence, its brakes, what was done, and why nothing else was."""
    visit.models(model)
    return document(decision_detail(visit.workspace, model, number))


def _rows(visit: Visit, wanted: DecisionFilter) -> Iterator[list[Any]]:
    for one in all_decisions(visit.workspace, wanted):
        row = decision_row(visit.workspace, one)
        yield [getattr(row, column) for column in COLUMNS]


def _choice(name: str, text: str, allowed: tuple[Any, ...]) -> Any:
    """Return a value of a query; None where it is empty. Raises UsageError."""
    if text and text not in allowed:
        raise UsageError(f"{name}: '{text}' is none of {', '.join(allowed)}.{nearest(text, allowed)}")
    return text or None
