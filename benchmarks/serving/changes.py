"""Makes a sequence of changes of the bundles in service, as verbs of the command line: deploys, steps, rollbacks.

Each change has the expected revision after it, computed here and not by the tested code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from benchmarks.serving.audit import Weights
from benchmarks.serving.model import Roles
from trimtab.records.record import Role
from trimtab.records.serving import Revision

SHARES = (5, 10, 25, 50)
"""Percent that a challenger may get; the policy's canary has the same steps."""
SPLIT = 10
"""Percent that the policy gives to a challenger."""
Kind = Literal["deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"]
ALONE: Mapping[bool, tuple[Kind, ...]] = {
    False: ("challenge", "challenge", "deploy", "shadow"),
    True: ("challenge", "challenge", "deploy", "shadow", "rollback"),
}
"""What may come while a champion serves alone; a rollback where another one has served."""
WITH_SECOND: Mapping[Role, tuple[Kind, ...]] = {
    "challenger": ("step", "step", "promote", "abandon", "rollback"),
    "shadow": ("promote", "abandon", "challenge"),
}


class Change(NamedTuple):
    """A verb with its arguments, and what is to come of it."""

    verb: str
    arguments: Sequence[str]
    action: Kind
    roles: Roles


def endless(versions: int, *, seed: int = 0) -> Iterator[Change]:
    """Yield changes, each of which fits what served before; version 1 serves alone by revision 1 at the start."""
    state = _State(versions, random.Random(seed))
    while True:
        yield state.next()


class _State:
    """What serves, and what has served."""

    def __init__(self, versions: int, chance: random.Random) -> None:
        self._versions = range(1, versions + 1)
        self._chance = chance
        self._champions = [1]
        """Of each revision."""
        self._replaced: int | None = None
        """The champion before, unless a rollback ended it."""
        self._second: tuple[Role, int, float] | None = None

    def next(self) -> Change:
        """Choose a change, and note what serves after it."""
        others_served = len(set(self._champions)) > 1
        if self._second is None:
            kind = self._chance.choice(ALONE[others_served])
        else:
            kind = self._chance.choice(WITH_SECOND[self._second[0]])
            if kind == "rollback" and not others_served:
                kind = "abandon"
        change = getattr(self, f"_{kind}")()
        self._champions.append(next(version for version, (role, _) in change.roles.items() if role == "champion"))
        return change  # type: ignore[no-any-return]  # of one of the methods below

    def _deploy(self) -> Change:
        version = self._other()
        self._replace(version)
        return self._change("deploy", "deploy", "--as", "champion", "--version", f"{version}")

    def _challenge(self) -> Change:
        share = self._chance.choice((None, *SHARES))  # None: as the policy says, which asks for a challenger
        version = self._other()
        self._second = "challenger", version, share or SPLIT
        own = () if share is None else ("--as", "challenger", "--share", f"{share}%")
        return self._change("challenge", "deploy", "--version", f"{version}", *own)

    def _shadow(self) -> Change:
        version = self._other()
        self._second = "shadow", version, 0
        return self._change("shadow", "deploy", "--as", "shadow", "--version", f"{version}")

    def _step(self) -> Change:
        assert self._second is not None
        role, version, share = self._second
        further = [each for each in SHARES if each > share]
        if self._chance.random() < 0.5:
            named = self._chance.choice([each for each in SHARES if each != share])
            self._second = role, version, named
            return self._change("step", "step", "--share", f"{named}%")
        if further:
            self._second = role, version, further[0]
            return self._change("step", "step")
        self._replace(version)
        return self._change("promote", "step")

    def _promote(self) -> Change:
        assert self._second is not None
        self._replace(self._second[1])
        return self._change("promote", "promote")

    def _abandon(self) -> Change:
        self._second = None
        return self._change("abandon", "abandon")

    def _rollback(self) -> Change:
        now, named = self._champions[-1], list[str]()
        if self._replaced is not None and self._chance.random() < 0.5:
            champion = self._replaced
        else:
            number = self._chance.choice([n for n, each in enumerate(self._champions, 1) if each != now])
            champion, named = self._champions[number - 1], ["--to", f"{number}"]
        self._replace(champion)
        self._replaced = None
        return self._change("rollback", "rollback", *named)

    def _replace(self, champion: int) -> None:
        self._replaced, self._second = self._champions[-1], None
        self._next = champion

    def _other(self) -> int:
        return self._chance.choice([version for version in self._versions if version != self._champions[-1]])

    def _change(self, action: Kind, verb: str, *arguments: str) -> Change:
        champion = self._champions[-1] if action not in ("deploy", "promote", "rollback") else self._next
        if self._second is None:
            return Change(verb, arguments, action, {champion: ("champion", 100.0)})
        role, version, share = self._second
        return Change(verb, arguments, action, {champion: ("champion", 100.0 - share), version: (role, float(share))})


def roles_of(revision: Revision) -> Roles:
    """Return what serves by a revision."""
    return {each.version: (each.role, each.weight) for each in revision.assignments}


def weights(revisions: Sequence[Revision]) -> Weights:
    """Return what each revision gives each role."""
    return {
        one.number: {a.role: a.weight / 100 for a in one.assignments if a.role != "shadow" and a.weight}
        for one in revisions
    }
