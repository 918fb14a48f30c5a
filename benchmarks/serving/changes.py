"""A long line of changes of what serves: challenges, steps, promotions, rollbacks, shadows. Called by soak."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from benchmarks.serving.audit import Weights
from benchmarks.serving.model import MODEL, Roles
from trimtab.clock import Clock
from trimtab.records import Revision
from trimtab.stores.metadata import Metadata, latest
from trimtab.testing.bundles import revision

SHARES = (5.0, 10.0, 25.0, 50.0)
"""Percent that a challenger may get."""
Kind = Literal["deploy", "challenge", "shadow", "step", "promote", "abandon", "rollback"]


class Change(NamedTuple):
    """What is to serve next."""

    action: Kind
    roles: Roles


def endless(versions: int, *, seed: int = 0) -> Iterator[Change]:
    """Yield changes, each of which fits what served before; version 1 serves alone at the start."""
    chance = random.Random(seed)
    champion, previous, challenger, share = 1, 1, 0, 0.0
    while True:
        others = [version for version in range(1, versions + 1) if version != champion]
        if challenger:
            kind = chance.choice(("step", "step", "promote", "abandon", "rollback"))
        else:
            kind = chance.choice(("challenge", "challenge", "deploy", "shadow", "rollback"))
        if kind == "challenge":
            challenger, share = chance.choice(others), chance.choice(SHARES)
        elif kind == "step":
            share = chance.choice([other for other in SHARES if other != share])
        elif kind == "promote":
            champion, previous, challenger = challenger, champion, 0
        elif kind == "deploy":
            champion, previous = chance.choice(others), champion
        elif kind == "rollback":
            champion, previous, challenger = previous, champion, 0
        elif kind == "abandon":
            challenger = 0
        roles: dict[int, tuple[Literal["champion", "challenger", "shadow"], float]]
        roles = {champion: ("champion", 100.0 - share if challenger else 100.0)}
        if challenger:
            roles[challenger] = ("challenger", share)
        elif kind == "shadow":
            roles[chance.choice(others)] = ("shadow", 0.0)
        yield Change(kind, roles)  # type: ignore[arg-type]  # one of the words above


def write(book: Metadata, change: Change, clock: Clock) -> int:
    """Write a change as the next revision; return its number."""
    newest = latest(book, Revision, model=MODEL)
    number = 1 if newest is None else newest.number + 1
    plain = revision(MODEL, number, change.roles, created_at=clock.now())
    book.put(msgspec.structs.replace(plain, action=change.action, reason="the soak", by="benchmarks"))
    return number


def weights(book: Metadata) -> Weights:
    """Return what each revision ever written gives each role."""
    return {
        one.number: {a.role: a.weight / 100 for a in one.assignments if a.role != "shadow" and a.weight}
        for one in book.find(Revision, model=MODEL)
    }
