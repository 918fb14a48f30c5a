"""The book of decisions, numbered and hash-chained: a changed or removed one shows. Called by controller.py.

Each decision's hash covers all of its fields, the hash of the decision before it included. The chain cannot show
that the newest decisions were cut off: keep the newest hash elsewhere to prove that, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from trimtab.clock import Clock
from trimtab.control.decision import Draft
from trimtab.errors import Conflict, StoreError
from trimtab.records import Decision
from trimtab.stores.metadata import Metadata

GENESIS = "0" * 64
"""previous_hash of decision 1."""

BY = "policy"
"""Who decides when the matrix does."""


class Ledger:
    """All decisions of one model, oldest first. Each window is decided on once."""

    def __init__(self, metadata: Metadata, model: str) -> None:
        self._metadata = metadata
        self._model = model
        self._decisions: list[Decision] = []
        self._windows: set[str] = set()

    @property
    def decisions(self) -> list[Decision]:
        """Decisions as of the last refresh or append."""
        return self._decisions

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        count = self._metadata.count(Decision, model=self._model)
        while count > len(self._decisions):
            newest = self._metadata.find(Decision, model=self._model, limit=count - len(self._decisions))
            again = self._metadata.count(Decision, model=self._model)
            if again == count:
                self._take(reversed(newest))
            count = again  # one that was written meanwhile pushed the oldest out

    def judged(self, window: str) -> bool:
        """Tell whether a window (by the id of its report) was decided on."""
        return window in self._windows

    def append(self, draft: Draft, *, clock: Clock) -> Decision | None:
        """Write the next decision; None when another process has decided on the window meanwhile."""
        while not self.judged(draft.cause.window.id):
            decision = self._next(draft, clock)
            try:
                self._metadata.put(decision)
            except Conflict:
                self.refresh()  # the number is taken
            else:
                self._take([decision])
                return decision
        return None

    def _next(self, draft: Draft, clock: Clock) -> Decision:
        last = self._decisions[-1] if self._decisions else None
        number = last.number + 1 if last else 1
        window = draft.cause.window
        decision = Decision(
            id=f"{self._model}/decision/{number}",
            created_at=clock.now(),
            model=self._model,
            number=number,
            version=window.version,
            window=window.id,
            start=window.start,
            end=window.end,
            band=draft.band,
            p_seq=draft.cause.p_seq,
            p=draft.cause.p,
            impact_per_day=draft.impact_per_day,
            impact=draft.impact,
            cell=draft.cell,
            action=draft.action,
            reasons=draft.reasons,
            signals=tuple(s.id for s in draft.cause.signals),
            by=BY,
            previous_hash=last.hash if last else GENESIS,
            hash="",
        )
        return msgspec.structs.replace(decision, hash=digest(decision))

    def _take(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self._decisions.append(decision)
            self._windows.add(decision.window)


def digest(decision: Decision) -> str:
    """Return the SHA-256 of a decision's canonical JSON (keys sorted) without its hash."""
    plain = msgspec.to_builtins(decision)
    del plain["hash"]
    for one in msgspec.structs.fields(Decision):  # a field that came later is left out where it says nothing
        if one.default is not msgspec.NODEFAULT and getattr(decision, one.name) == one.default:
            del plain[one.name]
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def verify_chain(decisions: Iterable[Decision]) -> None:
    """Check numbers, links and hashes of one model's decisions, oldest first.

    Raises StoreError naming the first decision that was changed, removed or put in.
    """
    previous = GENESIS
    for number, decision in enumerate(decisions, start=1):
        if decision.number != number:
            raise StoreError(f"the ledger is broken: decision {number} is missing before '{decision.id}'")
        if decision.previous_hash != previous:
            raise StoreError(
                f"the ledger is broken at '{decision.id}': it follows {decision.previous_hash[:12]}..., but the "
                f"decision before it has the hash {previous[:12]}..."
            )
        if digest(decision) != decision.hash:
            raise StoreError(
                f"the ledger is broken at '{decision.id}': its content was changed (its hash is "
                f"{digest(decision)[:12]}..., written was {decision.hash[:12]}...)"
            )
        previous = decision.hash
