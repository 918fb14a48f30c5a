"""What serves: writes Revisions. A rollback is a new revision that restores an old one.

Every change names its cause; the same cause changes once, however often it is asked for. Who judged something before
asking names what was judged: when another version has come in its place meanwhile, the change is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from trimtab.app.project.workspace import Workspace
from trimtab.bundle.manifest import verify
from trimtab.clock import Clock
from trimtab.control.holds import closed_until
from trimtab.errors import ActionError, DataError, NotFound, Outdated
from trimtab.policy.environments import LOCAL
from trimtab.policy.rollout import Rollout
from trimtab.records.record import Origin, Role
from trimtab.records.serving import Assignment, Revision
from trimtab.records.training import Bundle
from trimtab.serving.processes.revision_follower import restorable
from trimtab.stores.metadata.contract import Metadata, latest

Change = Literal["deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"]
REMEDY = "Pack it again from its run: trimtab repair"
CANDIDATES: tuple[Role, ...] = ("challenger", "shadow")


class Rollouts:
    """Changes what serves of one model."""

    def __init__(
        self,
        metadata: Metadata,
        policy: Rollout,
        model: str,
        clock: Clock,
        inspect: Callable[[str], None] = lambda bundle: None,
        *,
        keep: int = 0,
        seen: int | None = None,
        admit: Callable[[Bundle], None] = lambda bundle: None,
        first: str = "trimtab run",
    ) -> None:
        """inspect: raises for a bundle, given by id, whose files are not what was registered. admit: raises for a
        bundle that may not be brought into service here; a way back is not asked. keep: so many former
        champions stay as shadows. seen: number of the revision that the person who asks has seen; a change of another
        one raises Outdated. first: the command that brings a first bundle into service."""
        self._seen = seen
        self._keep = keep
        self._inspect = inspect
        self._admit = admit
        self._first = first
        self._metadata = metadata
        self._policy = policy
        self._model = model
        self._clock = clock

    def current(self) -> Revision | None:
        """Return the revision that serves, or None."""
        return latest(self._metadata, Revision, model=self._model)

    def refuse_unseen(self, now: Revision | None) -> None:
        """Raise Outdated when the present revision is not the one that was seen."""
        if self._seen is not None and now is not None and now.number != self._seen:
            raise Outdated(
                f"revision {now.number} came meanwhile ({now.action} by {now.by}: {now.reason}), so nothing is "
                "changed; look again"
            )

    def deploy(
        self,
        bundle: Bundle,
        *,
        cause: str,
        reason: str,
        by: str,
        role: Role | None = None,
        share: float | None = None,
        origin: Origin | None = None,
    ) -> Revision:
        """Bring a bundle into service: as champion when there is none, else as the policy's strategy says.

        role: what it becomes, instead of what the strategy says. share: of a challenger's traffic, between 0 and 1,
        instead of the policy's. origin: of a bundle that comes from another environment. Raises ActionError for a
        challenger or a shadow without a champion, and for a share of another role.
        """
        self._admit(bundle)
        now, asked = self.current(), role
        role = role or self._role()
        if share is not None and role != "challenger":
            raise ActionError(f"a {role} has no share of the traffic to name; a challenger has")
        if now is None and (asked in CANDIDATES or share is not None):
            raise ActionError(f"nothing serves for model '{self._model}' yet; the first bundle becomes its champion")
        if now is None or role == "champion":
            return self._write(now, "deploy", (_champion(bundle.id, bundle.version),), cause, reason, by, origin=origin)
        champion = _only(now, "champion")
        if champion.bundle == bundle.id:
            return now
        if role == "shadow":
            shadow = Assignment(role="shadow", bundle=bundle.id, version=bundle.version, weight=0.0)
            both = (_champion(champion.bundle, champion.version), shadow)
            return self._write(now, "shadow", both, cause, reason, by, origin=origin)
        percent = self._first_percent() if share is None else _percent(share)
        split = _split(champion, bundle.id, bundle.version, percent)
        return self._write(now, "challenge", split, cause, reason, by, origin=origin)

    def step(
        self, *, cause: str, reason: str, by: str, judged: int | None = None, share: float | None = None
    ) -> Revision:
        """Give a challenger its next share of the traffic by the policy's canary, after the last one all of it.

        judged: number of the revision that held out. share: between 0 and 1, to give that instead. Raises ActionError
        without a challenger, or under another revision.
        """
        if done := self._done(cause):
            return done
        now = self._serving()
        if judged not in (None, now.number):
            raise ActionError(f"model '{self._model}' serves by revision {now.number}; judged was revision {judged}")
        challenger = _only(now, "challenger")
        further = [100 * step for step in self._policy.canary.steps if 100 * step > challenger.weight + 1e-9]
        if share is not None:
            further = [_percent(share)]
        if not further:
            return self._write(now, "promote", (_champion(challenger.bundle, challenger.version),), cause, reason, by)
        if further[0] == challenger.weight:
            return now
        split = _split(_only(now, "champion"), challenger.bundle, challenger.version, further[0])
        return self._write(now, "step", split, cause, reason, by)

    def history(self) -> Sequence[Revision]:
        """Return every revision, newest first."""
        return self._metadata.find(Revision, model=self._model)

    def promote(self, *, cause: str, reason: str, by: str, judged: int | None = None) -> Revision:
        """Make the challenger, or the shadow, champion.

        judged: its version, of one that was judged. Raises ActionError without one, or when it is another.
        """
        if done := self._done(cause):
            return done
        now = self._serving()
        candidate = _candidate(now, judged)
        return self._write(now, "promote", (_champion(candidate.bundle, candidate.version),), cause, reason, by)

    def abandon(self, *, cause: str, reason: str, by: str, judged: int | None = None) -> Revision:
        """Take the challenger, or the shadow, out of service; a kept shadow only when its version is named.

        judged: its version, of one that was judged. Raises ActionError without one, or when it is another.
        """
        if done := self._done(cause):
            return done
        now = self._serving()
        if judged is not None and any(a.kept and a.version == judged for a in now.assignments):
            rest = tuple(a for a in now.assignments if not (a.kept and a.version == judged))
            return self._write(now, "abandon", rest, cause, reason, by, keep=0)
        _candidate(now, judged)
        champion = _only(now, "champion")
        return self._write(now, "abandon", (_champion(champion.bundle, champion.version),), cause, reason, by)

    def before(self) -> Assignment | None:
        """Return the champion that a rollback would restore, or None. Raises ActionError when nothing serves."""
        self._serving()
        found = restorable(self._metadata.find(Revision, model=self._model))
        return None if found is None else _only(found, "champion")

    def way_back(self, version: int, *, cause: str, reason: str, by: str, judged: int) -> Revision:
        """Make a kept shadow champion again; the present champion stays as a shadow, as it broke no limit.

        judged: version of the champion that the shadow leads. Raises ActionError when another one serves, or the
        version is no kept shadow.
        """
        if done := self._done(cause):
            return done
        now = self._serving()
        champion = _only(now, "champion")
        if champion.version != judged:
            raise _replaced(now, champion, judged)
        target = next((a for a in now.assignments if a.kept and a.version == version), None)
        if target is None:
            kept = [a.version for a in now.assignments if a.kept]
            raise ActionError(f"model '{self._model}' keeps no version {version} as a shadow; it keeps {kept}")
        restored = (_champion(target.bundle, target.version),)
        return self._write(now, "rollback", restored, cause, reason, by, former=True)

    def rollback(
        self,
        *,
        cause: str,
        reason: str,
        by: str,
        to: int | None = None,
        judged: int | None = None,
        cut: bool = False,
    ) -> Revision:
        """Restore what served before: the champion of revision `to`, else the newest other one that may come back.

        What a rollback has ended comes back only by its number. judged: version of the champion that was judged. cut:
        whether answers that it is streaming end at once.
        Raises ActionError when nothing else may come back, or when another champion serves.
        """
        if done := self._done(cause):
            return done
        earlier = self._metadata.find(Revision, model=self._model)
        now = earlier[0] if earlier else self._serving()
        champion = _only(now, "champion")
        if judged not in (None, champion.version):
            raise _replaced(now, champion, judged)
        if to is not None:
            target = next((r for r in earlier if r.number == to), None)
            if target is None:
                raise ActionError(f"model '{self._model}' has no revision {to}; the newest is {now.number}")
        else:
            target = restorable(earlier)
        if target is None and any(now.bundle_in(role) for role in CANDIDATES):
            target = now  # without a predecessor, what can be undone is the challenger
        if target is None:
            raise ActionError(self._nothing_to_restore(earlier, champion))
        restored = _only(target, "champion")
        back = (_champion(restored.bundle, restored.version),)
        return self._write(now, "rollback", back, cause, reason, by, former=False, cut=cut)

    def _nothing_to_restore(self, earlier: Sequence[Revision], champion: Assignment) -> str:
        other = next((r for r in earlier if r.bundle_in("champion") not in (None, champion.bundle)), None)
        if other is None:
            return f"model '{self._model}' has served nothing but {champion.bundle}; there is nothing to restore"
        return (
            f"there is nothing to restore: all that model '{self._model}' served before {champion.bundle} was rolled "
            f"back; to bring {other.bundle_in('champion')} back nevertheless, name its revision: --to {other.number}"
        )

    def planned(self) -> tuple[Role, float | None]:
        """Return what a new bundle becomes by the policy, and its percent of the traffic; None for a shadow."""
        if self.current() is None:
            return "champion", 100.0
        role = self._role()
        shares = {"champion": 100.0, "challenger": self._first_percent()}
        return role, shares.get(role)

    def _role(self) -> Role:
        """Return what the policy's strategy makes of a new bundle."""
        roles: dict[str, Role] = {"blue-green": "champion", "shadow": "shadow"}
        return roles.get(self._policy.strategy, "challenger")

    def _first_percent(self) -> float:
        if self._policy.strategy == "canary":
            return 100 * self._policy.canary.steps[0]
        return self._policy.split.get("challenger", 0.0)

    def _serving(self) -> Revision:
        now = self.current()
        if now is None:
            raise ActionError(f"nothing serves for model '{self._model}' yet; run: {self._first}")
        return now

    def _done(self, cause: str) -> Revision | None:
        return latest(self._metadata, Revision, model=self._model, cause=cause)

    def _write(
        self,
        now: Revision | None,
        action: Change,
        assignments: tuple[Assignment, ...],
        cause: str,
        reason: str,
        by: str,
        *,
        former: bool = True,
        keep: int | None = None,
        origin: Origin | None = None,
        cut: bool = False,
    ) -> Revision:
        """Write the revision that follows `now`, with the kept shadows. Raises Conflict when another process took its
        number.

        former: a champion that is replaced becomes a kept shadow. keep: how many there are; None as the policy says.
        """
        if done := self._done(cause):
            return done
        self.refuse_unseen(now)
        if now is not None:
            assignments = (*assignments, *_kept(now, assignments, self._keep if keep is None else keep, former))
        serving = {each.bundle for each in now.assignments} if now else set()
        for bundle in dict.fromkeys(each.bundle for each in assignments if each.bundle not in serving):
            self._inspect(bundle)
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
            as_of=closed_until(self._metadata, self._model),
            origin=origin,
            cut=cut,
        )
        self._metadata.put(revision)
        return revision


def open_rollouts(workspace: Workspace, model: str, *, seen: int | None = None) -> Rollouts:
    """Return the rollouts of one model of a project. A bundle that was changed since it was registered is refused.

    seen: as of Rollouts.
    """

    def inspect(bundle: str) -> None:
        records = workspace.metadata.find(Bundle, model=model)
        try:
            for record in (each for each in records if each.id == bundle):
                verify(workspace.artifacts.open(record.path), record.digest)
        except (DataError, NotFound, OSError) as error:
            raise ActionError(f"bundle {bundle} is damaged, so nothing is changed: {error}. {REMEDY}") from None

    def admit(bundle: Bundle) -> None:
        if bundle.origin is None:
            refuse_made_here(workspace, f"bundle {bundle.id} was made")

    policy = workspace.project.policy
    return Rollouts(
        workspace.metadata, policy.rollout, model, workspace.clock, inspect,
        keep=policy.kept_shadows, seen=seen, admit=admit, first=first_command(workspace),
    )  # fmt: skip


def refuse_made_here(workspace: Workspace, what: str) -> None:
    """Raise ActionError in an environment that asks for approvals, where no bundle serves that was made there.

    what: the beginning of the message, such as "bundle delay/3 was made".
    """
    if workspace.environment.approvals:
        raise ActionError(
            f"{what} in {workspace.name}, where only bundles serve that people have approved "
            f"(environments.{workspace.name}.approvals): {first_command(workspace)}"
        )


def first_command(workspace: Workspace) -> str:
    """Return the command that brings a model into service in an environment."""
    name, rules = workspace.name, workspace.environment
    if rules.is_guarded:
        return f"trimtab promote --from {rules.from_ or 'NAME'} --to {name}"
    return "trimtab run" if name == LOCAL else f"trimtab run --env {name}"


def _kept(now: Revision, assignments: Sequence[Assignment], keep: int, former: bool) -> tuple[Assignment, ...]:
    """Return the kept shadows beside new assignments: a champion that was replaced first, then the kept ones."""
    serving = {each.bundle for each in assignments}
    before = [a for a in now.assignments if a.role == "champion" and former] + [a for a in now.assignments if a.kept]
    stay = [a for a in before if a.bundle not in serving]
    return tuple(
        Assignment(role="shadow", bundle=a.bundle, version=a.version, weight=0.0, kept=True) for a in stay[:keep]
    )


def _champion(bundle: str, version: int, weight: float = 100.0) -> Assignment:
    return Assignment(role="champion", bundle=bundle, version=version, weight=weight)


def _split(champion: Assignment, bundle: str, version: int, share: float) -> tuple[Assignment, Assignment]:
    """Return champion and challenger, of which the challenger gets `share` percent of the traffic."""
    challenger = Assignment(role="challenger", bundle=bundle, version=version, weight=share)
    return _champion(champion.bundle, champion.version, 100.0 - share), challenger


def _percent(share: float) -> float:
    """Return a challenger's share in percent. Raises ActionError for nothing and for everything."""
    if not 0 < share < 1:
        raise ActionError(f"a challenger's share lies between 0% and 100%, not at {share:.0%}; see abandon and promote")
    return round(100 * share, 9)


def _candidate(revision: Revision, judged: int | None) -> Assignment:
    """Return what may become champion; of one that was judged: that version."""
    found = [each for each in revision.assignments if each.role in CANDIDATES and not each.kept]
    if not found:
        raise ActionError(f"model '{revision.model}' has no challenger and no shadow in revision {revision.number}")
    for each in found:
        if judged in (None, each.version):
            return each
    raise _replaced(revision, found[0], judged)


def _replaced(revision: Revision, serves: Assignment, judged: int | None) -> ActionError:
    return ActionError(
        f"model '{revision.model}' has version {serves.version} as {serves.role} in revision {revision.number}; "
        f"judged was version {judged}, so nothing is changed"
    )


def _only(revision: Revision, role: str) -> Assignment:
    for assignment in revision.assignments:
        if assignment.role == role:
            return assignment
    raise ActionError(f"model '{revision.model}' has no {role} in revision {revision.number}")
