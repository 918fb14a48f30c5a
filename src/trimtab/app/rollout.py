"""What serves: writes Revisions. A rollback is a new revision that restores an old one.

Every change names its cause; the same cause changes once, however often it is asked for.
"""

from __future__ import annotations

from typing import Literal

from trimtab.app.workspace import Workspace
from trimtab.clock import Clock
from trimtab.errors import ActionError
from trimtab.policy import Rollout
from trimtab.records import Assignment, Bundle, Revision
from trimtab.stores.metadata import Metadata, latest

Change = Literal["deploy", "challenge", "promote", "abandon", "rollback"]


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
        split = self._policy.split
        challenger = Assignment(
            role="challenger", bundle=bundle.id, version=bundle.version, weight=split.get("challenger", 0.0)
        )
        kept = _champion(champion.bundle, champion.version, split.get("champion", 100.0))
        return self._write("challenge", (kept, challenger), cause, reason, by)

    def promote(self, *, cause: str, reason: str, by: str) -> Revision:
        """Make the challenger champion. Raises ActionError without a challenger."""
        if done := self._done(cause):
            return done
        challenger = _only(self._serving(), "challenger")
        return self._write("promote", (_champion(challenger.bundle, challenger.version),), cause, reason, by)

    def abandon(self, *, cause: str, reason: str, by: str) -> Revision:
        """Take the challenger out of service. Raises ActionError without a challenger."""
        if done := self._done(cause):
            return done
        now = self._serving()
        _only(now, "challenger")
        champion = _only(now, "champion")
        return self._write("abandon", (_champion(champion.bundle, champion.version),), cause, reason, by)

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
        if target is None and now.bundle_in("challenger"):
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


def _only(revision: Revision, role: str) -> Assignment:
    for assignment in revision.assignments:
        if assignment.role == role:
            return assignment
    raise ActionError(f"model '{revision.model}' has no {role} in revision {revision.number}")
