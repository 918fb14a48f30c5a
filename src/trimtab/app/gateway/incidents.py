"""Records an incident of the guard: a window, a signal and a decision.

There is one decision per version and revision. The window's id names both, so a second attempt, also by another
process, finds the decision that was made.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import Clock
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.ledger import Ledger
from trimtab.errors import Conflict, NotFound
from trimtab.guard.live_limits import Breach
from trimtab.records.control import Decision
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Action
from trimtab.records.serving import Assignment, Revision
from trimtab.stores.metadata.contract import Metadata


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A version that broke a live limit in its role under a revision, and the time in which that was counted."""

    revision: Revision
    assignment: Assignment
    breach: Breach
    start: datetime
    end: datetime

    @property
    def id(self) -> str:
        """The id, from the revision and the version alone."""
        return incident_id(self.revision, self.assignment)


def incident_id(revision: Revision, assignment: Assignment) -> str:
    """Return the id of an incident of a version under a revision."""
    return f"{revision.model}/v{assignment.version}/r{revision.number}"


def record_decision(incident: Incident, rollouts: Rollouts, metadata: Metadata, clock: Clock) -> tuple[Decision, bool]:
    """Record the decision on an incident unless there is one; return it, and whether it is new."""
    ledger = Ledger(metadata, incident.revision.model)
    window_id = f"{incident.id}/guarded"
    with suppress(NotFound):
        before = metadata.get(WindowReport, window_id)
        if found := ledger.on([before]).get(window_id):
            return found, False
    action, why = action_on(incident, rollouts)
    window, signal = _evidence(incident, window_id, metadata, clock)
    draft = Draft(
        cause=Cause(window=window, signals=(signal,)),
        band="guard",
        impact_per_day=0.0,
        impact="high",
        cell="rollback",
        action=action,
        reasons=(signal.reason, why, "seen by the gateway's guard; business impact was not judged"),
        trigger="limit",
    )
    decision = ledger.append(draft, clock=clock)
    if decision is None:
        raise Conflict(f"another process decides on '{window_id}' at the same time")
    return decision, True


def action_on(incident: Incident, rollouts: Rollouts) -> tuple[Action, str]:
    """Return the action on an incident, and the reason."""
    version = incident.assignment.version
    if incident.assignment.role != "champion":
        return "rollback", f"version {version} leaves its role as {incident.assignment.role}"
    if incident.revision.action == "rollback":
        return "review", f"version {version} was itself restored by a rollback; a person should look"
    before = rollouts.before()
    if before is None:
        return "review", "no other version has served that was not rolled back, so there is nothing to roll back to"
    return "rollback", f"version {before.version}, which served before, is restored"


def _evidence(incident: Incident, window_id: str, metadata: Metadata, clock: Clock) -> tuple[WindowReport, Signal]:
    """Write window and signal, or return those that a process wrote before it died."""
    model, version, role, breach = (
        incident.revision.model,
        incident.assignment.version,
        incident.assignment.role,
        incident.breach,
    )
    now = clock.now()
    window = WindowReport(
        id=window_id,
        created_at=now,
        model=model,
        version=version,
        role=role,
        stage="guarded",
        start=incident.start,
        end=incident.end,
        rows=breach.rows,
        served_rows=breach.rows if role != "shadow" else 0,
        labelled=0,
        coverage=0.0,
        metrics={breach.statistic: breach.value},
    )
    signal = Signal(
        id=f"{incident.id}/guard",
        created_at=now,
        model=model,
        version=version,
        kind=breach.kind,
        subject="guard",
        start=incident.start,
        end=incident.end,
        statistic=breach.statistic,
        value=breach.value,
        p=breach.p,
        p_seq=breach.p,
        effect={"limit": breach.limit},
        rows=breach.rows,
        reference_windows=0,
        carriers=(),
        reason=breach.reason,
    )
    try:
        metadata.put(window, signal)
    except Conflict:
        return metadata.get(WindowReport, window.id), metadata.get(Signal, signal.id)
    return window, signal
