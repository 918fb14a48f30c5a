"""Books what processes left behind that ended without closing their ledger.

Turns that ended are booked exactly, from the journal. Turns in flight are booked as `assumed`, at their bound. Where
the journal is not whole (the machine lost power, or another machine has the journal), the rest of what was leased is
`assumed`, too: so no limit is passed, whatever is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from trimtab.llm.money.spend_scopes import SECOND
from trimtab.stores.spend.contract import (
    FOREVER,
    AssumedTurn,
    Booking,
    OwnerGone,
    OwnerState,
    SpendKey,
    SpendStore,
    Spent,
    is_rate,
)
from trimtab.stores.spend.turn_journal import (
    Begun,
    Ended,
    Opened,
    Placed,
    boot,
    dead_owners,
    is_here,
    read_journal,
    remove_journal,
)

log = logging.getLogger(__name__)

EXPIRES = 15 * 60 * SECOND
"""An owner of another machine that has not booked for so long is taken for dead."""
ASSUMED = "assumed"


def recover(store: SpendStore, root: Path, *, at: int) -> list[str]:
    """Book the end of dead owners, and return them. at: now, in microseconds. Raises StoreError."""
    ended = []
    for owner in dead_owners(root):
        state = next((each for each in store.owners() if each.owner == owner), None)
        if state is not None:  # else its end was booked, and the files were about to be removed
            _end(store, state, read_journal(root, owner, start=state.place[0]), at=at)
            ended.append(owner)
        remove_journal(root, owner)
    for state in store.owners():
        if state.renewed < at - EXPIRES and not is_here(root, state.owner):
            log.warning("spend: no sign of %s on %s; what it leased counts as spent", state.owner, state.host)
            _end(store, state, (), at=at)
            ended.append(state.owner)
    return ended


def _end(store: SpendStore, state: OwnerState, lines: Iterable[Placed], *, at: int) -> None:
    with suppress(OwnerGone):  # another process was faster
        store.book(state.owner, last_booking(state, lines, at=at, boot_now=boot()), at=at)


def last_booking(state: OwnerState, lines: Iterable[Placed], *, at: int, boot_now: str) -> Booking:
    """Return the booking that ends an owner.

    Args:
        state: what the store knows of the owner.
        lines: its journal, from the segment of its last booking on.
        at: now, in microseconds.
        boot_now: of the machine; another one in the journal means that its last lines may be missing.
    """
    open_calls: dict[str, Opened] = {}
    spent: dict[SpendKey, int] = {}
    totals: dict[tuple[SpendKey, str, str], Spent] = {}
    whole = False
    for line, place in lines:
        if isinstance(line, Begun):
            whole = line.boot == boot_now
        elif isinstance(line, Opened):
            open_calls[line.id] = line
        elif (call := open_calls.pop(line.id, None)) is not None and place > state.place:
            add_ended(call, line, spent, totals)
    assumed = [
        AssumedTurn(id=call.id, at=call.at, purpose=call.purpose, amounts=tuple((key, call.bound) for key in call.keys))
        for call in open_calls.values()
    ]
    if not whole:
        known = dict(spent)
        for turn in assumed:
            for key, amount in turn.amounts:
                known[key] = known.get(key, 0) + amount
        lost = {key: leased - known.get(key, 0) for key, leased in state.leases.items() if not is_rate(key)}
        amounts = tuple((key, amount) for key, amount in lost.items() if amount > 0)
        if amounts:
            assumed.append(AssumedTurn(id=f"lost:{state.owner}", at=at, purpose="serve", amounts=amounts))
    for turn in assumed:
        for key, amount in turn.amounts:
            spent[key] = spent.get(key, 0) + amount
            total = key, turn.purpose, ASSUMED
            before = totals.get(total, Spent())
            totals[total] = before._replace(cost=before.cost + amount, calls=before.calls + 1)
    spent |= {  # how much of them was used is not in the journal
        key: leased for key, leased in state.leases.items() if is_rate(key) and key.finish != FOREVER
    }
    return Booking(
        number=state.number + 1, place=state.place, spent=spent, totals=totals, assumed=tuple(assumed), ended=True
    )


def add_ended(
    call: Opened, end: Ended, spent: dict[SpendKey, int], totals: dict[tuple[SpendKey, str, str], Spent]
) -> None:
    """Add a call that ended to the sums of a booking."""
    for key in call.keys:
        if end.cost:
            spent[key] = spent.get(key, 0) + end.cost
        if end.kind:
            total = key, call.purpose, end.kind
            cost, calls, input, output = totals.get(total, (0, 0, 0, 0))
            totals[total] = Spent(cost + end.cost, calls + 1, input + end.input, output + end.output)
