"""The contract of the store of spend: one row a scope and period, from which processes lease.

Money is in integers of 1e-12 of the policy's currency; the same rows carry requests, tokens and calls at once. Times
are microseconds since 1970.

Guarantees
- spent + held <= cap for each row at every moment, over all processes, however they end, as long as no settlement is
  above its bound. More than the bound is booked, and no lease is granted until there is room again.
- A lease is on disk before it is granted. What an owner leased stays held until the owner books it, gives it back, or
  its end is booked.
- A booking is written whole or not at all. Bookings of an owner are numbered; booking a number again changes nothing.
- Safe to share between threads and processes.
- A gateway's worker loads neither SQLAlchemy nor Alembic for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from trimtab.errors import StoreError

FOREVER = 1 << 62
"""End of the period of what has no period."""
BIGGEST = (1 << 63) - 1
"""Largest amount of a row: 9.2 million of the currency."""


class SpendKey(NamedTuple):
    """A scope, such as project or prompt:triage, in one period."""

    scope: str
    start: int
    finish: int


class Ask(NamedTuple):
    """A wish for a lease."""

    key: SpendKey
    cap: int
    needs: tuple[int, ...]
    """Of single calls, in the order in which they came."""
    wish: int
    """What is granted while the row stays below `few`; otherwise single needs are."""


class Granted(NamedTuple):
    """What a lease got, and the row after it."""

    amount: int
    spent: int
    held: int


class Spent(NamedTuple):
    """Calls of one purpose and kind of usage."""

    cost: int = 0
    calls: int = 0
    input: int = 0
    output: int = 0


class AssumedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose end is not known. It counts at its bound until it is settled."""

    id: str
    at: int
    purpose: str
    amounts: tuple[tuple[SpendKey, int], ...]
    """What each row counts for it."""


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed at one owner since its last booking."""

    number: int
    """1 for the first booking of an owner."""
    place: tuple[int, int] = (0, 0)
    """Segment and offset in the owner's journal, up to which its turns are in this booking or an earlier one."""
    spent: Mapping[SpendKey, int] = {}
    """Added to the rows."""
    leases: Mapping[SpendKey, int] = {}
    """What the owner still leases of these rows; the rest is given back."""
    totals: Mapping[tuple[SpendKey, str, str], Spent] = {}
    """By row, purpose and kind of usage."""
    assumed: tuple[AssumedTurn, ...] = ()
    ended: bool = False
    """The owner is gone; all of its leases are given back."""


class OwnerState(msgspec.Struct, frozen=True, kw_only=True):
    """A process that leases."""

    owner: str
    number: int
    """Of its last booking; 0: none."""
    place: tuple[int, int]
    host: str
    renewed: int
    leases: Mapping[SpendKey, int]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a scope in a period."""

    key: SpendKey
    cap: int | None
    """None: no limit."""
    spent: int
    held: int
    totals: Mapping[tuple[str, str], Spent]
    """By purpose and kind of usage; empty for rates."""


class OwnerGone(StoreError):
    """The owner was taken for dead, and its leases were booked as spent."""


class SpendStore(Protocol):
    """Rows of scopes and periods.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.catalog import open_spend
    >>> from trimtab.stores.spend.contract import Ask, Booking, SpendKey
    >>> folder = TemporaryDirectory()
    >>> store = open_spend(None, Path(folder.name))
    >>> day = SpendKey("project", 0, 86_400_000_000)
    >>> store.lease("worker", [], at=0)
    {}
    >>> store.lease("worker", [Ask(day, cap=1000, needs=(30,), wish=50)], at=1)[day]
    Granted(amount=50, spent=0, held=50)
    >>> store.book("worker", Booking(number=1, spent={day: 20}, leases={day: 30}), at=2)
    >>> [(row.spent, row.held) for row in store.accounts()]
    [(20, 30)]
    >>> store.close()
    """

    def lease(self, owner: str, asks: Sequence[Ask], *, at: int, host: str = "") -> dict[SpendKey, Granted]:
        """Lease for calls: of each row the wish, or as many of the single needs as fit, in their order.

        Args:
            owner: process that leases; its first lease is of nothing and makes it known.
            asks: one for each row.
            at: now.
            host: machine of the owner.

        Raises:
            OwnerGone: the owner is not known, or its end is booked; nothing is granted.
            StoreError: the database failed; nothing is granted.
        """
        ...

    def book(self, owner: str, booking: Booking, *, at: int) -> None:
        """Write what an owner has spent, and what it still leases.

        Raises:
            OwnerGone: the owner has not leased, or its end is booked; nothing is written.
            StoreError: the database failed; the same booking may be written again.
        """
        ...

    def owners(self) -> list[OwnerState]:
        """Return the processes that lease."""
        ...

    def accounts(self, *, since: int = 0, scopes: Sequence[str] = ()) -> list[Account]:
        """Return rows by scope and start.

        Args:
            since: only periods that end after it.
            scopes: only these; empty for all.
        """
        ...

    def assumed(self) -> list[AssumedTurn]:
        """Return the turns that count at their bound, oldest first."""
        ...

    def settle(self, turn: str, cost: int, *, input: int = 0, output: int = 0) -> None:
        """Replace the bound of an assumed turn by its cost; it is then a reported one.

        Args:
            turn: its id.
            cost: what the provider billed.
            input: tokens that the provider billed, where they are known.
            output: tokens that the provider billed, where they are known.

        Raises:
            NotFound: no assumed turn has this id.
        """
        ...

    def forget(self, *, rates_before: int, scopes_before: int, passing: Sequence[str]) -> None:
        """Delete rows that no owner leases and no assumed turn counts in.

        Args:
            rates_before: rows of rates whose period ended before it.
            scopes_before: rows of scopes with a prefix of `passing` whose period ended before it.
            passing: such as user: and conversation:.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def few(cap: int) -> int:
    """Return above what, spent and held, a row leases for single calls only: 95 % of its cap."""
    return cap * 95 // 100


RATE = "rate/"
"""Scopes of rates and of calls at once begin with it. Their rows keep no totals."""


def is_rate(key: SpendKey) -> bool:
    """Return True for a row that counts requests, tokens or calls at once, not money."""
    return key.scope.startswith(RATE)
