"""What the gateway's guard does about a broken limit, and when a canary takes its next step. Called by control.

A breach is recorded like any decision (breaches.py), then comes the revision that undoes the change. Each version is
acted on once in a revision; while the metadata store is away, the breach waits.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from trimtab.app.gateway.incidents import Case, action_on, case_id, decide_once
from trimtab.app.project.child_processes import ALIASES, AliasOrder
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.clock import from_micros
from trimtab.errors import ActionError, TrimtabError
from trimtab.guard.live_limits import CanaryResult, judge, judge_canary
from trimtab.records.record import Action
from trimtab.records.serving import Assignment, Revision
from trimtab.serving.orders import COUNTS
from trimtab.serving.telemetry.counts_folder import read_all
from trimtab.stats.gateway_counts import Snapshot, difference, together
from trimtab.stores.metadata.chain import LedgerBroken

BY = "guard"
LOOK = timedelta(seconds=0.5)
LOOK_BACK = timedelta(minutes=10)
"""Of the champion before, the scores of so long are what a jump is measured from."""
THINNED = 60_000_000
"""Microseconds between two snapshots of what lies before the stretch that is judged."""

log = logging.getLogger(__name__)


class Guarding:
    """The guard and the canary of a project's models. Belongs to one thread."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._limits = workspace.project.policy.rollout.rollback_when
        self._canary = workspace.project.policy.rollout.canary
        self._strategy = workspace.project.policy.rollout.strategy
        self._folder = workspace.run_folder / COUNTS
        self._seen: list[Snapshot] = []
        self._since: dict[str, Snapshot] = {}
        """By revision: what was counted when it was first seen."""
        self._before: dict[str, list[float]] = {}
        """By revision: the scores of the champion before, as a histogram."""
        self._pending: dict[str, Case] = {}
        """Breaches by the id of their case that are not recorded, or not undone yet."""
        self._acted: set[str] = set()
        self._told: set[str] = set()
        """Cases of which it was told that they have to wait."""
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._looked: datetime | None = None

    def step(self, history: Mapping[str, Sequence[Revision]]) -> None:
        """Look once: roll back what breaks a limit, let canaries go on."""
        now = self._workspace.now()
        if self._looked is not None and timedelta(0) <= now - self._looked < LOOK:  # a clock may be set back
            return
        self._looked = now
        newest = read_all(self._folder, self._workspace.clock)
        oldest = self._remember(newest)
        waiting = list(self._pending.values())
        for case in waiting:
            self._act(case)
        now_serving = {revisions[0].id for revisions in history.values()}
        self._since = {name: snapshot for name, snapshot in self._since.items() if name in now_serving}
        self._before = {name: scores for name, scores in self._before.items() if name in now_serving}
        for revisions in history.values():
            revision = revisions[0]
            if any(case.revision.id == revision.id for case in waiting):
                continue
            if revision.id not in self._since:
                self._since[revision.id] = newest
                self._before[revision.id] = self._scores_before(revisions, newest)
            start = max(oldest, self._since[revision.id], key=lambda snapshot: snapshot.taken_at)
            between = [s for s in self._seen[:-1] if start.taken_at < s.taken_at < newest.taken_at]
            self._look_at(revision, [start, *between, newest], now)

    def _remember(self, newest: Snapshot) -> Snapshot:
        """Keep the snapshots of the last while; return the one that the guard looks back to."""
        if self._seen and self._seen[-1].taken_at == newest.taken_at:
            self._seen.pop()  # nobody has counted on
        for variant in self._seen[-1].variants.values() if self._seen else ():
            variant.run_inputs = []  # of what is looked back to only sums are needed
        self._seen.append(newest)
        self._seen = _thinned(self._seen, newest.taken_at, self._limits.over)
        return next(s for s in self._seen if newest.taken_at - s.taken_at <= self._limits.over)

    def _scores_before(self, revisions: Sequence[Revision], newest: Snapshot) -> list[float]:
        if revisions[0].action == "rollback":
            return []  # what it restores is meant to score otherwise than what it ended
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
            if case_id(revision, assignment) in self._acted:
                continue
            before = self._before[revision.id] if assignment.role == "champion" else ()
            breach = judge(stretch, revision.model, assignment.version, assignment.role, self._limits, before)
            if breach is None and result is not None and assignment.role == "challenger":
                breach = result.breach
            if breach is not None:
                start = from_micros(stretch[0].taken_at)
                case = Case(revision=revision, assignment=assignment, breach=breach, start=start, end=now)
                self._pending[case.id] = case
                self._act(case)
                return
        if result is not None:
            self._advance(revision, result, now)

    def _act(self, case: Case) -> None:
        """Record the breach, then undo the change; what cannot be done now is tried again at the next look."""
        rollouts, model = open_rollouts(self._workspace, case.revision.model), case.revision.model
        try:
            action, cause = self._decide(case, rollouts)
            if action == "rollback":
                undo = rollouts.rollback if case.assignment.role == "champion" else rollouts.abandon
                undo(cause=cause, reason=case.breach.reason, by=BY, judged=case.assignment.version)
                self._tell_registry(model)
        except ActionError as error:
            log.error("model %s: %s", model, error)
        except TrimtabError as error:
            if case.id not in self._told:
                log.error("model %s: %s; not undone yet, it is tried again: %s", model, case.breach.reason, error)
            self._told.add(case.id)
            return
        del self._pending[case.id]
        self._acted.add(case.id)

    def _decide(self, case: Case, rollouts: Rollouts) -> tuple[Action, str]:
        """Return what is to be done about a case, and the cause to name: its decision, or the case itself while the
        ledger is broken and takes no decision."""
        model, version = case.revision.model, case.assignment.version
        try:
            decision, new = decide_once(case, rollouts, self._workspace.metadata, self._workspace.clock)
        except LedgerBroken as error:
            action, why = action_on(case, rollouts)
            reason = f"{case.breach.reason}; {why}; not in the ledger"
            log.error("model %s version %d: %s: %s", model, version, reason, error)
            return action, case.id
        if new:
            log.error("model %s version %d: %s", model, version, "; ".join(decision.reasons[:2]))
        return decision.action, decision.id

    def _canary_result(self, revision: Revision) -> CanaryResult | None:
        """Return how the canary did since its revision came; None without one, or when it was judged already."""
        champion, canary = _in_role(revision, "champion"), _in_role(revision, "challenger")
        if self._strategy != "canary" or champion is None or canary is None:
            return None
        if case_id(revision, canary) in self._acted:
            return None
        seen = difference(self._seen[-1], self._since[revision.id])
        return judge_canary(seen, revision.model, canary.version, champion.version, self._limits)

    def _advance(self, revision: Revision, result: CanaryResult, now: datetime) -> None:
        """Let the canary take its next step when it has held out long enough, on enough requests."""
        if now - revision.created_at < timedelta(microseconds=self._canary.hold):
            return
        if result.answered < self._canary.min_requests or not result.passes:
            return
        took = (now - revision.created_at).total_seconds()
        try:
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
        """Let the registry's aliases follow, in a process of its own that nobody waits for."""
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
