"""The ledger against a model, over random schedules in which processes are killed at every step."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.errors import StoreError
from trimtab.llm.money import lease_recovery, spend_ledger
from trimtab.llm.money.leases import Hold
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import Budget, BudgetExceeded, Caller, RateLimited, RateRules, SpendRules
from trimtab.stores.spend.accounts import SqliteSpend
from trimtab.stores.spend.contract import Account, is_rate
from trimtab.stores.spend.turn_journal import TurnJournal, encode

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = SpendRules(
    {"project": Budget(2000, "day"), "prompt:triage": Budget(1200, "hour"), "token": Budget(900, "month")},
    RateRules((40, 60), (4000, 60), 6),
)


class Killed(BaseException):
    """The process died."""


class Fuse:
    """Kills at the n-th point from now on."""

    def __init__(self) -> None:
        self.left: int | None = None

    def point(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed


class MortalStore(SqliteSpend):
    """Dies before or after a commit."""

    fuse: Fuse

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self.fuse = fuse

    def lease(self, *args: Any, **named: Any) -> Any:
        self.fuse.point()
        found = super().lease(*args, **named)
        self.fuse.point()
        return found

    def book(self, *args: Any, **named: Any) -> None:
        self.fuse.point()
        super().book(*args, **named)
        self.fuse.point()


@dataclass
class World:
    """Processes, and what their provider has billed."""

    root: Path
    random: Random
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    fuse: Fuse = field(default_factory=Fuse)
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    flying: dict[int, dict[str, tuple[Hold, int]]] = field(default_factory=dict)
    """By process and id: the hold, and what the call will cost."""
    done: dict[str, int] = field(default_factory=dict)
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)
    """In flight when their process died: bound and cost."""
    unsure: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Their process died while it wrote of them: bound and cost; 0 and 0 where the call was not made."""
    calls: int = 0

    def ledger(self, number: int) -> Ledger:
        if number not in self.ledgers:
            store, born = MortalStore(self.root / "spend.db", self.fuse), list[TurnJournal]()

            def begin(root: Path) -> TurnJournal:
                born.append(TurnJournal(root))
                return born[0]

            try:
                with mock.patch.object(spend_ledger, "TurnJournal", begin):
                    made = Ledger(store, self.root, RULES, self.clock, threaded=False)
            except Killed:
                for journal in born:
                    let_go(journal)
                store.close()
                raise
            self.ledgers[number], self.flying[number] = made, {}
            self._mortal_journal(made)
        return self.ledgers[number]

    def _mortal_journal(self, ledger: Ledger) -> None:
        """Let the process die before, within and after the write of a line."""
        journal = ledger._journal
        write = journal.write

        def mortal(line: Any) -> None:
            self.fuse.point()
            if self.fuse.left == 0:
                os.write(journal._file, encode(line)[: self.random.randrange(20)])
            self.fuse.point()
            write(line)
            self.fuse.point()

        journal.write = mortal  # type: ignore[method-assign]

    def reserve(self, number: int, bound: int, cost: int) -> None:
        ledger = self.ledger(number)
        self.calls += 1
        id_ = f"turn-{self.calls}"
        self.unsure[id_] = bound, 0
        with suppress(BudgetExceeded, RateLimited):
            caller = Caller(prompt=self.random.choice(["triage", "chat"]), token=self.random.choice(["web", ""]))
            purpose: Any = self.random.choice(["serve", "eval"])
            hold = ledger.reserve_blocking(caller, bound=bound, purpose=purpose, id=id_, tokens=bound * 3)
            self.flying[number][id_] = hold, cost
        del self.unsure[id_]

    def end(self, number: int, *, release: bool) -> None:
        ledger = self.ledger(number)
        if not self.flying[number]:
            return
        id_ = self.random.choice(sorted(self.flying[number]))
        hold, cost = self.flying[number].pop(id_)
        self.unsure[id_] = hold.opened.bound, 0 if release else cost
        if release:
            ledger.release(hold)
            self.done[id_] = 0
        else:
            ledger.settle(hold, cost, "reported", input=hold.opened.bound, output=cost)
            self.done[id_] = cost
        del self.unsure[id_]

    def kill(self, number: int) -> None:
        """Let go of the files, as the system does, and forget all that was in memory."""
        ledger = self.ledgers.pop(number, None)
        self.fuse.left = None
        if ledger is None:
            return
        let_go(ledger._journal)
        ledger._store.close()
        for id_, (hold, cost) in self.flying.pop(number).items():
            self.lost[id_] = hold.opened.bound, cost

    def close(self, number: int) -> None:
        ledger = self.ledgers[number]
        ledger.close()
        del self.ledgers[number]
        self.lost |= {id_: (hold.opened.bound, cost) for id_, (hold, cost) in self.flying.pop(number).items()}

    def accounts(self) -> list[Account]:
        store = SqliteSpend(self.root / "spend.db")
        found = store.accounts()
        store.close()
        return found

    def check_caps(self) -> None:
        for account in self.accounts():
            assert account.held >= 0, account
            assert account.cap is None or account.spent + account.held <= account.cap, account


def let_go(journal: TurnJournal) -> None:
    """Close the files of a process as the system does."""
    if journal._file >= 0:
        os.close(journal._file)
        os.close(journal._lock)
        journal._file = -1


def run(world: World, steps: int) -> None:
    random = world.random
    for _ in range(steps):
        number = random.randrange(3)
        if random.random() < 0.08:
            world.fuse.left = random.randrange(6)
        try:
            match random.choices(
                ["reserve", "settle", "release", "step", "kill", "time", "close"], [9, 7, 1, 3, 1, 1, 0.3]
            )[0]:
                case "reserve":
                    bound = random.randrange(1, 60)
                    world.reserve(number, bound, random.randrange(bound + 1))
                case "settle" | "release" as how:
                    world.end(number, release=how == "release")
                case "step":
                    world.ledger(number).step()
                case "kill":
                    world.kill(number)
                case "time":
                    world.clock.sleep(random.choice([1, 30, 3000]))
                case "close" if number in world.ledgers:
                    world.close(number)
        except Killed:
            for each in list(world.ledgers) if number not in world.ledgers else [number]:
                world.kill(each)
        world.check_caps()


@given(st.integers(0, 2**32), st.sampled_from([0.0, 1e9]), st.sampled_from([0.0, 1e9]), st.sampled_from([300, 1 << 22]))
def test_all_turns_are_in_the_books_and_no_limit_is_passed(seed: int, idle: float, booking: float, size: int) -> None:
    with (
        TemporaryDirectory() as folder,
        mock.patch.object(spend_ledger, "IDLE_S", idle),
        mock.patch.object(spend_ledger, "BOOK_EVERY_S", booking),
        mock.patch("trimtab.stores.spend.turn_journal.SEGMENT_BYTES", size),
        mock.patch.object(SqliteSpend, "PRAGMAS", ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF")),
    ):
        world = World(Path(folder), Random(seed))
        run(world, 40)
        for number in list(world.ledgers):
            world.kill(number)
        last = Ledger(SqliteSpend(world.root / "spend.db"), world.root, RULES, world.clock, threaded=False)
        last.close()
        check_books(world)


def check_books(world: World) -> None:
    store = SqliteSpend(world.root / "spend.db")
    assert store.owners() == []
    assert list((world.root / "spend").iterdir()) == []
    world.check_caps()
    assumed = {turn.id: dict(turn.amounts) for turn in store.assumed()}
    assert world.lost.keys() <= assumed.keys() <= world.lost.keys() | world.unsure.keys()
    for id_, (bound, cost) in world.lost.items():
        assert set(assumed[id_].values()) == {bound}
        store.settle(id_, cost)
    known = sum(world.done.values()) + sum(cost for _, cost in world.lost.values())
    loose = 0
    for id_, (bound, cost) in world.unsure.items():
        loose += cost if id_ not in assumed else 0
        if id_ in assumed:
            assert set(assumed[id_].values()) == {bound}
            store.settle(id_, 0)
    spent = {account.key: account for account in store.accounts()}
    by_project = sum(account.spent for key, account in spent.items() if key.scope == "project")
    assert known <= by_project <= known + loose
    for account in spent.values():
        if is_rate(account.key):
            continue
        assert account.held == 0
        assert account.spent == sum(total.cost for total in account.totals.values())
        assert ("serve", "assumed") not in account.totals or account.totals["serve", "assumed"].cost == 0
    store.close()


def test_after_a_loss_of_power_the_rest_of_a_lease_counts_as_spent(tmp_path: Path) -> None:
    """The machine started again, and the last lines of the journal are gone."""
    world = World(tmp_path, Random(1))
    world.reserve(0, 15, 10)
    world.reserve(0, 15, 10)
    world.end(0, release=False)
    before = {account.key: account for account in world.accounts()}
    world.kill(0)
    with mock.patch.object(lease_recovery, "boot", return_value="another"):
        Ledger(SqliteSpend(tmp_path / "spend.db"), tmp_path, RULES, world.clock, threaded=False).close()
    for account in world.accounts():
        if account.cap is not None and not is_rate(account.key):
            assert (account.spent, account.held) == (before[account.key].held, 0)
    store = SqliteSpend(tmp_path / "spend.db")
    ids = [turn.id for turn in store.assumed()]
    assert len(ids) == 2
    assert any(id_.startswith("lost:") for id_ in ids)
    store.close()


def test_a_process_of_another_machine_that_is_silent_for_long_is_taken_for_dead(tmp_path: Path) -> None:
    world = World(tmp_path, Random(1))
    world.reserve(0, 15, 10)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store = SqliteSpend(tmp_path / "spend.db")
    assert lease_recovery.recover(store, elsewhere, at=_micros(world.clock.now())) == []
    world.clock.sleep(timedelta(minutes=16).total_seconds())
    assert len(lease_recovery.recover(store, elsewhere, at=_micros(world.clock.now()))) == 1
    held = {account.key.scope: (account.spent, account.held) for account in store.accounts()}
    assert held["project"][1] == 0
    assert held["project"][0] >= 15
    silent = world.ledger(0)
    with mock.patch.object(spend_ledger, "BOOK_EVERY_S", 0.0):
        world.end(0, release=False)
        silent.step()  # it finds out, and goes on as another owner
    assert {account.key.scope: (account.spent, account.held) for account in store.accounts()}["project"] == held[
        "project"
    ]
    world.reserve(0, 15, 10)
    assert len(world.flying[0]) == 1
    store.close()
    silent.close()


def test_a_lease_whose_answer_was_lost_is_given_back(tmp_path: Path) -> None:
    world = World(tmp_path, Random(1))
    ledger, granted = world.ledger(0), MortalStore.lease

    def lost(*args: Any, **named: Any) -> None:
        granted(*args, **named)
        raise StoreError("the connection is lost")

    with mock.patch.object(MortalStore, "lease", lost), pytest.raises(StoreError, match="lost"):
        world.reserve(0, 15, 10)
    assert [account.held for account in world.accounts() if account.key.scope == "project"] == [20]
    with mock.patch.object(spend_ledger, "BOOK_EVERY_S", 0.0):
        ledger.step()
    assert [account.held for account in world.accounts()] == [0] * len(world.accounts())
    ledger.close()


def _micros(at: datetime) -> int:
    return int(at.timestamp() * 1e6)


def test_a_store_that_fails_refuses_the_call_and_books_later(tmp_path: Path) -> None:
    world = World(tmp_path, Random(1))
    ledger = world.ledger(0)
    full = mock.patch.object(MortalStore, "lease", side_effect=StoreError("the disk is full"))
    with full, pytest.raises(StoreError, match="the disk is full"):
        world.reserve(0, 15, 10)
    world.unsure.clear()
    world.reserve(0, 15, 10)
    world.end(0, release=False)
    with mock.patch.object(spend_ledger, "BOOK_EVERY_S", 0.0):
        with mock.patch.object(MortalStore, "book", side_effect=StoreError("the disk is full")):
            ledger.step()
        world.reserve(0, 5, 5)
        world.end(0, release=False)
        ledger.step()
        ledger.step()
    assert next(account.spent for account in world.accounts() if account.key.scope == "project") == 15
    ledger.close()
