"""What serves: writes Revisions. A rollback is a new revision that restores an old one.

Every change names its cause; the same cause changes once, however often it is asked for.
"""

from __future__ import annotations

from typing import Literal

from trimtab.app.workspace import Workspace
from trimtab.clock import Clock
from trimtab.errors import ActionError
from trimtab.policy import Rollout
from trimtab.records import Assignment, Bundle, Revision, Role
from trimtab.stores.metadata import Metadata, latest

Change = Literal["deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"]
CANDIDATES: tuple[Role, ...] = ("challenger", "shadow")


class Rollouts:
    """Changes what serves of one model."""

    def __init__(self, metadata: Metadata, policy: Rollout, model: str, clock: Clock) -> None:
        self._metadata = metadata
        self._policy = policy
        self._model = model
        self._clock = clock

    def current(self) -> Revision | None:
        """Return the revision that serves, or None."""
        return latest(self._metadata, Revision, model=self._model)

    def deploy(self, bundle: Bundle, *, cause: str, reason: str, by: str) -> Revision:
        """Bring a bundle into service: as champion when there is none, else as the policy's strategy says."""
        now = self.current()
        if now is None or self._policy.strategy == "blue-green":
            return self._write("deploy", (_champion(bundle.id, bundle.version),), cause, reason, by)
        champion = _only(now, "champion")
        if champion.bundle == bundle.id:
            return now
        if self._policy.strategy == "shadow":
            shadow = Assignment(role="shadow", bundle=bundle.id, version=bundle.version, weight=0.0)
            return self._write("shadow", (_champion(champion.bundle, champion.version), shadow), cause, reason, by)
        share = self._policy.split.get("challenger", 0.0)
        if self._policy.strategy == "canary":
            share = 100 * self._policy.canary.steps[0]
        return self._write("challenge", _split(champion, bundle.id, bundle.version, share), cause, reason, by)

    def step(self, *, cause: str, reason: str, by: str) -> Revision:
        """Give a canary its next share of the traffic, after the last one all of it. Raises ActionError without one."""
        if done := self._done(cause):
            return done
        now = self._serving()
        canary = _only(now, "challenger")
        further = [step for step in self._policy.canary.steps if 100 * step > canary.weight + 1e-9]
        if not further:
            return self._write("promote", (_champion(canary.bundle, canary.version),), cause, reason, by)
        split = _split(_only(now, "champion"), canary.bundle, canary.version, 100 * further[0])
        return self._write("step", split, cause, reason, by)

    def promote(self, *, cause: str, reason: str, by: str) -> Revision:
        """Make the challenger, or the shadow, champion. Raises ActionError without one."""
        if done := self._done(cause):
            return done
        candidate = _candidate(self._serving())
        return self._write("promote", (_champion(candidate.bundle, candidate.version),), cause, reason, by)

    def abandon(self, *, cause: str, reason: str, by: str) -> Revision:
        """Take the challenger, or the shadow, out of service. Raises ActionError without one."""
        if done := self._done(cause):
            return done
        now = self._serving()
        _candidate(now)
        champion = _only(now, "champion")
        return self._write("abandon", (_champion(champion.bundle, champion.version),), cause, reason, by)

    def before(self) -> Assignment | None:
        """Return the champion that a rollback would restore, or None."""
        champion = self._serving().bundle_in("champion")
        for revision in self._metadata.find(Revision, model=self._model):
            if revision.bundle_in("champion") != champion:
                return _only(revision, "champion")
        return None

    def rollback(self, *, cause: str, reason: str, by: str, to: int | None = None) -> Revision:
        """Restore what served before: the newest earlier revision with another champion, or number `to`.

        Raises ActionError when nothing else has served.
        """
        if done := self._done(cause):
            return done
        now = self._serving()
        earlier = self._metadata.find(Revision, model=self._model)
        champion = now.bundle_in("champion")
        if to is not None:
            target = next((r for r in earlier if r.number == to), None)
            if target is None:
                raise ActionError(f"model '{self._model}' has no revision {to}; the newest is {now.number}")
        else:
            target = next((r for r in earlier if r.bundle_in("champion") != champion), None)
        if target is None and any(now.bundle_in(role) for role in CANDIDATES):
            target = now  # the first champion has no predecessor: what can be undone is the challenger
        if target is None:
            raise ActionError(f"model '{self._model}' has served nothing but {champion}; there is nothing to restore")
        restored = _only(target, "champion")
        return self._write("rollback", (_champion(restored.bundle, restored.version),), cause, reason, by)

    def _serving(self) -> Revision:
        now = self.current()
        if now is None:
            raise ActionError(f"nothing serves for model '{self._model}' yet; run: trimtab run")
        return now

    def _done(self, cause: str) -> Revision | None:
        return latest(self._metadata, Revision, model=self._model, cause=cause)

    def _write(self, action: Change, assignments: tuple[Assignment, ...], cause: str, reason: str, by: str) -> Revision:
        """Write the next revision. When somebody else took its number, Conflict: ask again."""
        if done := self._done(cause):
            return done
        now = self.current()
        number = now.number + 1 if now else 1
        revision = Revision(
            id=f"{self._model}#{number}",
            created_at=self._clock.now(),
            model=self._model,
            number=number,
            assignments=assignments,
            action=action,
            cause=cause,
            reason=reason,
            by=by,
        )
        self._metadata.put(revision)
        return revision


def open_rollouts(workspace: Workspace, model: str) -> Rollouts:
    """Return the rollouts of one model of a project."""
    return Rollouts(workspace.metadata, workspace.project.policy.rollout, model, workspace.clock)


def _champion(bundle: str, version: int, weight: float = 100.0) -> Assignment:
    return Assignment(role="champion", bundle=bundle, version=version, weight=weight)


def _split(champion: Assignment, bundle: str, version: int, share: float) -> tuple[Assignment, Assignment]:
    """Return champion and challenger, of which the challenger gets `share` percent of the traffic."""
    challenger = Assignment(role="challenger", bundle=bundle, version=version, weight=share)
    return _champion(champion.bundle, champion.version, 100.0 - share), challenger


def _candidate(revision: Revision) -> Assignment:
    """Return what may become champion."""
    found = next((each for each in revision.assignments if each.role in CANDIDATES), None)
    if found is None:
        raise ActionError(f"model '{revision.model}' has no challenger and no shadow in revision {revision.number}")
    return found


def _only(revision: Revision, role: str) -> Assignment:
    for assignment in revision.assignments:
        if assignment.role == role:
            return assignment
    raise ActionError(f"model '{revision.model}' has no {role} in revision {revision.number}")
