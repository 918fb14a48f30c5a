"""Processes, gaps of the log, storage, findings of doctor, logs, alerts and tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from trimtab.app.operations.alert_orders import send_test
from trimtab.app.operations.token_orders import create_token, revoke_token
from trimtab.app.overviews.system.system_overview import (
    TAIL_LINES,
    SystemOverview,
    alert_summary,
    doctor_findings,
    log_tail,
    system_overview,
    token_list,
)
from trimtab.app.overviews.wording import iso
from trimtab.charts.event_panels import NamedSpan, health_panel
from trimtab.charts.theme import Frame, Spec
from trimtab.console.access import Visitor
from trimtab.console.changes import Change
from trimtab.console.documents import csv_answer, document
from trimtab.console.rendering import page, with_query
from trimtab.records.serving import LogGap

pages, api = APIRouter(), APIRouter(tags=["system"])

PAGE_ROWS = 50
DAY = timedelta(days=1)
USES = {"running": "pass", "trouble": "moderate", "stopped": "severe"}
GAPS = ("id", "worker", "rows", "start", "end", "reason")
Lines = Annotated[int, Query(ge=1, le=5000)]


class NewToken(Change):
    """A token to make. verbs: of the gateway; expires_days: None for never."""

    name: str
    role: str | None = None
    models: list[str] = Field(default=[])
    verbs: list[str] = Field(default=["infer", "chat", "feedback", "read"])
    expires_days: float | None = Field(default=None, gt=0)


class TestOrder(BaseModel):
    """Which channel gets a test message; None: all."""

    channel: str | None = None
    reason: str = ""


@pages.get("/system")
def system_page(visit: Visitor, after: str | None = None, alerts_after: str | None = None) -> Response:
    """Show what runs."""
    found = system_overview(visit.workspace, before=after, limit=PAGE_ROWS)
    alerts = alert_summary(visit.workspace, before=alerts_after, limit=PAGE_ROWS)
    return page(
        visit.request,
        "system.html",
        visit=visit,
        title="System",
        sentence=found.sentence,
        section="System",
        crumbs=[("system", "")],
        live=("log_gap", "revision", "alert", "token", "token_revocation"),
        found=found,
        alerts=alerts,
        health=_health(found),
        health_rows=[(each.name, iso(each.start), iso(each.end), each.state) for each in found.health],
        tokens=token_list(visit.workspace) if visit.may("admin") else (),
        may_read=visit.may("developer"),
        next_gaps=with_query(visit.request, after=found.next_gap) if found.next_gap else "",
        next_alerts=with_query(visit.request, alerts_after=alerts.next) if alerts.next else "",
    )


@pages.get("/system/findings")
def findings_page(visit: Visitor) -> Response:
    """Show what doctor finds, in all models; it takes seconds."""
    visit.actor.require("viewer")
    found = doctor_findings(visit.workspace, visit.request.app.state.environment)
    return page(
        visit.request,
        "findings.html",
        visit=visit,
        title="Findings",
        sentence=f"{sum(each.verdict != 'ok' for each in found)} of {len(found)} checks of `trimtab doctor` need a "
        "look; processes are on the page of the system.",
        section="System",
        crumbs=[("system", "/system"), ("findings", "")],
        findings=found,
    )


@pages.get("/system/logs/{name}")
def log_page(visit: Visitor, name: str, lines: Lines = TAIL_LINES) -> Response:
    """Show the end of a log, without secrets."""
    visit.actor.require("developer")
    return page(
        visit.request,
        "log.html",
        visit=visit,
        title=name,
        sentence=f"The last lines of {name}; tokens and passwords are hidden.",
        section="System",
        crumbs=[("system", "/system"), (name, "")],
        name=name,
        lines=log_tail(visit.workspace, name, lines),
    )


@pages.get("/system/gaps.csv")
def gaps_file(visit: Visitor) -> Response:
    """Send all gaps of the prediction log as CSV."""
    found = visit.workspace.metadata.find(LogGap)
    return csv_answer("log-gaps", GAPS, ([getattr(each, name) for name in GAPS] for each in found))


@api.get("/system")
def system(visit: Visitor, after: str | None = None) -> Response:
    """Return what runs. after: id of the last gap of the page before."""
    return document(system_overview(visit.workspace, before=after))


@api.get("/system/findings")
def findings(visit: Visitor) -> Response:
    """Return what doctor finds; it takes seconds. Needs a role on all models."""
    visit.actor.require("viewer")
    return document(doctor_findings(visit.workspace, visit.request.app.state.environment))


@api.get("/system/logs/{name}")
def log(visit: Visitor, name: str, lines: Lines = TAIL_LINES) -> Response:
    """Return the last lines of a log, without secrets. Needs the role developer on all models."""
    visit.actor.require("developer")
    return document(log_tail(visit.workspace, name, lines))


@api.get("/alerts")
def alerts(
    visit: Visitor, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = PAGE_ROWS
) -> Response:
    """Return channels, alerts that wait, and a page of alerts. after: id of the last alert of the page before."""
    return document(alert_summary(visit.workspace, before=after, limit=limit))


@api.post("/alerts/test")
def test_alerts(visit: Visitor, body: TestOrder) -> Response:
    """Send a test message to a channel, or to all. Needs the role admin."""
    return document(send_test(visit.workspace, visit.actor, body.channel or None))


@api.get("/tokens")
def tokens(visit: Visitor) -> Response:
    """Return all tokens that ever were, without their secrets. Needs the role admin."""
    visit.actor.require("admin")
    return document(token_list(visit.workspace))


@api.post("/tokens")
def make_token(visit: Visitor, body: NewToken) -> Response:
    """Make a token; its secret is in this answer alone. Needs the role admin."""
    token, secret = create_token(
        visit.workspace,
        visit.actor,
        body.name,
        reason=body.reason,
        models=body.models,
        verbs=body.verbs,
        role=body.role,
        expires_in=None if body.expires_days is None else timedelta(days=body.expires_days),
    )
    made: dict[str, Any] = msgspec.to_builtins(token)
    return document({**{name: value for name, value in made.items() if name != "sha256"}, "secret": secret})


@api.post("/tokens/{name}/revocation")
def end_token(visit: Visitor, name: str, body: Change) -> Response:
    """End a token by its name or id. Needs the role admin."""
    return document(revoke_token(visit.workspace, visit.actor, name, reason=body.reason))


def _health(found: SystemOverview) -> Spec | None:
    """Return the states of the last day, or None before the first minute."""
    if not found.health:
        return None
    spans = [NamedSpan(row=each.name, start=each.start, end=each.end, use=USES[each.state]) for each in found.health]
    end = max(span.end for span in spans)
    return health_panel(spans, Frame(start=max(min(span.start for span in spans), end - DAY), end=end))
