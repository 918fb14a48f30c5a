"""What the gateway's guard does about a broken limit, and when a canary takes its next step. Called by control.

A breach is recorded like any decision: the seconds that were seen as a window, the statistic as a signal, a decision
in the ledger, then the revision that undoes the change. Each revision is acted on once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from trimtab.app.rollout import Rollouts, open_rollouts
from trimtab.app.workspace import Workspace
from trimtab.clock import from_micros
from trimtab.control import Cause, Draft, Ledger
from trimtab.errors import ActionError, TrimtabError
from trimtab.records import Action, Assignment, Decision, Revision, Signal, WindowReport
from trimtab.serving.counts import Snapshot, difference
from trimtab.serving.guard import Breach, judge
from trimtab.serving.orders import COUNTS
from trimtab.serving.snapshots import read_all

BY = "guard"
LOOK = timedelta(seconds=0.5)
LOOK_BACK = timedelta(minutes=10)
"""Of the champion before, the scores of so long are what a jump is measured from."""

log = logging.getLogger(__name__)


class Guarding:
    """The guard and the canary of a project's models. Belongs to one thread."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._limits = workspace.project.policy.rollout.rollback_when
        self._canary = workspace.project.policy.rollout.canary
        self._folder = workspace.run_folder / COUNTS
        self._seen: deque[Snapshot] = deque()
        self._since: dict[str, Snapshot] = {}
        """By revision: what was counted when it was first seen."""
        self._before: dict[str, list[float]] = {}
        """By revision: the scores of the champion before, as a histogram."""
        self._acted: set[str] = set()
        self._looked: datetime | None = None

    def step(self, history: Mapping[str, Sequence[Revision]]) -> None:
        """Look once: roll back what breaks a limit, let canaries go on."""
        now = self._workspace.now()
        if self._looked is not None and now - self._looked < LOOK:
            return
        self._looked = now
        newest = read_all(self._folder, self._workspace.clock)
        oldest = self._remember(newest)
        for revisions in history.values():
            revision = revisions[0]
            if revision.id not in self._since:
                self._since[revision.id] = newest
                self._before[revision.id] = self._scores_before(revisions, newest)
            start = max(oldest, self._since[revision.id], key=lambda snapshot: snapshot.taken_at)
            self._look_at(revision, difference(newest, start), start.taken_at, now)

    def _remember(self, newest: Snapshot) -> Snapshot:
        """Keep the snapshots of the last while; return the one that the guard looks back to."""
        self._seen.append(newest)
        while newest.taken_at - self._seen[0].taken_at > LOOK_BACK / timedelta(microseconds=1):
            self._seen.popleft()
        return next(s for s in self._seen if newest.taken_at - s.taken_at <= self._limits.over)

    def _scores_before(self, revisions: Sequence[Revision], newest: Snapshot) -> list[float]:
        champion = _in_role(revisions[0], "champion")
        before = next((_in_role(older, "champion") for older in revisions[1:]), None)
        if before is None or champion is None or before.bundle == champion.bundle:
            return []
        lanes = difference(newest, self._seen[0]).lanes
        found = [lane for key, lane in lanes.items() if key[:2] == (revisions[0].model, before.version) and key.served]
        return [float(count) for count in found[0].scores] if found else []

    def _look_at(self, revision: Revision, seen: Snapshot, start: int, now: datetime) -> None:
        if revision.id in self._acted:
            return
        for assignment in revision.assignments:
            before = self._before[revision.id] if assignment.role == "champion" else ()
            breach = judge(seen, revision.model, assignment.version, assignment.role, self._limits, before)
            if breach is not None:
                self._acted.add(revision.id)
                self._act(revision, assignment, breach, from_micros(start), now)
                return
        if self._workspace.project.policy.rollout.strategy == "canary":
            self._advance(revision, now)

    def _act(self, revision: Revision, assignment: Assignment, breach: Breach, start: datetime, now: datetime) -> None:
        """Record the breach, then undo the change."""
        rollouts = open_rollouts(self._workspace, revision.model)
        action, why = _action(revision, assignment, rollouts)
        decision = self._record(revision, assignment, breach, action, why, start, now)
        log.error("model %s version %d: %s; %s", revision.model, assignment.version, breach.reason, why)
        if decision is None or action != "rollback":
            return
        try:
            if assignment.role == "champion":
                rollouts.rollback(cause=decision.id, reason=breach.reason, by=BY)
            else:
                rollouts.abandon(cause=decision.id, reason=breach.reason, by=BY)
        except ActionError as error:
            log.error("model %s: %s", revision.model, error)

    def _record(
        self,
        revision: Revision,
        assignment: Assignment,
        breach: Breach,
        action: Action,
        why: str,
        start: datetime,
        now: datetime,
    ) -> Decision | None:
        metadata, model = self._workspace.metadata, revision.model
        place = f"{model}/v{assignment.version}/{start.isoformat()}"
        window = WindowReport(
            id=f"{place}/guarded",
            created_at=now,
            model=model,
            version=assignment.version,
            role=assignment.role,
            stage="guarded",
            start=start,
            end=now,
            rows=breach.rows,
            served_rows=breach.rows if assignment.role != "shadow" else 0,
            labelled=0,
            coverage=0.0,
            metrics={breach.statistic: breach.value},
        )
        signal = Signal(
            id=f"{place}/{breach.kind}/guard",
            created_at=now,
            model=model,
            version=assignment.version,
            kind=breach.kind,
            subject="guard",
            start=start,
            end=now,
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
        metadata.put(window)
        metadata.put(signal)
        ledger = Ledger(metadata, model)
        ledger.refresh()
        draft = Draft(
            cause=Cause(window=window, signals=(signal,)),
            band="guard",
            impact_per_day=0.0,
            impact="high",
            cell="rollback",
            action=action,
            reasons=(breach.reason, why, "seen by the gateway's guard; business impact was not judged"),
        )
        return ledger.append(draft, clock=self._workspace.clock)

    def _advance(self, revision: Revision, now: datetime) -> None:
        """Let the canary take its next step when it has held out long enough, on enough requests."""
        canary = _in_role(revision, "challenger")
        if canary is None or now - revision.created_at < timedelta(microseconds=self._canary.hold):
            return
        seen = difference(self._seen[-1], self._since[revision.id])
        lanes = [lane for key, lane in seen.lanes.items() if key[:3] == (revision.model, canary.version, "challenger")]
        rows = sum(lane.rows for lane in lanes if lane.rows)
        errors = sum(lane.errors for lane in lanes)
        limit = self._limits.error_rate
        if rows < self._canary.min_requests or (limit is not None and errors > limit * rows):
            return
        try:
            step = open_rollouts(self._workspace, revision.model).step(
                cause=f"{revision.id}/step",
                reason=f"{rows:,} predictions in {(now - revision.created_at).total_seconds():.0f} s, {errors} failed",
                by=BY,
            )
        except TrimtabError as error:
            log.error("model %s: the canary cannot go on: %s", revision.model, error)
        else:
            log.warning("model %s: revision %d (%s): %s", step.model, step.number, step.action, step.reason)


def _action(revision: Revision, assignment: Assignment, rollouts: Rollouts) -> tuple[Action, str]:
    if assignment.role != "champion":
        return "rollback", f"version {assignment.version} leaves its role as {assignment.role}"
    if revision.action == "rollback":
        return "review", f"version {assignment.version} was itself restored by a rollback; a person should look"
    before = rollouts.before()
    if before is None:
        return "review", "no other version has served, so there is nothing to roll back to"
    return "rollback", f"version {before.version}, which served before, is restored"


def _in_role(revision: Revision, role: str) -> Assignment | None:
    return next((each for each in revision.assignments if each.role == role), None)
