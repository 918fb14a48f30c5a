"""The guard of a project's gateway: undoes a change when a live limit is broken, and advances a canary.

It records a breach as a decision (incidents.py), then writes the revision that undoes the change. It acts on a version
once per revision. While the metadata store does not answer, it keeps the incident and tries again.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from trimtab.app.gateway.incidents import Incident, action_on, incident_id, record_decision
from trimtab.app.project.child_processes import ALIASES, AliasOrder
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.clock import from_micros
from trimtab.control.holds import hold_reason
from trimtab.errors import ActionError, TrimtabError
from trimtab.guard.live_limits import CanaryResult, judge, judge_canary
from trimtab.policy.rollout import RollbackWhen
from trimtab.records.record import Action
from trimtab.records.serving import Assignment, Revision
from trimtab.serving.orders import COUNTS
from trimtab.serving.telemetry.counts_folder import read_all
from trimtab.stats.gateway_counts import Snapshot, difference, together
from trimtab.stores.metadata.chain import LedgerBroken

BY = "guard"
LOOK = timedelta(seconds=0.5)
LOOK_BACK = timedelta(minutes=10)
"""How much of the previous champion's scores serves as the reference for a jump of scores."""
THINNED = 60_000_000
"""Microseconds between two snapshots that are older than the stretch that is judged."""

log = logging.getLogger(__name__)


class Guard:
    """The guard and the canary of what one gateway serves. Belongs to one thread.

    run_folder: of the gateway; None: that of the project. limits: None: those of the policy for trained models.
    """

    def __init__(
        self, workspace: Workspace, run_folder: Path | None = None, limits: RollbackWhen | None = None
    ) -> None:
        self._workspace = workspace
        self._limits = limits or workspace.project.policy.rollout.rollback_when
        self._canary = workspace.project.policy.rollout.canary
        self._strategy = workspace.project.policy.rollout.strategy
        self._folder = (run_folder or workspace.run_folder) / COUNTS
        self._seen: list[Snapshot] = []
        self._since: dict[str, Snapshot] = {}
        """By revision: what was counted when it was first seen."""
        self._before: dict[str, list[float]] = {}
        """By revision: the scores of the champion before, as a histogram."""
        self._pending: dict[str, Incident] = {}
        """By incident id: breaches that are not recorded or not undone yet."""
        self._acted: set[str] = set()
        self._told: set[str] = set()
        """Ids of incidents whose delay was logged."""
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._looked: datetime | None = None

    def step(self, history: Mapping[str, Sequence[Revision]]) -> None:
        """Check all models once: roll back versions that break a limit, advance canaries."""
        now = self._workspace.now()
        if self._looked is not None and timedelta(0) <= now - self._looked < LOOK:  # a clock may be set back
            return
        self._looked = now
        newest = read_all(self._folder, self._workspace.clock)
        oldest = self._remember(newest)
        waiting = list(self._pending.values())
        for incident in waiting:
            self._act(incident)
        now_serving = {revisions[0].id for revisions in history.values()}
        self._since = {name: snapshot for name, snapshot in self._since.items() if name in now_serving}
        self._before = {name: scores for name, scores in self._before.items() if name in now_serving}
        for revisions in history.values():
            revision = revisions[0]
            if any(incident.revision.id == revision.id for incident in waiting):
                continue
            if revision.id not in self._since:
                self._since[revision.id] = newest
                self._before[revision.id] = self._scores_before(revisions, newest)
            start = max(oldest, self._since[revision.id], key=lambda snapshot: snapshot.taken_at)
            between = [s for s in self._seen[:-1] if start.taken_at < s.taken_at < newest.taken_at]
            self._look_at(revision, [start, *between, newest], now)

    def _remember(self, newest: Snapshot) -> Snapshot:
        """Add the newest snapshot and drop old ones; return the first snapshot of the stretch that is judged."""
        if self._seen and self._seen[-1].taken_at == newest.taken_at:
            self._seen.pop()  # no worker has counted since
        for variant in self._seen[-1].variants.values() if self._seen else ():
            variant.run_inputs = []  # of older snapshots only sums are needed
        self._seen.append(newest)
        self._seen = _thinned(self._seen, newest.taken_at, self._limits.over)
        return next(s for s in self._seen if newest.taken_at - s.taken_at <= self._limits.over)

    def _scores_before(self, revisions: Sequence[Revision], newest: Snapshot) -> list[float]:
        if revisions[0].action == "rollback":
            return []  # the restored champion is expected to score otherwise than the one it replaces
        champion = _in_role(revisions[0], "champion")
        before = next((_in_role(older, "champion") for older in revisions[1:]), None)
        if before is None or champion is None or before.bundle == champion.bundle:
            return []
        variants = difference(newest, self._seen[0]).variants
        own = [
            variant
            for key, variant in variants.items()
            if key[:2] == (revisions[0].model, before.version) and key.served
        ]
        if not own:
            return []
        borders = max(own, key=lambda variant: sum(variant.scores)).borders
        return [float(count) for count in together([variant for variant in own if variant.borders == borders]).scores]

    def _look_at(self, revision: Revision, stretch: Sequence[Snapshot], now: datetime) -> None:
        result = self._canary_result(revision)
        for assignment in revision.assignments:
            if incident_id(revision, assignment) in self._acted:
                continue
            before = self._before[revision.id] if assignment.role == "champion" else ()
            breach = judge(stretch, revision.model, assignment.version, assignment.role, self._limits, before)
            if breach is None and result is not None and assignment.role == "challenger":
                breach = result.breach
            if breach is not None:
                start = from_micros(stretch[0].taken_at)
                incident = Incident(revision=revision, assignment=assignment, breach=breach, start=start, end=now)
                self._pending[incident.id] = incident
                self._act(incident)
                return
        if result is not None:
            self._advance(revision, result, now)

    def _act(self, incident: Incident) -> None:
        """Record the breach, then undo the change; when a store fails, try again at the next step."""
        rollouts, model = open_rollouts(self._workspace, incident.revision.model), incident.revision.model
        try:
            action, cause = self._decide(incident, rollouts)
            if action == "rollback":
                undo = rollouts.rollback if incident.assignment.role == "champion" else rollouts.abandon
                undo(cause=cause, reason=incident.breach.reason, by=BY, judged=incident.assignment.version)
                self._tell_registry(model)
        except ActionError as error:
            log.error("model %s: %s", model, error)
        except TrimtabError as error:
            if incident.id not in self._told:
                log.error("model %s: %s; not undone yet, it is tried again: %s", model, incident.breach.reason, error)
            self._told.add(incident.id)
            return
        del self._pending[incident.id]
        self._acted.add(incident.id)

    def _decide(self, incident: Incident, rollouts: Rollouts) -> tuple[Action, str]:
        """Return the action on an incident, and the id to name as its cause.

        The cause is the decision; while the ledger is broken and takes none, it is the incident.
        """
        model, version = incident.revision.model, incident.assignment.version
        try:
            decision, new = record_decision(incident, rollouts, self._workspace.metadata, self._workspace.clock)
        except LedgerBroken as error:
            action, why = action_on(incident, rollouts)
            reason = f"{incident.breach.reason}; {why}; not in the ledger"
            log.error("model %s version %d: %s: %s", model, version, reason, error)
            return action, incident.id
        if new:
            log.error("model %s version %d: %s", model, version, "; ".join(decision.reasons[:2]))
        return decision.action, decision.id

    def _canary_result(self, revision: Revision) -> CanaryResult | None:
        """Return how the canary did since its revision came; None without one, or when it was judged already."""
        champion, canary = _in_role(revision, "champion"), _in_role(revision, "challenger")
        if self._strategy != "canary" or champion is None or canary is None:
            return None
        if incident_id(revision, canary) in self._acted:
            return None
        seen = difference(self._seen[-1], self._since[revision.id])
        return judge_canary(seen, revision.model, canary.version, champion.version, self._limits)

    def _advance(self, revision: Revision, result: CanaryResult, now: datetime) -> None:
        """Advance the canary when it has held long enough and answered enough requests, unless a freeze or the quiet
        hours hold it back, here by wall time."""
        if now - revision.created_at < timedelta(microseconds=self._canary.hold):
            return
        if result.answered < self._canary.min_requests or not result.passes:
            return
        took = (now - revision.created_at).total_seconds()
        try:
            if hold_reason(self._workspace.metadata, self._workspace.project.policy.decide, revision.model, now):
                return
            step = open_rollouts(self._workspace, revision.model).step(
                cause=f"{revision.id}/step",
                reason=f"{result.answered:,} answers in {took:.0f} s; of {result.rows:,} predictions "
                f"{result.errors} failed",
                by=BY,
                judged=revision.number,
            )
        except TrimtabError as error:
            log.error("model %s: the canary cannot go on: %s", revision.model, error)
        else:
            log.warning("model %s: revision %d (%s): %s", step.model, step.number, step.action, step.reason)
            self._tell_registry(revision.model)

    def _tell_registry(self, model: str) -> None:
        """Set the registry's aliases in a process of its own, without waiting for its end."""
        order = AliasOrder(
            project=str(self._workspace.project.folder),
            environment=self._workspace.environment.model_dump_json(),
            model=model,
        )
        self._helpers = [helper for helper in self._helpers if helper.poll() is None]
        try:
            helper = subprocess.Popen(ALIASES, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
            self._helpers.append(helper)
            assert helper.stdin is not None  # a pipe was asked for
            with helper.stdin as pipe:
                pipe.write(msgspec.json.encode(order))
        except OSError as error:
            log.warning("model %s: its aliases in the registry still name what served before: %s", model, error)


def _thinned(seen: Sequence[Snapshot], now: int, over: int) -> list[Snapshot]:
    """Return the snapshots of the stretch that is judged, and of the time before it one a minute."""
    kept: list[Snapshot] = []
    for snapshot in seen:
        age = now - snapshot.taken_at
        apart = not kept or snapshot.taken_at - kept[-1].taken_at >= THINNED
        if age <= over or (age <= LOOK_BACK / timedelta(microseconds=1) and apart):
            kept.append(snapshot)
    return kept


def _in_role(revision: Revision, role: str) -> Assignment | None:
    return next((each for each in revision.assignments if each.role == role), None)
