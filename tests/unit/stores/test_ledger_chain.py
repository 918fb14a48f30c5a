"""The ledger in a database: what a change, a removal, an insertion and a cut look like, and how decisions stop."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from trimtab.errors import StoreError
from trimtab.records.control import Decision, LedgerAcceptance, LedgerEntry, PolicyVersion, Resolution
from trimtab.records.serving import Revision
from trimtab.stores.metadata.chain import COVERED, Head, LedgerBroken, read_head
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.embedded import SqliteMetadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.metadata import revision

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE_THE_LEDGER = "0004"
BACKENDS = (SqliteMetadata, SqlMetadata)


def resolution(number: int, *, reason: str = "seen") -> Resolution:
    return Resolution(
        id=f"delay/decision/{number}/resolution",
        created_at=NOON,
        model="delay",
        decision=f"delay/decision/{number}",
        verdict="approve",
        reason=reason,
        by="ann",
    )


def policy(number: int) -> PolicyVersion:
    return PolicyVersion(id=f"policy/{number}", created_at=NOON, number=number, hash="0", text=f"project: p{number}\n")


class Book:
    """A database with ten entries, the file of its head, and a way to tamper with it."""

    def __init__(self, folder: Path, backend: type[SqliteMetadata] | type[SqlMetadata]) -> None:
        self.path, self.head = folder / "metadata.db", folder / "ledger.head"
        self._backend = backend
        self.store: Metadata = self.open()
        for number in range(1, 6):
            self.store.put(policy(number), revision(number))

    def open(self) -> Metadata:
        return self._backend(self.path, head=self.head)

    def tamper(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            assert connection.execute(statement, values).rowcount >= 1

    def texts(self, *, last: int | None = None) -> list[str]:
        return [one.text for one in self.store.verify(last=last).breaks]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path, request.param)
    yield made
    made.store.close()


def test_an_untouched_ledger_holds_and_its_head_is_noted(book: Book) -> None:
    state = book.store.verify()
    assert state.breaks == ()
    assert state.head == read_head(book.head)
    assert state.head is not None
    assert state.head.number == 10


def test_a_changed_record_is_named(book: Book) -> None:
    book.tamper("UPDATE trimtab_revision SET body = replace(body, 'trying', 'better') WHERE id = 'delay#2'")
    assert book.texts() == ["the ledger does not hold at entry 4: revision 'delay#2' was changed"]
    assert book.texts(last=3) == [], "the last ones hold"


def test_a_removed_record_is_named(book: Book) -> None:
    book.tamper("DELETE FROM trimtab_policy_version WHERE id = 'policy/3'")
    assert book.texts() == ["the ledger does not hold at entry 5: policy_version 'policy/3' was removed"]


def test_a_record_removed_with_its_entry_is_noticed(book: Book) -> None:
    book.tamper("DELETE FROM trimtab_revision WHERE id = 'delay#3'")
    book.tamper("DELETE FROM trimtab_ledger_entry WHERE id = 'ledger/6'")
    assert book.texts() == ["the ledger is broken before entry 7: entry 6 is missing"]


def test_a_changed_record_with_a_forged_entry_breaks_the_next_link(book: Book) -> None:
    entry = book.store.get(LedgerEntry, "ledger/6")
    forged = msgspec.structs.replace(entry, digest="1" * 64)
    body = msgspec.json.encode(forged).decode()
    book.tamper("UPDATE trimtab_ledger_entry SET body = ? WHERE id = 'ledger/6'", body)
    assert book.texts() == ["the ledger does not hold at entry 6: the entry of revision 'delay#3' was changed"]


def test_a_record_put_in_beside_the_ledger_is_named(book: Book) -> None:
    columns = "created_at, model, number, cause"
    body = msgspec.json.encode(revision(9)).decode()
    book.tamper(
        f"INSERT INTO trimtab_revision (id, {columns}, body) SELECT 'delay#9', {columns}, ? FROM trimtab_revision "
        "WHERE id = 'delay#1'",
        body,
    )
    assert book.texts() == ["revision 'delay#9' was written to the database without an entry in the ledger"]


def test_a_ledger_that_was_cut_off_is_noticed_by_its_head(book: Book) -> None:
    noted = read_head(book.head)
    assert noted is not None
    for statement in (
        "DELETE FROM trimtab_ledger_entry WHERE id IN ('ledger/9', 'ledger/10')",
        "DELETE FROM trimtab_revision WHERE id = 'delay#5'",
        "DELETE FROM trimtab_policy_version WHERE id = 'policy/5'",
    ):
        book.tamper(statement)
    (text,) = book.texts(last=1)
    assert text.startswith(f"the ledger ends at entry 8, but entry 10 ({noted.hash[:12]}) had been written")
    assert book.texts() == [text]


def test_another_history_under_the_same_numbers_is_noticed_by_its_head(book: Book) -> None:
    book.head.write_bytes(msgspec.json.encode(Head(number=10, hash="2" * 64)))
    assert book.texts() == ["entry 10 of the ledger was replaced: its hash was 222222222222"]


def test_nothing_is_decided_on_top_of_a_broken_entry_but_what_serves_may_change(book: Book) -> None:
    # given a last entry whose record was changed
    book.tamper("UPDATE trimtab_revision SET body = replace(body, 'trying', 'better') WHERE id = 'delay#5'")
    # then a person's answer is refused, and nothing of it is written
    with pytest.raises(LedgerBroken, match=r"entry 10: revision 'delay#5' was changed.*trimtab ledger verify"):
        book.store.put(resolution(1))
    assert book.store.count(Resolution) == 0
    # nor is one that comes with a change of what serves
    with pytest.raises(LedgerBroken):
        book.store.put(resolution(1), revision(6))
    assert (book.store.count(Resolution), book.store.count(Revision)) == (0, 5)
    # but a rollback is written
    book.store.put(revision(6))
    assert book.texts() == ["the ledger does not hold at entry 10: revision 'delay#5' was changed"]
    assert book.store.count(LedgerEntry) == 11


def test_a_break_that_was_accepted_is_told_apart_and_decisions_go_on(book: Book) -> None:
    book.tamper("UPDATE trimtab_revision SET body = replace(body, 'trying', 'better') WHERE id = 'delay#5'")
    found = book.store.verify().breaks
    book.store.put(
        LedgerAcceptance(
            id="ledger/acceptance/1",
            created_at=NOON,
            breaks=tuple(one.key for one in found),
            texts=tuple(one.text for one in found),
            reason="a slip of the hand",
            by="ann",
        )
    )
    book.store.put(resolution(1))
    state = book.store.verify()
    assert (state.breaks, state.accepted) == ((), found)
    # and another break is still found
    book.tamper("UPDATE trimtab_resolution SET body = replace(body, 'seen', 'done')")
    assert [one.key for one in book.store.verify().breaks] == ["ledger/12/record"]


def test_a_cut_that_was_accepted_is_the_head_from_which_later_cuts_are_found(book: Book) -> None:
    # given a ledger without its last two entries, and a person who accepts that
    for statement in (
        "DELETE FROM trimtab_ledger_entry WHERE id IN ('ledger/9', 'ledger/10')",
        "DELETE FROM trimtab_revision WHERE id = 'delay#5'",
        "DELETE FROM trimtab_policy_version WHERE id = 'policy/5'",
    ):
        book.tamper(statement)
    (found,) = book.store.verify().breaks
    acceptance = LedgerAcceptance(
        id="ledger/acceptance/1", created_at=NOON, breaks=(found.key,), texts=(found.text,), reason="restored", by="ann"
    )
    book.store.put(acceptance)
    assert book.store.verify().breaks == ()
    # when the acceptance's own entry is cut off, too
    book.tamper("DELETE FROM trimtab_ledger_entry WHERE id = 'ledger/9'")
    # then it is found
    assert any("entry 9" in text for text in book.texts(last=1))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__)
def test_records_of_an_older_project_enter_the_ledger_when_it_is_opened(
    tmp_path: Path, backend: type[SqliteMetadata] | type[SqlMetadata]
) -> None:
    # given a database as it was before there was a ledger
    book = Book(tmp_path, backend)
    book.store.close()
    with closing(sqlite3.connect(book.path)) as connection, connection:
        for table in ("ledger_entry", "policy_version", "ledger_acceptance"):
            connection.execute(f"DROP TABLE trimtab_{table}")
        connection.execute(f"UPDATE trimtab_schema SET version_num = '{BEFORE_THE_LEDGER}'")
    book.head.unlink()
    # when it is opened
    store = book.open()
    # then its records are entered, oldest first, and hold
    entries = store.find(LedgerEntry, oldest_first=True)
    assert [one.record for one in entries] == [f"delay#{number}" for number in range(1, 6)]
    assert store.verify().breaks == ()
    # and new ones follow them
    store.put(resolution(1))
    assert store.verify().breaks == ()
    assert store.count(LedgerEntry) == 6
    store.close()


def test_every_kind_of_decision_is_covered() -> None:
    assert {Decision, Resolution, PolicyVersion} < set(COVERED)


@pytest.mark.parametrize("backend", BACKENDS)
def test_records_are_written_where_the_head_cannot_be_noted(
    tmp_path: Path, backend: type[SqliteMetadata] | type[SqlMetadata], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = backend(tmp_path / "metadata.db", head=tmp_path / "file" / "ledger.head")
    store.put(revision(1))
    assert store.find(Revision) == [revision(1)]
    assert "the head of the ledger, entry 1 (" in caplog.text
    with pytest.raises(StoreError, match="the head of the ledger cannot be read"):
        store.verify()
    store.close()
    # and: a folder that is missing is made
    store = backend(tmp_path / "other.db", head=tmp_path / "new" / "ledger.head")
    store.put(revision(1))
    assert store.verify().head == read_head(tmp_path / "new" / "ledger.head") is not None
    store.close()
