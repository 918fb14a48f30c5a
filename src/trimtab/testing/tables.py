"""The conformance suite of the table store."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from trimtab.errors import Conflict, DataError, NotFound
from trimtab.stores.tables.contract import Tables

UTC_MICROS = pa.timestamp("us", tz="UTC")
LONG_AGO, WRITTEN, MUCH_LATER = (datetime(year, 1, 1, tzinfo=UTC) for year in (1990, 2100, 2200))
"""Times before, at and after the writing of all versions."""


def batch(*numbers: int) -> pa.Table:
    """Return a small batch with a number, a time and a text that may be null."""
    return pa.table(
        {
            "number": pa.array(numbers, pa.int64()),
            "moment": pa.array(numbers, UTC_MICROS),
            "text": pa.array([None if n % 3 == 0 else f"text {n}" for n in numbers], pa.string()),
        }
    )


def numbers(frame: pl.LazyFrame) -> list[int]:
    """Return the sorted numbers of a scan."""
    return sorted(frame.select("number").collect()["number"].to_list())


def _timely(values: pa.Array) -> pa.Array:
    """Return dates as timestamps without a zone, because Arrow casts dates to UTC only in two steps."""
    return values.cast(pa.timestamp("us")) if pa.types.is_date(values.type) else values


class TablesConformance:
    """The tests of the table contract. Subclass it and define `open`.

    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.tables.delta import DeltaTables
    >>> class TestDelta(TablesConformance):
    ...     def open(self, folder):
    ...         return DeltaTables(folder)
    >>> with TemporaryDirectory() as folder:
    ...     TestDelta().test_batches_are_found_by_id(TestDelta().open(Path(folder)))
    """

    def open(self, folder: Path) -> Tables:
        """Open the store of a folder. A second call reads what the first store wrote."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Tables:
        """A fresh store."""
        return self.open(tmp_path)

    def test_a_whole_store_has_no_faults(self, store: Tables) -> None:
        store.append("flights", batch(1, 2, 3), batch="a")
        store.append("flights", batch(4), batch="b")
        assert list(store.check()) == []

    def test_appended_rows_come_back_with_their_types(self, store: Tables) -> None:
        store.append("flights", batch(1, 2, 3), batch="a")
        frame = store.scan("flights").sort("number").collect()
        assert frame.schema == {
            "number": pl.Int64(),
            "moment": pl.Datetime("us", "UTC"),
            "text": pl.String(),
        }
        assert frame["text"].to_list() == ["text 1", "text 2", None]
        assert frame["moment"].to_physical().to_list() == [1, 2, 3]

    def test_each_append_is_a_new_version_and_old_ones_stay(self, store: Tables) -> None:
        first = store.append("flights", batch(1, 2), batch="a")
        second = store.append("flights", batch(3), batch="b")
        assert second > first
        assert store.version("flights") == second
        assert numbers(store.scan("flights")) == [1, 2, 3]
        assert numbers(store.scan("flights", version=first)) == [1, 2]

    def test_a_batch_that_is_there_adds_nothing_and_returns_its_version(self, store: Tables) -> None:
        first = store.append("flights", batch(1), batch="a")
        second = store.append("flights", batch(2), batch="b")
        assert store.append("flights", batch(1), batch="a") == first
        assert store.append("flights", batch(9), batch="b") == second
        assert store.version("flights") == second
        assert numbers(store.scan("flights")) == [1, 2]

    def test_the_state_of_the_newest_append_with_one_is_there_with_its_rows(self, store: Tables) -> None:
        assert store.state("flights") is None
        store.append("flights", batch(1), batch="a")
        assert store.state("flights") is None
        store.append("flights", batch(2), batch="b", state='{"offset": 7}')
        store.append("flights", batch(3), batch="c")
        assert store.state("flights") == '{"offset": 7}'
        store.append("flights", batch(9), batch="b", state='{"offset": 99}')  # the batch is there already
        assert store.state("flights") == '{"offset": 7}'
        assert store.append("flights", batch(), batch="d", state="8 \u00e9 \n") == 3
        assert store.state("flights") == "8 \u00e9 \n"
        assert numbers(store.scan("flights")) == [1, 2, 3]
        store.replace("flights", batch(4), batch="e")
        assert store.state("flights") == "8 \u00e9 \n"

    def test_rows_that_come_after_another_state_are_refused(self, store: Tables) -> None:
        assert store.append("flights", batch(), batch="a", state="1", after=None) == 0
        with pytest.raises(Conflict):
            store.append("flights", batch(2), batch="b", state="2", after=None)
        assert store.append("flights", batch(2), batch="b", state="2", after="1") == 1
        with pytest.raises(Conflict):
            store.append("flights", batch(2), batch="b", state="2", after="1")
        assert (store.version("flights"), store.state("flights")) == (1, "2")

    def test_a_state_outlives_many_appends(self, store: Tables) -> None:
        for n in range(30):
            store.append("flights", batch(n), batch=f"{n}", state=f"{n}" if n < 3 else None)
        assert store.state("flights") == "2"

    def test_the_same_batch_may_go_to_two_tables(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        store.append("weather", batch(1), batch="a")
        assert numbers(store.scan("weather")) == [1]

    def test_batches_are_found_by_id(self, store: Tables) -> None:
        assert store.batch_version("flights", "a") is None
        version = store.append("flights", batch(1), batch="a")
        assert store.batch_version("flights", "a") == version
        assert store.batch_version("flights", "b") is None

    def test_batches_are_found_among_many_versions(self, store: Tables) -> None:
        versions = {f"batch {n}": store.append("flights", batch(n), batch=f"batch {n}") for n in range(60)}
        assert {id_: store.batch_version("flights", id_) for id_ in versions} == versions
        assert numbers(store.scan("flights", version=versions["batch 30"])) == list(range(31))

    def test_an_empty_batch_is_a_version_like_any_other(self, store: Tables) -> None:
        first = store.append("flights", batch(), batch="a")
        second = store.append("flights", batch(1), batch="b")
        third = store.append("flights", batch(), batch="c")
        assert [store.batch_version("flights", id_) for id_ in "abc"] == [first, second, third]
        assert numbers(store.scan("flights")) == [1]

    def test_a_compaction_keeps_rows_order_batches_and_earlier_versions(self, store: Tables) -> None:
        versions = [store.append("flights", batch(n, 100 - n), batch=f"batch {n}") for n in range(9)]
        store.append("flights", batch(9).append_column("late", pa.array(["x"])), batch="batch 9", add_columns=True)
        before, early = store.scan("flights").collect(), store.scan("flights", version=versions[4]).collect()
        done = store.compact("flights", now=WRITTEN)
        assert (done.files_before, done.files_after) == (10, 1)
        assert store.version("flights") == done.version
        assert store.scan("flights").collect().equals(before)
        assert store.scan("flights", version=versions[4]).collect().equals(early)
        assert store.append("flights", batch(1), batch="batch 1") == versions[1]
        store.append("flights", batch(50), batch="after", add_columns=True)
        assert store.scan("flights").collect()["number"].to_list() == [*before["number"], 50]
        assert store.compact("flights", now=WRITTEN, least=3).version is None
        assert list(store.check()) == []

    def test_a_vacuum_removes_what_is_kept_by_no_version(self, store: Tables) -> None:
        for n in range(5):
            store.append("flights", batch(n), batch=f"batch {n}")
        kept = store.scan("flights", version=2).collect()
        compacted = store.compact("flights", now=WRITTEN).version
        last = store.append("flights", batch(9), batch="last")
        whole = store.scan("flights").collect()
        assert store.vacuum("flights", keep=[], since=LONG_AGO).files == 0
        assert store.vacuum("flights", keep=[2], since=MUCH_LATER).files == 2  # of appends 3 and 4
        assert store.scan("flights", version=2).collect().equals(kept)
        assert store.scan("flights").collect().equals(whole)
        assert list(store.readable("flights")) == [0, 1, 2, 4, compacted, last]
        with pytest.raises(NotFound, match="version 3"):
            store.scan("flights", version=3)
        assert list(store.check()) == []
        assert store.vacuum("flights", keep=[2], since=MUCH_LATER).files == 0

    def test_a_compaction_of_no_table_is_refused(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        with pytest.raises(NotFound, match="flights"):
            store.compact("flihts", now=WRITTEN)

    def test_columns_may_come_in_any_order(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        store.append("flights", batch(2).select(["text", "number", "moment"]), batch="b")
        assert store.scan("flights").collect_schema().names() == ["number", "moment", "text"]
        assert numbers(store.scan("flights")) == [1, 2]

    def test_other_columns_are_refused_with_the_difference(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        other = batch(2).drop_columns(["text"]).append_column("extra", pa.array([1.5]))
        with pytest.raises(DataError, match=r"- text: string is missing\n  \+ extra: double is new"):
            store.append("flights", other, batch="b")
        assert numbers(store.scan("flights")) == [1]
        assert store.batch_version("flights", "b") is None

    def test_another_type_is_refused_even_where_columns_may_be_added(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        other = batch(2).set_column(0, "number", pa.array(["two"]))
        for add_columns in (False, True):
            with pytest.raises(DataError, match="~ number: int64 in the table, string in the batch"):
                store.append("flights", other, batch="b", add_columns=add_columns)

    @pytest.mark.parametrize(
        ("before", "after", "made"),
        [
            (pa.array([1, 2], pa.int32()), pa.array([2**40]), pa.int64()),
            (pa.array([1, 2]), pa.array([3], pa.int8()), pa.int64()),
            (pa.array([1, 2]), pa.array([1.5]), pa.float64()),
            (pa.array([1.5, 2.5]), pa.array([3]), pa.float64()),
            (pa.array([0.5, 2.5], pa.float32()), pa.array([0.1]), pa.float64()),
            (pa.array([None, None], pa.string()), pa.array([1.5]), pa.float64()),
            (pa.array([None, None], pa.string()), pa.array([True]), pa.bool_()),
            (pa.array([1, 2], pa.int32()).cast(pa.date32()), pa.array([3], UTC_MICROS), UTC_MICROS),
            (pa.array([1, 2], UTC_MICROS), pa.array([3], pa.int32()).cast(pa.date32()), UTC_MICROS),
            (pa.array(["a", "b"]), pa.array(["c"]).dictionary_encode(), pa.string()),
            (pa.array([Decimal("1.5"), None]), pa.array([Decimal("100.25")]), pa.decimal128(5, 2)),
        ],
        ids=str,
    )
    def test_a_column_widens_where_no_value_changes(
        self, store: Tables, before: pa.Array, after: pa.Array, made: pa.DataType
    ) -> None:
        first = store.append("flights", pa.table({"x": before, "n": [1, 2]}), batch="a")
        old = store.schema("flights", version=first)
        second = store.append("flights", pa.table({"n": [3], "x": after}), batch="b")
        rows = store.scan("flights").collect().to_arrow()
        assert store.schema("flights") == {"x": str(made), "n": "int64"}
        assert rows["n"].to_pylist() == [1, 2, 3]
        expected = pa.chunked_array([_timely(before).cast(made), _timely(after).cast(made)])
        assert rows["x"].cast(made).equals(expected)
        assert store.schema("flights", version=first) == old
        assert store.scan("flights", version=first).collect().height == 2
        assert store.append("flights", pa.table({"n": [3], "x": after}), batch="b") == second

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            (pa.array([1]), pa.array(["a"]), "~ x: int64 in the table, string in the batch"),
            (pa.array(["a"]), pa.array([1]), "~ x: string in the table, int64 in the batch"),
            (pa.array([True]), pa.array([1]), "~ x: bool in the table, int64 in the batch"),
            (pa.array([2**53 + 1]), pa.array([1.5]), "column 'x' is int64; as double some of its values would change"),
            (pa.array([1.5]), pa.array([2**53 + 1]), "column 'x' is int64; as double some of its values would change"),
        ],
        ids=str,
    )
    def test_what_would_change_a_value_is_refused(
        self, store: Tables, before: pa.Array, after: pa.Array, message: str
    ) -> None:
        store.append("flights", pa.table({"x": before}), batch="a")
        with pytest.raises(DataError, match=message):
            store.append("flights", pa.table({"x": after}), batch="b")
        assert store.version("flights") == 0

    def test_all_rows_are_replaced_at_once_and_earlier_versions_stay(self, store: Tables) -> None:
        store.append("flights", batch(1, 2), batch="a")
        version = store.replace("flights", pa.table({"other": [1.5]}), batch="b")
        assert store.replace("flights", pa.table({"other": [1.5]}), batch="b") == version == 1
        assert store.schema("flights") == {"other": "double"}
        assert store.scan("flights").collect()["other"].to_list() == [1.5]
        assert numbers(store.scan("flights", version=0)) == [1, 2]
        assert store.batch_version("flights", "a") == 0

    def test_rows_in_many_chunks_keep_their_order(self, store: Tables) -> None:
        chunks = [batch(*range(n, n + 10)) for n in range(0, 500, 10)]
        store.append("flights", pa.concat_tables(chunks[:25]), batch="a")
        store.append("flights", pa.concat_tables(chunks[25:]), batch="b")
        assert store.scan("flights").collect()["number"].to_list() == list(range(500))

    def test_columns_are_added_when_allowed(self, store: Tables) -> None:
        first = store.append("flights", batch(1), batch="a")
        store.append("flights", batch(2).append_column("extra", pa.array([1.5])), batch="b", add_columns=True)
        store.append("flights", batch(3).drop_columns(["text"]), batch="c", add_columns=True)
        frame = store.scan("flights").sort("number").collect()
        assert frame["extra"].to_list() == [None, 1.5, None]
        assert frame["text"].to_list() == ["text 1", "text 2", None]
        assert store.schema("flights", version=first) == {
            "number": "int64",
            "moment": "timestamp[us, tz=UTC]",
            "text": "string",
        }
        newest = store.schema("flights")
        assert newest is not None
        assert newest["extra"] == "double"

    def test_texts_of_every_encoding_are_texts(self, store: Tables) -> None:
        store.append("flights", batch(1, 2), batch="a")
        for n, type_ in enumerate((pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))):
            other = batch(4, 5).set_column(2, "text", pa.array(["x", "y"]).cast(type_))
            store.append("flights", other, batch=f"b{n}")
        assert store.scan("flights").collect_schema()["text"] == pl.String()

    @pytest.mark.parametrize(
        "type_", [pa.timestamp("us"), pa.timestamp("ns", tz="UTC"), pa.timestamp("us", tz="Europe/Rome")], ids=str
    )
    def test_times_other_than_utc_micros_are_refused(self, store: Tables, type_: pa.DataType) -> None:
        other = batch(1).set_column(1, "moment", pa.array([1], type_))
        with pytest.raises(DataError, match="column 'moment' is timestamp"):
            store.append("flights", other, batch="a")
        assert store.version("flights") is None

    @pytest.mark.parametrize("type_", [pa.uint8(), pa.null(), pa.time64("us"), pa.duration("us")], ids=str)
    def test_types_that_would_not_come_back_are_refused(self, store: Tables, type_: pa.DataType) -> None:
        with pytest.raises(DataError, match="column 'odd' is"):
            store.append("flights", pa.table({"odd": pa.nulls(2, type_)}), batch="a")

    def test_a_missing_table_is_not_found_with_the_nearest_name(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        with pytest.raises(NotFound, match="Did you mean 'flights'"):
            store.scan("flihts")
        assert store.version("flihts") is None
        assert store.schema("flihts") is None

    def test_a_missing_version_is_not_found(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        with pytest.raises(NotFound, match="no version 99"):
            store.scan("flights", version=99)

    def test_names_are_sorted(self, store: Tables) -> None:
        assert list(store.names()) == []
        for name in ("weather", "flights", "flights_quarantine"):
            store.append(name, batch(1), batch="a")
        assert list(store.names()) == ["flights", "flights_quarantine", "weather"]

    @pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
    def test_a_name_that_is_no_name_is_refused(self, store: Tables, name: str) -> None:
        with pytest.raises(DataError, match="no name for a table"):
            store.append(name, batch(1), batch="a")

    def test_rows_come_in_the_order_of_appending(self, store: Tables) -> None:
        for n in range(30):
            store.append("flights", batch(*range(5 * n + 4, 5 * n - 1, -1)), batch=f"{n}")
        expected = [number for n in range(30) for number in range(5 * n + 4, 5 * n - 1, -1)]
        assert store.scan("flights").collect()["number"].to_list() == expected
        assert store.scan("flights", version=9).collect()["number"].to_list() == expected[:50]

    def test_filters_and_projections_work_on_a_scan(self, store: Tables) -> None:
        store.append("flights", batch(1, 2, 3), batch="a")
        store.append("flights", batch(4).append_column("extra", pa.array([1.5])), batch="b", add_columns=True)
        frame = store.scan("flights").filter(pl.col("number") > 2).select("extra", "number").collect()
        assert frame.rows() == [(None, 3), (1.5, 4)]

    def test_nested_values_come_back(self, store: Tables) -> None:
        data = pa.table({"list": [[1, 2], None], "pair": [{"x": 1.5, "y": "a"}, {"x": None, "y": "b"}]})
        store.append("flights", data, batch="a")
        store.append("flights", data, batch="b")
        assert store.scan("flights").collect().rows() == 2 * [
            ([1, 2], {"x": 1.5, "y": "a"}),
            (None, {"x": None, "y": "b"}),
        ]

    def test_a_scan_stays_at_its_version(self, store: Tables) -> None:
        store.append("flights", batch(1), batch="a")
        frame = store.scan("flights")
        store.append("flights", batch(2), batch="b")
        assert numbers(frame) == [1]

    def test_another_store_of_the_folder_sees_the_same(self, store: Tables, tmp_path: Path) -> None:
        version = store.append("flights", batch(1), batch="a")
        other = self.open(tmp_path)
        assert other.batch_version("flights", "a") == version
        other.append("flights", batch(2), batch="b")
        assert numbers(store.scan("flights")) == [1, 2]

    def test_threads_that_append_to_one_table_lose_nothing(self, store: Tables) -> None:
        problems: list[Exception] = []

        def work(writer: int) -> None:
            try:
                for n in range(6):
                    own = store.append("flights", batch(10 * writer + n), batch=f"own {writer} {n}")
                    assert store.batch_version("flights", f"own {writer} {n}") == own
                    store.append("flights", batch(1000 + n), batch=f"shared {n}")
            except Exception as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        own = [10 * writer + n for writer in range(4) for n in range(6)]
        assert numbers(store.scan("flights")) == sorted([*own, *range(1000, 1006)])
