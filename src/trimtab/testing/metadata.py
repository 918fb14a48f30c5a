"""The conformance suite of the metadata store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import msgspec
import pytest

from trimtab.errors import Conflict, NotFound, StoreError
from trimtab.records.control import Decision, LedgerEntry
from trimtab.records.kinds import RECORDS
from trimtab.records.monitoring import LabelIntake, Profile, Signal
from trimtab.records.record import Action, Level
from trimtab.records.serving import Assignment, Revision
from trimtab.stores.metadata.contract import Between, Metadata, latest, newest_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def revision(number: int, *, model: str = "delay", cause: str = "test", at: datetime = NOON) -> Revision:
    """Return a small record to write."""
    return Revision(
        id=f"{model}#{number}",
        created_at=at,
        model=model,
        number=number,
        assignments=(Assignment(role="champion", bundle=f"{model}/{number}", version=number, weight=100.0),),
        action="deploy",
        cause=cause,
        reason="trying",
        by="tester",
    )


def signal(
    start: datetime, *, kind: str = "data", version: int = 1, value: float = 0.5, subject: str = "all"
) -> Signal:
    """Return a record with a time and a literal among its keys."""
    return Signal(
        id=f"delay/v{version}/{start.isoformat()}/{kind}/{subject}",
        created_at=NOON,
        model="delay",
        version=version,
        kind=kind,  # type: ignore[arg-type]  # one of the choices
        subject=subject,
        start=start,
        end=start + timedelta(days=1),
        statistic="ks",
        value=value,
        p=None,
        p_seq=0.5,
        effect={"psi": 0.1},
        rows=100,
        reference_windows=20,
        carriers=("distance",),
        reason="steady",
    )


def decision(
    number: int, band: str, impact: Level, cell: Action, *, action: Action = "monitor", held_by: str | None = ""
) -> Decision:
    """Return a decision of the cell of a matrix. Its hash is of no chain."""
    return Decision(
        id=f"delay/decision/{number}",
        created_at=NOON,
        model="delay",
        number=number,
        version=1,
        window=f"delay/v1/{number}/matured",
        start=NOON + timedelta(days=number),
        end=NOON + timedelta(days=number + 1),
        band=band,
        p_seq=0.5,
        p=0.5,
        impact_per_day=0.0,
        impact=impact,
        cell=cell,
        action=action,
        reasons=("trying",),
        signals=(),
        by="tester",
        previous_hash="",
        hash="",
        held_by=held_by,
    )


def _is_number(number: int, record: Revision) -> bool:
    return record.number == number


class SearchConformance:
    """The tests of what the contract says about reading records, which a store in memory keeps as well."""

    def open(self, folder: Path) -> Metadata:
        """Open the store of a folder. A second call reads what the first store wrote."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Metadata]:
        """A fresh store."""
        store = self.open(tmp_path)
        yield store
        store.close()

    def test_the_newest_records_up_to_one_are_read_in_order(self, store: Metadata) -> None:
        store.put(*(revision(number) for number in range(1, 30)))
        for last in (0, 1, 20, 29):
            found = newest_until(store, Revision, partial(_is_number, last), model="delay")
            assert [r.number for r in found] == list(range(29, last, -1))
        assert newest_until(store, Revision, lambda r: False, model="other") == []

    def test_a_record_comes_back_equal(self, store: Metadata) -> None:
        record = revision(1)
        store.put(record)
        assert store.get(Revision, record.id) == record

    def test_a_missing_record_is_not_found_with_the_nearest_id(self, store: Metadata) -> None:
        store.put(revision(1))
        with pytest.raises(NotFound, match="Did you mean 'delay#1'"):
            store.get(Revision, "dely#1")

    def test_find_returns_the_order_of_writing_newest_first(self, store: Metadata) -> None:
        store.put(revision(2), revision(1))
        store.put(revision(3))
        assert [found.number for found in store.find(Revision)] == [3, 1, 2]
        assert [found.number for found in store.find(Revision, oldest_first=True)] == [2, 1, 3]
        assert [found.number for found in store.find(Revision, limit=2)] == [3, 1]
        assert [found.number for found in store.find(Revision, limit=2, oldest_first=True)] == [2, 1]

    def test_find_filters_by_every_key_given(self, store: Metadata) -> None:
        store.put(*(revision(n, model=model) for n in (1, 2, 3) for model in ("delay", "fraud")))
        assert [found.id for found in store.find(Revision, model="delay", number=2)] == ["delay#2"]
        assert store.find(Revision, model="other") == []
        assert store.count(Revision, model="fraud") == 3

    def test_a_tuple_means_any_of_its_values(self, store: Metadata) -> None:
        store.put(*(revision(n) for n in range(1, 6)))
        assert [found.number for found in store.find(Revision, number=(2, 4))] == [4, 2]
        assert store.find(Revision, number=()) == []
        assert store.count(Revision, number=(1, 5, 9)) == 2

    def test_a_key_may_be_called_kind(self, store: Metadata) -> None:
        store.put(signal(NOON), signal(NOON, kind="concept"))
        assert [found.kind for found in store.find(Signal, kind="concept")] == ["concept"]
        newest = latest(store, Signal, kind="data")
        assert newest is not None
        assert newest.kind == "data"

    def test_times_are_compared_as_moments_whatever_their_zone(self, store: Metadata) -> None:
        store.put(signal(NOON), signal(NOON + timedelta(microseconds=1), value=0.7))
        elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert [found.value for found in store.find(Signal, start=elsewhere)] == [0.5]
        assert store.count(Signal, start=(NOON, NOON + timedelta(microseconds=1))) == 2

    def test_an_unknown_key_is_an_error_with_the_nearest_one(self, store: Metadata) -> None:
        with pytest.raises(StoreError, match="Did you mean 'model'"):
            store.find(Revision, modle="delay")
        with pytest.raises(StoreError, match="by 'reason'"):
            store.count(Revision, reason="trying")

    def test_kinds_do_not_share_ids(self, store: Metadata) -> None:
        profile = Profile(
            id="delay#1", created_at=NOON, model="delay", version=1, start=NOON, end=NOON, rows=0, columns={}
        )
        store.put(revision(1), profile)
        assert store.get(Profile, "delay#1") == profile
        assert store.get(Revision, "delay#1") == revision(1)

    def test_latest_is_the_newest_match_or_none(self, store: Metadata) -> None:
        assert latest(store, Revision, model="delay") is None
        store.put(revision(1), revision(2), revision(1, model="fraud"))
        newest = latest(store, Revision, model="delay")
        assert newest is not None
        assert newest.number == 2

    def test_pages_follow_one_another_by_the_last_record_of_the_page_before(self, store: Metadata) -> None:
        written = [(3, "delay"), (1, "delay"), (1, "fraud"), (9, "delay"), (2, "delay"), (5, "delay")]
        for number, model in written:
            store.put(revision(number, model=model))
        delay = [number for number, model in written if model == "delay"]
        for oldest_first in (False, True):
            found: list[Revision] = []
            while page := store.find(
                Revision,
                model="delay",
                limit=2,
                oldest_first=oldest_first,
                before=found[-1].id if found else None,
            ):
                assert len(page) <= 2
                found += page
            assert [one.number for one in found] == (delay if oldest_first else delay[::-1])

    def test_a_page_may_begin_behind_a_record_that_does_not_match(self, store: Metadata) -> None:
        store.put(revision(1), revision(1, model="fraud"), revision(2))
        assert [one.number for one in store.find(Revision, model="delay", before="fraud#1")] == [1]
        later = store.find(Revision, model=("delay", "fraud"), before="fraud#1", oldest_first=True)
        assert [one.id for one in later] == ["delay#2"]
        assert store.find(Revision, before="delay#1") == []

    def test_a_page_behind_an_unknown_record_is_not_found(self, store: Metadata) -> None:
        store.put(revision(1))
        with pytest.raises(NotFound, match="Did you mean 'delay#1'"):
            store.find(Revision, before="dely#1")

    def test_a_range_of_times_has_its_start_and_not_its_end(self, store: Metadata) -> None:
        hours = [NOON + timedelta(hours=hour) for hour in (3, 0, 1, 2)]
        store.put(*(signal(hour, value=float(n)) for n, hour in enumerate(hours)))

        def values(start: int | None, end: int | None) -> list[float]:
            ends = [None if hour is None else NOON + timedelta(hours=hour) for hour in (start, end)]
            between = Between(*ends)
            found = store.find(Signal, model="delay", start=between, oldest_first=True)
            assert store.count(Signal, start=between) == len(found)
            return [one.value for one in found]

        assert values(1, 3) == [2.0, 3.0]
        assert values(None, 1) == [1.0]
        assert values(2, None) == [0.0, 3.0]
        assert values(None, None) == [0.0, 1.0, 2.0, 3.0]
        assert values(3, 1) == []

    def test_a_range_goes_with_other_keys_pages_and_zones(self, store: Metadata) -> None:
        starts = [NOON + timedelta(days=day) for day in range(6)]
        store.put(*(signal(start, subject=subject) for start in starts for subject in ("all", "carrier")))
        elsewhere = timezone(timedelta(hours=-7))
        within = Between(starts[1].astimezone(elsewhere), starts[5].astimezone(elsewhere))
        first = store.find(Signal, model="delay", subject="all", start=within, limit=3)
        assert [one.start for one in first] == starts[4:1:-1]
        rest = store.find(Signal, model="delay", subject="all", start=within, limit=3, before=first[-1].id)
        assert [one.start for one in rest] == [starts[1]]
        assert store.count(Signal, kind=("data", "concept"), subject="carrier", start=within) == 4

    def test_only_times_have_ranges(self, store: Metadata) -> None:
        with pytest.raises(StoreError, match=r"revision.number is .*a range is for times only"):
            store.find(Revision, number=Between(NOON, None))
        with pytest.raises(StoreError, match="without a zone"):
            store.find(Signal, start=Between(NOON.replace(tzinfo=None), None))

    def test_decisions_are_counted_by_the_cells_of_the_matrix(self, store: Metadata) -> None:
        store.put(
            decision(1, "minor", "low", "monitor"),
            decision(2, "severe", "high", "retrain", held_by="cooling_down"),
            decision(3, "severe", "high", "retrain", held_by=None),
        )
        assert store.count(Decision, model="delay", band="severe", impact="high") == 2
        assert store.count(Decision, model="delay", cell="retrain", action="monitor") == 2
        assert store.count(Decision, band=("minor", "moderate"), impact="high") == 0
        assert [one.number for one in store.find(Decision, held_by="cooling_down")] == [2]
        assert [one.number for one in store.find(Decision, held_by=None)] == [3]

    def test_positions_grow_with_the_records_of_a_kind(self, store: Metadata) -> None:
        before = store.positions()
        assert set(before) == set(RECORDS)
        assert set(before.values()) == {0}
        store.put(revision(1), signal(NOON))
        first = store.positions()
        assert {name for name in first if first[name] > 0} >= {"revision", "signal"}
        assert first["decision"] == 0
        store.put(revision(1))
        assert store.positions() == first
        store.put(revision(2), revision(3))
        second = store.positions()
        assert second["revision"] > first["revision"]
        assert second["signal"] == first["signal"]


class MetadataConformance(SearchConformance):
    """The tests of the metadata contract. Subclass it and define `open`.

    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.metadata.embedded import SqliteMetadata
    >>> class TestSqlite(MetadataConformance):
    ...     def open(self, folder):
    ...         return SqliteMetadata(folder / "metadata.db")
    >>> with TemporaryDirectory() as folder:
    ...     TestSqlite().test_a_record_comes_back_equal(TestSqlite().open(Path(folder)))
    """

    def test_a_whole_store_has_no_faults(self, store: Metadata) -> None:
        store.put(revision(1), signal(NOON))
        assert list(store.check()) == []

    def test_putting_again_changes_nothing_when_only_created_at_differs(self, store: Metadata) -> None:
        store.put(revision(1))
        store.put(revision(1, at=NOON + timedelta(hours=1)))
        assert store.find(Revision) == [revision(1)]

    def test_putting_other_content_under_an_id_is_a_conflict_that_names_the_field(self, store: Metadata) -> None:
        store.put(revision(1))
        with pytest.raises(Conflict, match=r"'cause'.*'test', not 'other'"):
            store.put(revision(1, cause="other"))
        assert store.get(Revision, "delay#1").cause == "test"

    def test_all_of_a_put_is_written_or_none(self, store: Metadata) -> None:
        store.put(revision(3))
        with pytest.raises(Conflict):
            store.put(revision(1), signal(NOON), revision(2), revision(3, cause="other"))
        with pytest.raises(Conflict):
            store.put(signal(NOON), revision(3, cause="other"))  # what is right comes first
        assert store.count(Revision) == 1
        assert store.count(Signal) == 0

    def test_one_put_may_hold_a_record_twice_but_not_in_two_forms(self, store: Metadata) -> None:
        store.put(revision(1), revision(1))
        assert store.count(Revision) == 1
        with pytest.raises(Conflict):
            store.put(revision(2), revision(2, cause="other"))
        assert store.count(Revision) == 1

    def test_putting_nothing_is_fine(self, store: Metadata) -> None:
        store.put()

    def test_a_key_may_be_called_what_sql_calls_its_own(self, store: Metadata) -> None:
        intake = LabelIntake(
            id="delay/landed@3",
            created_at=NOON,
            model="delay",
            table="landed",
            version=3,
            rows=5,
            added=2,
            repeated=1,
            contradicting=1,
            waiting=2,
            refused=None,
        )
        store.put(intake)
        assert store.find(LabelIntake, table="landed") == [intake]
        assert store.count(LabelIntake, table="flights") == 0

    def test_a_time_without_a_zone_is_refused(self, store: Metadata) -> None:
        with pytest.raises(StoreError, match="without a zone"):
            store.put(revision(1, at=NOON.replace(tzinfo=None)))

    def test_a_value_that_json_cannot_hold_is_refused(self, store: Metadata) -> None:
        with pytest.raises(StoreError, match="NaN"):
            store.put(signal(NOON, value=float("nan")))
        assert store.count(Signal) == 0

    def test_a_value_of_the_wrong_type_is_an_error(self, store: Metadata) -> None:
        with pytest.raises(StoreError, match="'3'; expected int"):
            store.find(Revision, number="3")

    def test_many_records_at_once(self, store: Metadata) -> None:
        store.put(*(revision(n) for n in range(1200)))
        store.put(*(revision(n) for n in range(1300)))
        assert store.count(Revision) == 1300
        assert [found.number for found in store.find(Revision, oldest_first=True)] == list(range(1300))

    def test_records_are_there_when_the_store_is_opened_again(self, store: Metadata, tmp_path: Path) -> None:
        store.put(revision(1))
        other = self.open(tmp_path)
        assert other.get(Revision, "delay#1") == revision(1)
        store.put(revision(2))
        assert other.count(Revision) == 2
        other.close()

    def test_what_was_decided_is_chained_in_the_order_of_writing(self, store: Metadata) -> None:
        store.put(revision(1), signal(NOON))
        store.put(revision(2), revision(1))
        store.put(revision(2))
        entries = store.find(LedgerEntry, oldest_first=True)
        assert [(one.number, one.kind, one.record) for one in entries] == [
            (1, "revision", "delay#1"),
            (2, "revision", "delay#2"),
        ]
        assert entries[1].previous_hash == entries[0].hash
        state = store.verify()
        assert state.head is not None
        assert (state.head.number, state.head.hash, state.breaks) == (2, entries[1].hash, ())

    def test_an_empty_ledger_holds(self, store: Metadata) -> None:
        store.put(signal(NOON))
        assert store.verify().head is None
        assert store.verify(last=5).breaks == ()

    def test_what_is_refused_leaves_no_entry(self, store: Metadata) -> None:
        store.put(revision(1))
        with pytest.raises(Conflict):
            store.put(revision(2), revision(1, cause="other"))
        assert store.count(LedgerEntry) == 1
        assert store.verify().breaks == ()

    def test_an_entry_is_not_put_by_itself(self, store: Metadata) -> None:
        store.put(revision(1))
        entry = store.find(LedgerEntry)[0]
        with pytest.raises(StoreError, match="entries of the ledger are written with their records"):
            store.put(msgspec.structs.replace(entry, id="ledger/2", number=2))

    def test_threads_write_and_read_at_once(self, store: Metadata) -> None:
        problems: list[Exception] = []

        def work(model: str) -> None:
            try:
                for number in range(20):
                    store.put(revision(number, model=model), revision(number, model="shared"))
                    assert store.count(Revision, model=model) == number + 1
            except Exception as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(f"model{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert store.count(Revision) == 5 * 20
        assert [one.number for one in store.find(LedgerEntry, oldest_first=True)] == list(range(1, 101))
        assert store.verify().breaks == ()
