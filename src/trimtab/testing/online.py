"""The conformance suite of the online store."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.stores.online.contract import Online

KEYS = st.sampled_from(
    [b"", b"\x00", b"\x00\x00", b"a", b"ab", b"a\x00", b"a\x00\x01", b"\xff", b"\xff" * 9, b"k" * 600]
)
MOMENTS = st.one_of(st.integers(-5, 5), st.integers(-(10**17), 10**17))
WRITES = st.lists(
    st.tuples(st.sampled_from(["view@1", "view@2", "v"]), st.lists(st.tuples(KEYS, MOMENTS, st.binary(max_size=4)))),
    max_size=5,
)
READS = st.lists(st.tuples(st.sampled_from(["view@1", "view@2", "v"]), KEYS, MOMENTS), min_size=1, max_size=20)


class OnlineConformance:
    """The tests of the online contract. Subclass it and define `open`.

    >>> from trimtab.stores.online.lmdb import LmdbOnline
    >>> class TestLmdb(OnlineConformance):
    ...     def open(self, folder):
    ...         return LmdbOnline(folder)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     TestLmdb().test_reading_an_empty_store(TestLmdb().open(Path(folder)))
    """

    def open(self, folder: Path) -> Online:
        """Open the store of a folder. A second call reads what the first store wrote."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Online]:
        """A fresh store."""
        store = self.open(tmp_path)
        yield store
        store.close()

    def one(self, store: Online, view: str, key: bytes, at: int) -> bytes | None:
        """Read one value."""
        return store.read([(store.prefix(view), key)], at)[0]

    def test_a_whole_store_has_no_faults(self, store: Online) -> None:
        store.write("view", [(b"AA", 10, b"ten"), (b"AA", 20, b"twenty")], until=20)
        assert list(store.check()) == []

    def test_a_read_returns_the_value_that_held_at_the_moment(self, store: Online) -> None:
        store.write("view", [(b"AA", 10, b"ten"), (b"AA", 20, b"twenty")], until=20)
        assert [self.one(store, "view", b"AA", at) for at in (9, 10, 19, 20, 10**15)] == [
            None,
            b"ten",
            b"ten",
            b"twenty",
            b"twenty",
        ]

    def test_moments_before_the_epoch_come_before_those_after(self, store: Online) -> None:
        store.write("view", [(b"AA", -20, b"before"), (b"AA", 5, b"after")], until=5)
        assert [self.one(store, "view", b"AA", at) for at in (-21, -20, 0, 4, 5)] == [
            None,
            b"before",
            b"before",
            b"before",
            b"after",
        ]

    def test_one_round_trip_answers_in_order_across_views(self, store: Online) -> None:
        store.write("carriers", [(b"AA", 1, b"a"), (b"UA", 1, b"u")], until=1)
        store.write("origins", [(b"JFK", 1, b"j")], until=1)
        carriers, origins = store.prefix("carriers"), store.prefix("origins")
        wanted = [(origins, b"JFK"), (carriers, b"UA"), (carriers, b"XX"), (carriers, b"AA"), (origins, b"AA")]
        assert store.read(wanted, 1) == [b"j", b"u", None, b"a", None]
        assert store.read([], 1) == []

    def test_each_pair_may_be_read_at_a_time_of_its_own(self, store: Online) -> None:
        store.write("view", [(b"AA", 10, b"ten"), (b"AA", 20, b"twenty"), (b"B" * 600, 5, b"five")], until=20)
        keys = [b"AA", b"AA", b"B" * 600, b"AA", b"none"]
        wanted = [(store.prefix("view"), key) for key in keys]
        assert store.read_each(wanted, [25, 19, 5, 9, 30]) == [b"twenty", b"ten", b"five", None, None]

    def test_a_view_version_does_not_see_another_one(self, store: Online) -> None:
        store.write("view@1", [(b"AA", 1, b"old")], until=1)
        assert self.one(store, "view@2", b"AA", 1) is None
        assert store.watermark("view@2") is None

    def test_reading_an_empty_store(self, store: Online) -> None:
        assert self.one(store, "view", b"AA", 1) is None
        assert store.watermark("view") is None

    def test_the_same_entry_again_changes_nothing(self, store: Online) -> None:
        entries = [(b"AA", 1, b"a"), (b"UA", 2, b"u")]
        assert store.write("view", entries, until=2) == 2
        assert store.write("view", entries, until=2) == 0
        assert store.write("view", [*entries, (b"UA", 3, b"v")], until=3) == 1

    def test_another_value_for_the_same_moment_replaces_the_first(self, store: Online) -> None:
        store.write("view", [(b"AA", 1, b"a")], until=1)
        assert store.write("view", [(b"AA", 1, b"corrected"), (b"UA", 1, b"u")], until=1) == 2
        assert self.one(store, "view", b"AA", 1) == b"corrected"

    def test_a_replacing_write_leaves_nothing_else_of_its_view(self, store: Online) -> None:
        store.write("v@1", [(b"a", 1, b"old"), (b"a", 5, b"old"), (b"b", 1, b"gone")], until=5)
        store.write("v@2", [(b"a", 1, b"other")], until=5)
        assert store.write("v@1", [(b"a", 1, b"new"), (b"a", 3, b"new"), (b"c", 2, b"new")], until=9, replace=True) == 5
        found = [store.read([(store.prefix("v@1"), key)], 7)[0] for key in (b"a", b"b", b"c")]
        assert found == [b"new", None, b"new"]
        assert store.read([(store.prefix("v@2"), b"a")], 7) == [b"other"]
        assert (store.watermark("v@1"), store.watermark("v@2")) == (9, 5)
        store.write("v@1", [], until=10, replace=True)
        assert store.read([(store.prefix("v@1"), b"a")], 7) == [None]

    def test_of_two_values_for_one_moment_in_one_write_the_last_counts(self, store: Online) -> None:
        store.write("view", [(b"AA", 1, b"first"), (b"AA", 1, b"last")], until=1)
        assert self.one(store, "view", b"AA", 1) == b"last"

    def test_the_watermark_is_kept_and_never_goes_back(self, store: Online) -> None:
        store.write("view", [], until=-7)
        assert store.watermark("view") == -7
        store.write("view", [(b"AA", 1, b"a")], until=10)
        store.write("view", [(b"AA", 0, b"backfill")], until=5)
        assert store.watermark("view") == 10
        assert self.one(store, "view", b"AA", 0) == b"backfill"

    def test_entries_may_come_from_a_generator(self, store: Online) -> None:
        assert store.write("view", ((b"AA", n, b"%d" % n) for n in range(5)), until=4) == 5
        assert self.one(store, "view", b"AA", 3) == b"3"

    def test_a_failing_write_leaves_nothing(self, store: Online) -> None:
        def broken() -> Iterator[tuple[bytes, int, bytes]]:
            yield b"AA", 1, b"a"
            raise RuntimeError("the source broke")

        with pytest.raises(RuntimeError, match="the source broke"):
            store.write("view", broken(), until=1)
        assert self.one(store, "view", b"AA", 1) is None
        assert store.watermark("view") is None

    def test_entries_from_a_time_on_are_replaced_for_each_entity_by_itself(self, store: Online) -> None:
        store.write("view", [(key, at, b"%d" % at) for key in (b"a", b"ab", b"b") for at in (1, 5, 9)], until=9)
        changed = store.write("view", [(b"a", 5, b"5"), (b"a", 7, b"new")], until=9, since={b"a": 5, b"b": 6})
        assert changed == 3  # 9 of a, 9 of b, and the new one
        found = [[self.one(store, "view", key, at) for at in (4, 6, 8, 10)] for key in (b"a", b"ab", b"b")]
        assert found == [[b"1", b"5", b"new", b"new"], [b"1", b"5", b"5", b"9"], [b"1", b"5", b"5", b"5"]]

    def test_state_is_kept_beside_the_values_and_goes_with_them(self, store: Online) -> None:
        long = b"k" * 600
        store.write("v@1", [(b"a", 1, b"a")], until=1, state={b"p": b"one", long: b"long", b"": b"empty"})
        store.write("v@2", [], until=1, state={b"p": b"other"})
        assert store.state("v@1", [b"p", b"none", long, b""]) == [b"one", None, b"long", b"empty"]
        assert store.write("v@1", [], until=2, state={b"p": b"two", long: None}) == 0
        assert store.state("v@1", [b"p", long, b""]) == [b"two", None, b"empty"]
        store.write("v@1", [], until=3, replace=True, state={b"q": b"three"})
        assert store.state("v@1", [b"p", b"", b"q"]) == [None, None, b"three"]
        assert store.state("v@2", [b"p"]) == [b"other"]

    def test_versions_are_listed_and_removed_whole(self, store: Online) -> None:
        for view in ("v@2", "v@1", "w@1"):
            store.write(view, [(b"a", 1, b"a"), (b"b", 1, b"b")], until=1, state={b"p": b"p"})
        assert list(store.views()) == ["v@1", "v@2", "w@1"]
        assert store.drop("v@1") == 2
        assert list(store.views()) == ["v@2", "w@1"]
        assert (self.one(store, "v@1", b"a", 1), store.watermark("v@1")) == (None, None)
        assert store.state("v@1", [b"p"]) == [None]
        assert (self.one(store, "v@2", b"a", 1), store.state("w@1", [b"p"])) == (b"a", [b"p"])
        assert store.drop("v@1") == 0

    def test_entries_that_no_later_read_returns_expire(self, store: Online) -> None:
        entries = [(b"a", at, b"%d" % at) for at in (1, 5, 9)] + [(b"b", 2, b"2"), (b"c", 8, b"8")]
        store.write("view", entries, until=9)
        store.write("other", entries, until=9)
        assert store.expire("view", 6) == 1
        assert [self.one(store, "view", b"a", at) for at in (4, 6, 10)] == [None, b"5", b"9"]
        assert [self.one(store, "view", key, 9) for key in (b"b", b"c")] == [b"2", b"8"]
        assert self.one(store, "other", b"a", 4) == b"1"
        assert store.expire("view", 6) == 0

    def test_turns_of_a_view_come_one_after_the_other(self, store: Online) -> None:
        order: list[str] = []

        def other() -> None:
            with store.turn("view"):
                order.append("second")

        with store.turn("view"), store.turn("another view"):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(0.1)
            order.append("first")
        thread.join()
        assert order == ["first", "second"]

    def test_values_survive_reopening(self, store: Online, tmp_path: Path) -> None:
        store.write("view", [(b"AA", 1, b"a")], until=1)
        store.close()
        again = self.open(tmp_path)
        assert self.one(again, "view", b"AA", 1) == b"a"
        assert again.watermark("view") == 1
        again.close()

    def test_two_stores_of_one_folder_see_each_other(self, store: Online, tmp_path: Path) -> None:
        other = self.open(tmp_path)
        other.write("view", [(b"AA", 1, b"a")], until=1)
        assert self.one(store, "view", b"AA", 1) == b"a"
        other.close()
        assert self.one(store, "view", b"AA", 1) == b"a"

    def test_much_data(self, store: Online) -> None:
        entries = [(b"key %d" % (n % 500), n, b"x" * 400 + b"%d" % n) for n in range(5000)]
        assert store.write("view", entries, until=5000) == 5000
        prefix = store.prefix("view")
        values = store.read([(prefix, b"key %d" % n) for n in range(500)], 2499)
        assert values == [b"x" * 400 + b"%d" % (2000 + n) for n in range(500)]

    def test_threads_read_whole_writes_while_one_writes(self, store: Online) -> None:
        prefix = store.prefix("view")
        wanted = [(prefix, b"a"), (prefix, b"b" * 40)]
        store.write("view", [(b"a", 0, b"0"), (b"b" * 40, 0, b"0")], until=0)
        done = threading.Event()
        torn: list[list[bytes | None]] = []

        def look() -> None:
            while not done.is_set():
                values = store.read(wanted, 10**15)
                if values[0] != values[1]:
                    torn.append(values)

        readers = [threading.Thread(target=look) for _ in range(3)]
        for reader in readers:
            reader.start()
        for n in range(1, 100):
            store.write("view", [(b"a", n, b"%d" % n), (b"b" * 40, n, b"%d" % n), (b"c", n, b"x" * 3000)], until=n)
        done.set()
        for reader in readers:
            reader.join()
        assert torn == []
        assert store.read(wanted, 10**15) == [b"99", b"99"]

    # every subclass runs this test, which is meant
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(writes=WRITES, reads=READS)
    def test_reads_equal_a_search_through_everything_written(
        self,
        writes: list[tuple[str, list[tuple[bytes, int, bytes]]]],
        reads: list[tuple[str, bytes, int]],
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = self.open(Path(folder))
            written: dict[tuple[str, bytes], dict[int, bytes]] = {}
            for view, entries in writes:
                store.write(view, entries, until=0)
                for key, at, value in entries:
                    written.setdefault((view, key), {})[at] = value
            for view, key, at in reads:
                held = [time for time in written.get((view, key), {}) if time <= at]
                expected = written[view, key][max(held)] if held else None
                assert self.one(store, view, key, at) == expected
            store.close()
