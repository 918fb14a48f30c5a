"""Requests to retrain, by the API, a command or a person: each is answered by one decision."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from trimtab.control.brakes import (
    BRAKES,
    already_open,
    backing_off,
    broken_pipe,
    cooling_down,
    harmless,
    little_reference,
    over_budget,
    replaced,
)
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft, braked
from trimtab.control.history import ControlHistory
from trimtab.control.impact import JudgedImpact
from trimtab.errors import UsageError
from trimtab.policy.model import Policy
from trimtab.records.control import Decision, RetrainRequest
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.contract import Metadata, latest

KEY = re.compile(r"[\w.:-]{1,100}")
NOT_FOR_REQUESTS = (replaced, harmless, broken_pipe, little_reference, cooling_down, backing_off, already_open)
"""Brakes on what the loop decides by itself. The budget holds for programs, and a person may exceed it."""


def request_retraining(
    metadata: Metadata,
    model: str,
    *,
    key: str,
    source: Literal["api", "command", "data", "trigger"],
    reason: str,
    by: str,
    at: datetime,
) -> RetrainRequest:
    """Write a request, which the next step of the controller answers. One with a known key is the first one's.

    Raises UsageError for a key that is none, and without a reason.
    """
    if not KEY.fullmatch(key):
        raise UsageError(f"'{key:.100}' is no key of a request: expected up to 100 letters, digits, or any of _ . : -")
    if not reason.strip():
        raise UsageError("a request to retrain needs a reason: it stands in the record of decisions")
    known = latest(metadata, RetrainRequest, model=model, key=key)
    if known is not None:
        return known
    request = RetrainRequest(
        id=f"{model}/request/{key}",
        created_at=at,
        model=model,
        key=key,
        source=source,
        reason=reason.strip(),
        by=by,
    )
    metadata.put(request)
    return metadata.get(RetrainRequest, request.id)  # the same request at the same time may have come first


def open_requests(metadata: Metadata, model: str) -> list[RetrainRequest]:
    """Return the requests without a decision, oldest first."""
    found = metadata.find(RetrainRequest, oldest_first=True, model=model)
    if not found:
        return []
    decided = {
        d.window
        for action in ("retrain", "review", "monitor")
        for d in metadata.find(Decision, model=model, action=action)
        if d.trigger == "request"
    }
    return [request for request in found if request.id not in decided]


def about(metadata: Metadata, request: RetrainRequest) -> WindowReport:
    """Return what the decision on a request is about: the time of the newest window, of no rows; not a record."""
    newest = latest(metadata, WindowReport, model=request.model, stage="matured")
    at: datetime = newest.end if newest is not None else request.created_at
    return WindowReport(
        id=request.id,
        created_at=request.created_at,
        model=request.model,
        version=newest.version if newest is not None else 0,
        role="champion",
        stage="matured",
        start=at,
        end=at,
        rows=0,
        served_rows=0,
        labelled=0,
        coverage=0.0,
        metrics={},
    )


def decide_request(request: RetrainRequest, window: WindowReport, policy: Policy, history: ControlHistory) -> Draft:
    """Return the decision on a request: to retrain, unless a brake that holds for requests says otherwise."""
    cause = Cause(window=window, signals=())
    impact = JudgedImpact(per_day=0.0, level="low", reason="not judged")
    band, _ = policy.decide.matrix.band(1.0)
    reasons = [f"requested by {request.by} ({request.source}): {request.reason}"]
    left_out = NOT_FOR_REQUESTS if request.source != "command" else (*NOT_FOR_REQUESTS, over_budget)
    brakes = [brake for brake in BRAKES if brake not in left_out]
    found = braked(cause, impact, policy, history, "retrain", reasons, proposal=True, brakes=brakes)
    return Draft(
        cause=cause,
        band=band,
        impact_per_day=0.0,
        impact="low",
        cell="retrain",
        action=found.action,
        reasons=tuple(reasons),
        trigger="request",
        judged=history.champion,
        held_by=found.held_by,
        held_until=found.held_until,
    )
