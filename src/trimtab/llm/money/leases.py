"""What a process leases, and what its calls hold of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from trimtab.llm.money.spend_scopes import Part
from trimtab.stores.spend.contract import Ask, is_rate
from trimtab.stores.spend.turn_journal import Opened

MONEY_SHARE, RATE_SHARE = 100, 20
"""A lease is one part in so many of its limit, or what waiting calls need."""


class Lease:
    """What this process may still spend of one row, and what it has not booked."""

    __slots__ = ("calls", "cap", "few", "flying", "free", "held", "key", "size", "spent", "touched", "used")

    def __init__(self, part: Part) -> None:
        self.key = part.key
        self.limit(part.cap)
        self.free = self.flying = self.used = self.calls = 0
        """used: settled and not booked. calls: how many are in flight."""
        self.spent = self.held = 0
        """Of the row, when the store was last asked."""
        self.few = False
        """Whether the row is near its cap."""
        self.touched = 0.0

    def limit(self, cap: int | None) -> None:
        """Set the limit. Of a row that had none, what is in flight is held from the next booking on."""
        self.cap = cap
        self.size = 0 if cap is None else cap // (RATE_SHARE if is_rate(self.key) else MONEY_SHARE)

    @property
    def left(self) -> int:
        """What is left of the cap, as far as this process knows."""
        return max(0, (self.cap or 0) - self.spent - self.held + max(0, self.free))


class Hold:
    """What a call holds until it is settled or released."""

    __slots__ = ("ended", "opened", "owner", "taken", "wanted")

    def __init__(self, opened: Opened, wanted: list[tuple[Part, int]]) -> None:
        self.opened, self.wanted = opened, wanted
        self.taken: list[tuple[Lease, int, Part]] = []
        self.ended = False
        self.owner = ""

    @property
    def id(self) -> str:
        """Id of the turn; with an apostrophe where another call in flight has the same."""
        return self.opened.id


class Waiter:
    """A call whose leases do not suffice."""

    __slots__ = ("future", "hold", "started")

    def __init__(self, hold: Hold) -> None:
        self.hold, self.started = hold, False
        self.future: Future[Hold] = Future()


def ask_for(lease: Lease, amounts: Sequence[int], wished: bool) -> Ask | None:
    """Return what to ask of a lease's row; None where it suffices."""
    left, needs = lease.free, []
    for amount in amounts:
        need = amount - left
        left = max(0, left - amount) if need <= 0 else 0
        if need > 0:
            needs.append(need)
    if not needs and not wished:
        return None
    assert lease.cap is not None
    return Ask(lease.key, lease.cap, tuple(needs), lease.size)
