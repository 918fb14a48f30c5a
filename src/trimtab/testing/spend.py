"""The conformance suite of the store of spend."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.errors import NotFound
from trimtab.stores.spend.contract import (
    FOREVER,
    RATE,
    Ask,
    AssumedTurn,
    Booking,
    OwnerGone,
    SpendKey,
    SpendStore,
    Spent,
)

DAY = SpendKey("project", 0, 1000)
MINUTE = SpendKey(f"{RATE}token:web/requests", 0, 60)
SERVED = (DAY, "serve", "reported")


def begin(store: SpendStore, *owners: str) -> None:
    """Make owners known."""
    for owner in owners:
        store.lease(owner, (), at=1)


def row(store: SpendStore, scope: str = "project") -> tuple[int | None, int, int]:
    """Return cap, spent and held of a row."""
    (found,) = store.accounts(scopes=(scope,))
    return found.cap, found.spent, found.held


class SpendConformance:
    """The tests of the contract of the store of spend. Subclass it and define `open`.

    >>> import tempfile
    >>> from trimtab.stores.spend.accounts import SqliteSpend
    >>> class TestSqlite(SpendConformance):
    ...     def open(self, folder):
    ...         return SqliteSpend(folder / "spend.db")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     TestSqlite().test_a_lease_is_held(TestSqlite().open(Path(folder)))
    """

    def open(self, folder: Path) -> SpendStore:
        """Open the store of a folder. A second call reads what the first store wrote."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SpendStore]:
        """A fresh store."""
        store = self.open(tmp_path)
        yield store
        store.close()

    def test_a_lease_is_held(self, store: SpendStore) -> None:
        begin(store, "a")
        granted = store.lease("a", [Ask(DAY, 100, (3,), 10)], at=1)
        assert granted == {DAY: (10, 0, 10)}
        assert row(store) == (100, 0, 10)
        assert store.owners()[0].leases == {DAY: 10}

    def test_near_the_cap_single_calls_are_leased_in_their_order(self, store: SpendStore) -> None:
        begin(store, "a")
        store.lease("a", [Ask(DAY, 100, (), 90)], at=1)
        granted = store.lease("a", [Ask(DAY, 100, (4, 9, 3, 4, 3), 10)], at=1)
        assert granted[DAY].amount == 4 + 3 + 3
        assert row(store) == (100, 0, 100)
        assert store.lease("a", [Ask(DAY, 100, (1,), 0)], at=1)[DAY] == (0, 0, 100)

    def test_no_wish_passes_a_cap(self, store: SpendStore) -> None:
        begin(store, "a")
        assert store.lease("a", [Ask(DAY, 100, (), 96)], at=1)[DAY].amount == 0
        assert store.lease("a", [Ask(DAY, 100, (100,), 1)], at=1)[DAY].amount == 100

    def test_a_lower_cap_holds_at_once(self, store: SpendStore) -> None:
        begin(store, "a")
        store.lease("a", [Ask(DAY, 100, (50,), 0)], at=1)
        assert store.lease("a", [Ask(DAY, 40, (1,), 1)], at=1)[DAY].amount == 0
        assert row(store) == (40, 0, 50)

    def test_a_booking_moves_what_is_held_to_what_is_spent(self, store: SpendStore) -> None:
        begin(store, "a")
        store.lease("a", [Ask(DAY, 100, (), 30)], at=1)
        booking = Booking(
            number=1, place=(1, 77), spent={DAY: 12}, leases={DAY: 18}, totals={SERVED: Spent(12, 2, 100, 20)}
        )
        store.book("a", booking, at=5)
        assert row(store) == (100, 12, 18)
        (owner,) = store.owners()
        assert (owner.number, owner.place, owner.renewed, owner.leases) == (1, (1, 77), 5, {DAY: 18})
        assert store.accounts()[0].totals == {("serve", "reported"): (12, 2, 100, 20)}

    def test_booking_a_number_again_changes_nothing(self, store: SpendStore) -> None:
        begin(store, "a")
        booking = Booking(number=1, spent={DAY: 12}, totals={SERVED: Spent(12, 1, 1, 1)})
        for _ in range(3):
            store.book("a", booking, at=1)
        assert row(store) == (None, 12, 0)
        assert store.accounts()[0].totals["serve", "reported"].calls == 1

    def test_more_than_the_bound_is_booked_and_nothing_more_is_leased(self, store: SpendStore) -> None:
        begin(store, "a")
        store.lease("a", [Ask(DAY, 100, (50,), 0)], at=1)
        store.book("a", Booking(number=1, spent={DAY: 130}, leases={DAY: 0}), at=1)
        assert row(store) == (100, 130, 0)
        assert store.lease("a", [Ask(DAY, 100, (1,), 0)], at=1)[DAY].amount == 0

    def test_an_end_gives_all_leases_back(self, store: SpendStore) -> None:
        begin(store, "a", "b")
        store.lease("a", [Ask(DAY, 100, (), 10), Ask(MINUTE, 60, (), 6)], at=1)
        store.lease("b", [Ask(DAY, 100, (), 5)], at=1)
        store.book("a", Booking(number=1, spent={DAY: 4}, ended=True), at=1)
        assert row(store) == (100, 4, 5)
        assert row(store, MINUTE.scope) == (60, 0, 0)
        assert [each.owner for each in store.owners()] == ["b"]

    def test_an_owner_whose_end_is_booked_writes_and_leases_nothing(self, store: SpendStore) -> None:
        begin(store, "a")
        store.book("a", Booking(number=1, ended=True), at=1)
        with pytest.raises(OwnerGone, match="'a' was taken for dead"):
            store.book("a", Booking(number=2, spent={DAY: 4}), at=1)
        with pytest.raises(OwnerGone):
            store.lease("a", [Ask(DAY, 100, (1,), 0)], at=1)
        assert store.accounts() == []

    def test_assumed_turns_are_settled_once(self, store: SpendStore) -> None:
        begin(store, "a")
        turn = AssumedTurn(id="chatcmpl-1", at=3, purpose="serve", amounts=((DAY, 30),))
        assumed = {(DAY, "serve", "assumed"): Spent(30, 1)}
        store.book("a", Booking(number=1, spent={DAY: 30}, totals=assumed, assumed=(turn,), ended=True), at=1)
        assert store.assumed() == [turn]
        store.settle("chatcmpl-1", 8, input=70, output=10)
        assert row(store) == (None, 8, 0)
        assert store.accounts()[0].totals == {
            ("serve", "assumed"): (0, 0, 0, 0),
            ("serve", "reported"): (8, 1, 70, 10),
        }
        with pytest.raises(NotFound, match="chatcmpl-1"):
            store.settle("chatcmpl-1", 8)

    def test_assumed_turns_of_one_id_are_kept_apart(self, store: SpendStore) -> None:
        for owner in ("a", "b"):
            begin(store, owner)
            turn = AssumedTurn(id="t", at=3, purpose="serve", amounts=((DAY, 30),))
            store.book(owner, Booking(number=1, spent={DAY: 30}, assumed=(turn,), ended=True), at=1)
        assert [turn.id for turn in store.assumed()] == ["t", "t#b"]
        for turn in store.assumed():
            store.settle(turn.id, 0)
        assert row(store) == (None, 0, 0)

    def test_old_rows_are_forgotten_but_not_those_in_use(self, store: SpendStore) -> None:
        begin(store, "a")
        later = MINUTE._replace(start=60, finish=120)
        user, other = SpendKey("user:x", 0, 1000), SpendKey("user:y", 0, 1000)
        always = SpendKey(f"{RATE}token:web/calls", 0, FOREVER)
        asks = [Ask(key, 100, (1,), 0) for key in (MINUTE, later, user, other, always, DAY)]
        store.lease("a", asks, at=1)
        turn = AssumedTurn(id="t", at=3, purpose="serve", amounts=((other, 1),))
        leases = dict.fromkeys((MINUTE, user, other, always, DAY), 0)
        store.book("a", Booking(number=1, leases=leases, assumed=(turn,)), at=1)
        store.forget(rates_before=500, scopes_before=2000, passing=("user:",))
        assert {account.key for account in store.accounts()} == {later, other, always, DAY}

    def test_accounts_are_chosen_by_scope_and_time(self, store: SpendStore) -> None:
        begin(store, "a")
        old, new = DAY, DAY._replace(start=1000, finish=2000)
        store.book("a", Booking(number=1, spent={old: 1, new: 2, MINUTE: 3}), at=1)
        assert [account.key for account in store.accounts(since=1000)] == [new]
        assert [account.spent for account in store.accounts(scopes=("project",))] == [1, 2]

    def test_a_second_store_sees_what_was_written(self, store: SpendStore, tmp_path: Path) -> None:
        begin(store, "a")
        store.lease("a", [Ask(DAY, 100, (), 30)], at=1)
        other = self.open(tmp_path)
        assert row(other) == (100, 0, 30)
        other.close()

    def test_threads_of_several_stores_never_pass_a_cap(self, tmp_path: Path) -> None:
        stores = [self.open(tmp_path) for _ in range(4)]
        for number, store in enumerate(stores):
            begin(store, str(number))

        def lease(number: int) -> int:
            granted = 0
            for _ in range(20):
                granted += stores[number].lease(str(number), [Ask(DAY, 1000, (7, 11), 30)], at=1)[DAY].amount
            return granted

        with ThreadPoolExecutor(4) as pool:
            granted = sum(pool.map(lease, range(4)))
        assert row(stores[0]) == (1000, 0, granted)
        assert 1000 - 7 < granted <= 1000
        for store in stores:
            store.close()
