"""The ledger: reserves the bound of a call before it is made, and settles its cost after it.

A call takes from leases in memory, and one line goes to the journal: microseconds, without a wait for the disk. A
thread leases from the store when a lease runs out, and books what was spent in groups. So limits hold over all
processes of a project; docs/prompts.md says what holds after a crash.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trimtab.clock import Clock, SystemClock, from_micros, to_micros
from trimtab.errors import StoreError
from trimtab.llm.completion import UsageKind
from trimtab.llm.money.lease_recovery import add_ended, recover
from trimtab.llm.money.leases import Hold, Lease, Waiter, ask_for
from trimtab.llm.money.spend_scopes import (
    SECOND,
    BudgetExceeded,
    Caller,
    Part,
    RateLimited,
    Scopes,
    SpendRules,
)
from trimtab.stores.spend.contract import (
    FOREVER,
    RATE,
    Booking,
    Granted,
    OwnerGone,
    SpendKey,
    SpendStore,
    Spent,
    few,
    is_rate,
)
from trimtab.stores.spend.turn_journal import Ended, Opened, TurnJournal

if TYPE_CHECKING:
    from trimtab.policy.llm.section_llm import Purpose  # a gateway's worker does without pydantic

log = logging.getLogger(__name__)

BOOK_EVERY_S = 0.5
"""Longest time between the end of a call and its booking in the store."""
IDLE_S = 2.0
"""What no call took from for so long is given back."""
RENEW_EVERY_S, UNSURE_AFTER_S = 60.0, 600.0
"""How often an idle owner shows that it lives; without contact to the store for UNSURE_AFTER_S, calls are refused."""
RECOVER_EVERY_S = 10.0
SOON_S = 1.0
"""When to try again where only calls in flight hold the rest."""


class Ledger:
    """Reserves, settles and releases for one process. Safe to share between threads. Open it after a fork."""

    def __init__(
        self,
        store: SpendStore,
        root: Path,
        rules: SpendRules,
        clock: Clock | None = None,
        *,
        threaded: bool = True,
    ) -> None:
        """Begin to lease, and book what dead processes left behind.

        Args:
            store: is closed with the ledger.
            root: folder of the embedded stores; the journal lies in it.
            rules: limits of the policy.
            clock: time of day.
            threaded: False: no thread leases and books; `step` does.

        Raises:
            StoreError: the store or the journal cannot be written.
        """
        self._store, self._root, self._scopes = store, root, Scopes(rules)
        self._clock = clock or SystemClock()
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._leases: dict[SpendKey, Lease] = {}
        self._dirty: set[Lease] = set()
        self._open: dict[str, Hold] = {}
        self._ended: list[tuple[Opened, Ended]] = []
        self._waiting: list[Waiter] = []
        self._wishes: set[SpendKey] = set()
        self._pending: Booking | None = None
        """A booking whose write may have failed: it is written again before anything else."""
        self._number = 0
        self._recovered = self._booked = float("-inf")
        self._closed = False
        self._recover()
        self._begin()
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._run, name="spend", daemon=True)
            self._thread.start()

    @property
    def rules(self) -> SpendRules:
        """The limits; assign others when the policy has changed."""
        return self._scopes.rules

    @rules.setter
    def rules(self, rules: SpendRules) -> None:
        self._scopes = Scopes(rules)

    async def reserve(self, caller: Caller, *, bound: int, purpose: Purpose, id: str, tokens: int = 0) -> Hold:
        """Hold the bound of a call in all of its scopes, before it is made.

        Args:
            caller: whom it counts for.
            bound: most that it can cost, in 1e-12 of the currency.
            purpose: serve, shadow, judge, eval or tune.
            id: of the turn; that of the completion.
            tokens: most input and output tokens, for rates.

        Returns:
            The hold; settle or release it when the call has ended.

        Raises:
            BudgetExceeded: a scope does not cover the bound.
            RateLimited: a rate is used up.
            StoreError: the store or the journal cannot be written; do not make the call.
        """
        hold = self._hold(caller, bound, purpose, id, tokens)
        if self._take(hold) is None:
            return hold
        waiter = self._wait_for(hold)
        try:
            return await asyncio.wrap_future(waiter.future)
        except asyncio.CancelledError:
            waiter.future.add_done_callback(self._release_result)
            raise

    def reserve_blocking(self, caller: Caller, *, bound: int, purpose: Purpose, id: str, tokens: int = 0) -> Hold:
        """Like `reserve`, for code without an event loop."""
        hold = self._hold(caller, bound, purpose, id, tokens)
        if self._take(hold) is None:
            return hold
        waiter = self._wait_for(hold)
        if self._thread is None:
            self.step()
        return waiter.future.result()

    def settle(self, hold: Hold, cost: int, kind: UsageKind, *, input: int = 0, output: int = 0) -> None:
        """Replace a hold by its cost. A hold that has ended stays as it is.

        Args:
            hold: what `reserve` returned.
            cost: in 1e-12 of the currency; 0 for an answer of the local cache.
            kind: where the tokens come from.
            input: input tokens.
            output: output tokens.

        Raises:
            StoreError: the journal cannot be written; the cost counts here, but after a crash the bound does.
        """
        self._end(hold, cost, kind, input, output)

    def release(self, hold: Hold) -> None:
        """Give a hold back: no provider was asked. A hold that has ended stays as it is."""
        self._end(hold, 0, "", 0, 0)

    def headers(self, hold: Hold) -> dict[str, str]:
        """Return x-ratelimit-* of the token's rates, as OpenAI's API names them."""
        found = {}
        for lease, _, part in hold.taken:
            if part.counted in ("requests", "tokens") and lease.key.scope.startswith(f"{RATE}token:"):
                seconds = max(0.0, (lease.key.finish - to_micros(self._clock.now())) / SECOND)
                found[f"x-ratelimit-limit-{part.counted}"] = str(part.cap)
                found[f"x-ratelimit-remaining-{part.counted}"] = str(lease.left)
                found[f"x-ratelimit-reset-{part.counted}"] = f"{seconds:.3f}s"
        return found

    def close(self) -> None:
        """Book what has ended, give leases back, and close the store. Calls in flight are assumed at their bound."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._book()
        except StoreError as error:
            log.error("spend: %s; the next start books what is left", error)
        self._journal.close(remove=False)
        with suppress(StoreError):
            self._recover()  # calls in flight, the leases, and the files
        self._store.close()

    def step(self) -> None:
        """Lease for calls that wait, and book if it is time to."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            wishes, self._wishes = self._wishes, set()
        try:
            if self._pending is not None:
                self._book()
            if waiting or wishes:
                self._lease(waiting, wishes)
            if time.monotonic() - self._booked >= BOOK_EVERY_S:
                self._book()
            if time.monotonic() - self._recovered >= RECOVER_EVERY_S:
                self._recover()
        except OwnerGone as error:
            log.error("spend: %s", error)
            self._start_anew()
            for waiter in waiting:
                self._wait_again(waiter)
        except StoreError as error:
            for waiter in waiting:
                if not waiter.future.done() and (waiter.started or waiter.future.set_running_or_notify_cancel()):
                    waiter.future.set_exception(error)
            if not waiting:
                log.error("spend: %s; trying again", error)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(BOOK_EVERY_S)
            self._wake.clear()
            self.step()
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if waiter.started or waiter.future.set_running_or_notify_cancel():
                waiter.future.set_exception(StoreError("the ledger is closed"))

    def _begin(self) -> None:
        """Become another owner."""
        self._journal = TurnJournal(self._root)
        self._number = 0
        self._store.lease(self._journal.owner, (), at=self._now(), host=self._host)
        self._renewed = time.monotonic()

    def _now(self) -> int:
        return to_micros(self._clock.now())

    def _recover(self) -> None:
        self._recovered = time.monotonic()
        recover(self._store, self._root, at=self._now())

    def _hold(self, caller: Caller, bound: int, purpose: Purpose, id: str, tokens: int) -> Hold:
        at = self._now()
        amounts = {"money": bound, "requests": 1, "tokens": tokens, "calls": 1}
        parts, keys = self._scopes.of(caller, purpose, at)
        return Hold(Opened(id, at, purpose, bound, keys), [(part, amounts[part.counted]) for part in parts])

    def _take(self, hold: Hold) -> SpendKey | None:
        """Take what the call holds; return the row whose lease does not suffice, and then nothing is taken."""
        now = time.monotonic()
        with self._lock:
            if self._closed or now - self._renewed > UNSURE_AFTER_S:
                raise StoreError("the ledger is closed" if self._closed else "the spend store cannot be reached")
            taken = []
            for part, amount in hold.wanted:
                lease = self._leases.get(part.key)
                if lease is None or lease.cap != part.cap:
                    lease = self._lease_of(part, now)
                if lease.cap is not None and lease.free < amount:
                    return part.key
                taken.append((lease, amount, part))
            while hold.id in self._open:
                hold.opened = msgspec.structs.replace(hold.opened, id=f"{hold.id}'")
            self._journal.write(hold.opened)
            hold.taken, hold.owner = taken, self._journal.owner
            self._open[hold.id] = hold
            for lease, amount, _ in taken:
                lease.flying += amount
                lease.calls += 1
                lease.touched = now
                if lease.cap is not None:
                    lease.free -= amount
                    if lease.free < lease.size // 2 and not lease.few and lease.key not in self._wishes:
                        self._wishes.add(lease.key)
                        self._wake.set()
        return None

    def _lease_of(self, part: Part, now: float) -> Lease:
        """Return the lease of a row, of its present limit."""
        lease = self._leases.setdefault(part.key, Lease(part))
        if lease.cap != part.cap:  # the policy has changed
            lease.limit(part.cap)
        lease.touched = now
        return lease

    def _wait_for(self, hold: Hold) -> Waiter:
        waiter = Waiter(hold)
        self._wait_again(waiter)
        return waiter

    def _release_result(self, future: Future[Hold]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.release(future.result())

    def _end(self, hold: Hold, cost: int, kind: str, input: int, output: int) -> None:
        actual = {"money": cost, "requests": 1 if kind else 0, "tokens": input + output, "calls": 0}
        with self._lock:
            if hold.ended or self._closed:
                return
            hold.ended = True
            self._open.pop(hold.id, None)
            if hold.owner != self._journal.owner:  # taken for dead meanwhile; its bound is booked
                return
            for lease, amount, part in hold.taken:
                lease.flying -= amount
                lease.calls -= 1
                lease.used += actual[part.counted]
                if lease.cap is not None:
                    lease.free += amount - actual[part.counted]
                self._dirty.add(lease)
            line = Ended(hold.id, cost, kind, input, output)
            self._ended.append((hold.opened, line))
            self._journal.write(line)

    def _lease(self, waiting: Sequence[Waiter], wishes: set[SpendKey]) -> None:
        """Lease what waiting calls need, and give it to them in their order."""
        now = time.monotonic()
        needs: dict[SpendKey, list[int]] = {key: [] for key in wishes if key in self._leases}
        with self._lock:
            for part, amount in (wanted for waiter in waiting for wanted in waiter.hold.wanted):
                if part.cap is not None:
                    self._lease_of(part, now)
                    needs.setdefault(part.key, []).append(amount)
            asks = [
                ask for key, amounts in needs.items() if (ask := ask_for(self._leases[key], amounts, key in wishes))
            ]
            self._dirty |= {self._leases[ask.key] for ask in asks}  # the next booking says what is leased
        granted = self._store.lease(self._journal.owner, asks, at=self._now(), host=self._host) if asks else {}
        self._renewed = time.monotonic()
        short = set()
        with self._lock:
            for ask in asks:
                got, lease = granted[ask.key], self._leases[ask.key]
                lease.free += got.amount
                lease.spent, lease.held = got.spent, got.held
                lease.few = got.spent + got.held > few(ask.cap)
                if got.amount < sum(ask.needs):
                    short.add(ask.key)
        for waiter in waiting:
            self._give(waiter, granted, short)

    def _give(self, waiter: Waiter, granted: dict[SpendKey, Granted], short: set[SpendKey]) -> None:
        if not waiter.started and not waiter.future.set_running_or_notify_cancel():
            return
        waiter.started = True
        try:
            missing = self._take(waiter.hold)
        except StoreError as error:
            waiter.future.set_exception(error)
            return
        if missing is None:
            waiter.future.set_result(waiter.hold)
        elif missing in short:
            part, amount = next(wanted for wanted in waiter.hold.wanted if wanted[0].key == missing)
            waiter.future.set_exception(self._refusal(part, amount, granted[missing]))
        else:  # another call was faster
            self._wait_again(waiter)

    def _wait_again(self, waiter: Waiter) -> None:
        with self._lock:
            self._waiting.append(waiter)
        self._wake.set()

    def _refusal(self, part: Part, amount: int, row: Granted) -> Exception:
        key, cap = part.key, part.cap or 0
        until = max(0.001, (key.finish - self._now()) / SECOND) if key.finish != FOREVER else SOON_S
        if part.counted != "money":
            return RateLimited(key.scope.removeprefix(RATE), until, wanted=amount, limit=cap)
        with self._lock:
            used = self._leases[key].used if key in self._leases else 0
        in_flight = row.spent + used + amount <= cap
        resets_at = None if key.finish == FOREVER else from_micros(key.finish)
        return BudgetExceeded(
            key.scope,
            resets_at,
            SOON_S if in_flight else until,
            in_flight=in_flight,
            when_spent=part.when_spent,
            bound=amount,
            limit=cap,
        )

    def _book(self) -> None:
        """Write what has changed since the last booking."""
        self._booked = time.monotonic()
        booking = self._pending or self._booking()
        if booking is None:
            return
        self._pending = booking
        self._store.book(self._journal.owner, booking, at=self._now())
        self._pending, self._number, self._renewed = None, booking.number, time.monotonic()
        self._journal.forget(booking.place[0])

    def _start_anew(self) -> None:
        """Go on as another owner; what the old one had leased is booked as spent."""
        with self._lock:
            self._journal.close(remove=True)
            self._pending, self._ended = None, []
            self._leases.clear()
            self._dirty.clear()
            self._open.clear()
            self._begin()

    def _booking(self) -> Booking | None:
        """Return what has changed, as of one moment, and give back what is idle; None for nothing."""
        now, at = time.monotonic(), self._now()
        spent: dict[SpendKey, int] = {}
        leases: dict[SpendKey, int] = {}
        with self._lock:
            if self._journal.full:
                self._journal.rotate(hold.opened for hold in self._open.values())
            for key, lease in list(self._leases.items()):
                over, idle = key.finish <= at, lease.few or self._closed or now - lease.touched > IDLE_S
                if not (lease in self._dirty or over or idle):
                    continue
                rate = is_rate(key)
                if lease.used and not rate:
                    spent[key] = lease.used
                    lease.used = 0
                if lease.cap is not None:
                    lease.free = 0 if over or idle else max(0, lease.free)
                    leases[key] = 0 if over and not lease.calls else lease.free + lease.flying + lease.used * rate
                if not lease.calls and (over or (idle and not lease.used)):
                    del self._leases[key]
            self._dirty.clear()
            ended, self._ended = self._ended, []
            place = self._journal.place
        totals: dict[tuple[SpendKey, str, str], Spent] = {}
        for opened, line in ended:
            add_ended(opened, line, {}, totals)
        if not (spent or leases or totals) and now - self._renewed < RENEW_EVERY_S:
            return None
        return Booking(number=self._number + 1, place=place, spent=spent, leases=leases, totals=totals)
