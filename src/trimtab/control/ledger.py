"""The ledger of decisions, numbered and hash-chained: a changed or removed one is detected.

Each decision's hash covers all of its fields, the hash of the decision before it included. The chain cannot
show that the newest decisions were removed: keep the newest hash elsewhere to detect that, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from trimtab.clock import Clock
from trimtab.control.decision import Draft
from trimtab.errors import Conflict, StoreError
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.stores.metadata.contract import Metadata, latest

GENESIS = "0" * 64
"""previous_hash of decision 1."""

BY = "policy"
"""`by` of decisions that the policy made."""

LATER_FIELDS = {
    one.name: one.default for one in msgspec.structs.fields(Decision) if one.default is not msgspec.NODEFAULT
}
"""Fields of a Decision with a default, which a hash leaves out where they have it: older hashes hold."""

STARTS_A_QUERY = 300
"""Windows whose decisions are looked up together."""


class Ledger:
    """The decisions of one model, each window decided on once. Reads what it needs, never all of them."""

    def __init__(self, metadata: Metadata, model: str) -> None:
        self._metadata = metadata
        self._model = model

    def on(self, windows: Sequence[WindowReport]) -> dict[str, Decision]:
        """Return the decisions on some windows, by the id of the window's report."""
        starts = list(dict.fromkeys(window.start for window in windows))
        wanted = {window.id for window in windows}
        return {
            decision.window: decision
            for first in range(0, len(starts), STARTS_A_QUERY)
            for decision in self._metadata.find(
                Decision, model=self._model, start=tuple(starts[first : first + STARTS_A_QUERY])
            )
            if decision.window in wanted
        }

    def append(self, draft: Draft, *, clock: Clock) -> Decision | None:
        """Write the next decision; None when another process has decided on the window meanwhile."""
        while not self.on([draft.cause.window]):
            last = latest(self._metadata, Decision, model=self._model)
            decision = following(last, draft, at=clock.now())
            try:
                self._metadata.put(decision)
            except Conflict:
                continue  # the number is taken
            return decision
        return None


def following(last: Decision | None, draft: Draft, *, at: datetime) -> Decision:
    """Return the decision that follows a model's last one, None for the first. at: when it is written."""
    number = last.number + 1 if last else 1
    window = draft.cause.window
    decision = Decision(
        id=f"{window.model}/decision/{number}",
        created_at=at,
        model=window.model,
        number=number,
        version=window.version if draft.judged is None else draft.judged,
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
        trigger=draft.trigger,
        to_version=draft.to_version,
        held_by=draft.held_by,
        held_until=draft.held_until,
    )
    return msgspec.structs.replace(decision, hash=digest(decision))


def digest(decision: Decision) -> str:
    """Return the SHA-256 of a decision's canonical JSON (keys sorted) without its hash."""
    plain = msgspec.to_builtins(decision)
    del plain["hash"]
    for name, default in LATER_FIELDS.items():
        if getattr(decision, name) == default:
            del plain[name]
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def verify_chain(decisions: Iterable[Decision], *, after: Decision | None = None) -> None:
    """Check numbers, links and hashes of one model's decisions, oldest first.

    after: the decision before the first of them, which is not checked itself; None when they begin with number 1.

    Raises StoreError naming the first decision that was changed, removed or put in.
    """
    previous = GENESIS if after is None else after.hash
    for number, decision in enumerate(decisions, start=1 if after is None else after.number + 1):
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
