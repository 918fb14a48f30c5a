"""Keys of a source: which row counts when, what is left out, and that nothing is rewritten; copies of files."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.data.batch import open_intake
from trimtab.data.ingest import Ingested, ingest
from trimtab.data.quarantine import read_refused
from trimtab.data.rebuild import rebuild
from trimtab.definitions.sources import FileSource
from trimtab.errors import CheckFailed, DataError, StageError
from trimtab.features.corrections import current, replaced
from trimtab.policy.model import Checks
from trimtab.records.data import CheckReport, TableVersion
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def day(number: int) -> dt.datetime:
    return dt.datetime(2024, 1, number, tzinfo=dt.UTC)


class Shop:
    """A project with one source of orders."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.source = FileSource("orders", "data", timestamp="at", **{"known_at": "known", **options})
        self.tables = DeltaTables(folder / "tables")
        self.metadata = SqlMetadata(folder / "metadata.db")
        (folder / "data").mkdir(parents=True)

    def write(self, name: str, *rows: str, header: str = "order,at,known,price") -> None:
        (self.folder / "data" / name).write_text("\n".join([header, *rows]) + "\n")

    def parts(self, **checks: object) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "checks": Checks.model_validate(checks),
            "tables": self.tables,
            "metadata": self.metadata,
            "clock": ManualClock(NOW),
        }

    def ingest(self, **checks: object) -> list[Ingested]:
        return ingest(open_intake(self.source, **self.parts(**checks)))

    def prices(self, as_of: dt.datetime | None = None) -> list[tuple[Any, Any]]:
        rows = current(self.tables.scan("orders"), self.source, as_of=as_of).collect()
        return list(zip(rows["order"], rows["price"], strict=True))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path, key=["order"])
    shop.write("1.csv", "a,2024-01-01,2024-01-02T00:00Z,10", "b,2024-01-01,2024-01-02T00:00Z,20")
    shop.write("2.csv", "a,2024-01-01,2024-01-05T00:00Z,11", "b,2024-01-01,2024-01-02T00:00Z,20")
    return shop


def test_a_corrected_file_beside_the_old_one_replaces_rows_from_when_it_was_known(shop: Shop) -> None:
    first, second = shop.ingest()
    assert (first.rows_added, second.rows_added) == (2, 1)
    assert shop.prices() == [("b", 20), ("a", 11)]
    assert shop.prices(day(6)) == [("b", 20), ("a", 11)]
    # a training set of a moment before the correction was known sees what it saw then
    assert shop.prices(day(4)) == [("a", 10), ("b", 20)]
    assert any("1 row corrected, to count instead of earlier ones from when" in note for note in second.notes)
    assert any("1 row repeated, equal to rows that the table has: left out" in note for note in second.notes)


def test_a_corrected_file_may_take_the_place_of_the_old_one(shop: Shop) -> None:
    shop.ingest()
    shop.write("2.csv", "a,2024-01-01,2024-01-05T00:00Z,11", "a,2024-01-01,2024-01-07T00:00Z,12")
    done = shop.ingest()
    assert [one.rows_added for one in done] == [0, 1]
    assert shop.prices() == [("b", 20), ("a", 12)]
    assert [version.rows for version in shop.metadata.find(TableVersion, oldest_first=True)] == [2, 3, 4]
    assert shop.ingest()[1].skipped == "already in orders@2"


def test_without_a_key_a_changed_file_is_refused_and_the_key_named(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write("1.csv", "a,2024-01-01,2024-01-02T00:00Z,10")
    shop.ingest()
    shop.write("1.csv", "a,2024-01-01,2024-01-02T00:00Z,11")
    with pytest.raises(DataError, match=r"1.csv has changed .* FileSource\(..., key=\[...\]\)"):
        shop.ingest()


@pytest.mark.parametrize("options", [{}, {"key": ["order"]}])
@pytest.mark.parametrize("other", ["2.csv", "2.parquet"])
def test_a_file_of_rows_that_are_all_there_is_skipped_under_whatever_name(
    tmp_path: Path, options: dict[str, Any], other: str
) -> None:
    shop = Shop(tmp_path, **options)
    rows = ["a,2024-01-01,2024-01-02T00:00Z,10", "b,2024-01-01,2024-01-02T00:00Z,20"]
    shop.write("1.csv", *rows)
    shop.ingest()
    if other.endswith(".csv"):
        shop.write(other, *reversed(rows), "")  # other bytes
    else:
        shop.tables.scan("orders").collect().write_parquet(tmp_path / "data" / other)
    again = shop.ingest()[1]
    assert again.skipped == "all of its 2 rows are in table 'orders' already"
    assert shop.tables.scan("orders").collect().height == 2


@pytest.mark.parametrize(("first", "second"), [("1", "1.5"), ("1.5", "1"), ("", "0"), ("1", "")])
def test_a_correction_in_a_wider_type_is_no_copy(tmp_path: Path, first: str, second: str) -> None:
    shop = Shop(tmp_path, key=["order"])
    shop.write("1.csv", f"a,2024-01-01,2024-01-02T00:00Z,{first}")
    shop.write("2.csv", f"a,2024-01-01,2024-01-02T00:00Z,{second}")
    assert [one.rows_added for one in shop.ingest()] == [1, 1]
    assert shop.prices() == [("a", float(second) if second else None)]


@pytest.mark.parametrize(("first", "second"), [("1", "1.0"), ("2.0", "2"), ("", "NA")])
def test_equal_values_in_another_type_are_a_copy(tmp_path: Path, first: str, second: str) -> None:
    shop = Shop(tmp_path)
    shop.write("1.csv", f"a,2024-01-01,2024-01-02T00:00Z,{first}", f"b,2024-01-01,2024-01-02T00:00Z,{first}")
    shop.write("2.csv", f"a,2024-01-01,2024-01-02T00:00Z,{second}")
    assert [one.rows_added for one in shop.ingest()] == [2, 0]


def test_repeated_rows_without_a_key_are_taken_and_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write("1.csv", "a,2024-01-01,2024-01-02T00:00Z,10", "a,2024-01-01,2024-01-02T00:00Z,10")
    shop.write("2.csv", "a,2024-01-01,2024-01-02T00:00Z,10", "c,2024-01-01,2024-01-02T00:00Z,10")
    first, second = shop.ingest()
    assert any("1 row repeated, equal to an earlier row of the same file" in note for note in first.notes)
    assert any("1 row repeated, equal to rows that the table has: taken in again" in note for note in second.notes)
    assert second.rows_added == 2


def test_a_correction_without_known_at_is_told_to_count_from_its_timestamp(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=["order"], known_at=None)
    shop.write("1.csv", "a,2024-01-01T00:00Z,10", header="order,at,price")
    shop.write("2.csv", "a,2024-01-01T00:00Z,11", header="order,at,price")
    assert any("count as known at their timestamp; name when they became known" in n for n in shop.ingest()[1].notes)
    assert shop.prices(day(1)) == [("a", 11)]


def test_what_no_check_refuses_is_told_all_the_same(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=["order"])
    shop.write(
        "1.csv",
        "a,2024-01-01T00:00,2024-01-02T00:00Z,10",
        ",2030-01-01T00:00Z,2030-01-02T00:00Z,20",
        "b,1970-01-20T10:34:27Z,2024-01-02T00:00Z,20",
    )
    (done,) = shop.ingest()
    assert done.notes == (
        "at: 1 row without a time zone, taken as UTC; name their zone, or that it is UTC: "
        "FileSource(..., time_zone='UTC')",
        "order: 1 row without a key, which belong to no entity",
        "at: 1 row in the future, the latest is 2030-01-01 00:00 UTC",
        "at: 1 row before 1973, the first is 1970-01-20 10:34: were these numbers in another unit?",
        "known: 1 row in the future, the latest is 2030-01-02 00:00 UTC",
    )
    (report,) = shop.metadata.find(CheckReport)
    assert [(note.column, note.rows) for note in report.notes][1] == ("order", 1)
    assert shop.ingest()[0].skipped == "already in orders@0"


def test_texts_that_look_like_decimal_commas_are_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path, separator=";")
    header, rest = "order;at;known;price", "2024-01-01;2024-01-02"
    shop.write("1.csv", f"a;{rest};10,5", f"b;{rest};7", header=header)
    (note,) = shop.ingest()[0].notes
    assert note.startswith("price: 2 rows have decimal commas, such as '10,5', and are text; if they are numbers: ")
    assert note.endswith("FileSource(..., decimal=',')")
    other = Shop(tmp_path / "other", separator=";", key=["order"])
    other.write("1.csv", f"1,5;{rest};10,5", f"2;{rest};cheap", header=header)
    assert other.ingest()[0].notes == ()


def test_the_quarantine_shows_rows_and_files_that_were_refused(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.write("1.csv", "a,2024-01-01,2024-01-02T00:00Z,10", "b,,2024-01-02T00:00Z,20")
    shop.write("2.csv", "c,,2024-01-02T00:00Z,30")
    with pytest.raises(CheckFailed):
        shop.ingest(max_failing_rows=0.5)
    found = read_refused("orders", tables=shop.tables, metadata=shop.metadata, limit=10)
    assert [(one.source, one.verdict, one.failing_rows) for one in found.files] == [
        ("data/2.csv", "fail", 1),
        ("data/1.csv", "warn", 1),
    ]
    (row,) = found.rows
    assert (row.file, row.row, row.reason) == ("data/1.csv", 2, "at: not_nullable")
    assert row.values == {"order": "b", "at": None, "known": "2024-01-02T00:00:00Z", "price": 20}
    # a file that was mended is no longer shown
    shop.write("2.csv", "c,2024-01-01,2024-01-02T00:00Z,30")
    shop.ingest(max_failing_rows=0.5)
    found = read_refused("orders", tables=shop.tables, metadata=shop.metadata, limit=0)
    assert ([one.source for one in found.files], found.rows) == (["data/1.csv"], ())


def test_rebuilding_gives_types_that_fit_all_files_and_keeps_versions_and_counts(shop: Shop) -> None:
    shop.ingest()
    shop.write("3.csv", "c,2024-01-01,2024-01-05T00:00Z,cheap")
    with pytest.raises(DataError, match=r"'cheap' is not of type.*dtypes=\{'price': 'text'\}.*ingest orders --rebuild"):
        shop.ingest()
    shop.source = dataclasses.replace(shop.source, dtypes={"price": "text"})
    done = rebuild(open_intake(shop.source, **shop.parts()))
    assert (done.version.id, done.version.rows, done.version.added_rows) == ("orders@2", 3, 0)
    assert shop.tables.scan("orders").collect()["price"].to_list() == ["10", "20", "11"]
    assert shop.tables.scan("orders", version=1).collect()["price"].to_list() == [10, 20, 11]
    assert (
        rebuild(open_intake(shop.source, **shop.parts())).skipped == "orders@2 has these rows already, value by value"
    )
    assert [one.rows_added for one in shop.ingest()] == [0, 0, 1]
    assert shop.prices()[-1] == ("c", "cheap")
    assert shop.metadata.find(TableVersion, limit=1)[0].rows == 4


def test_rebuilding_refuses_what_it_cannot_read_again(shop: Shop) -> None:
    with pytest.raises(StageError, match="table 'orders' is empty"):
        rebuild(open_intake(shop.source, **shop.parts()))
    shop.ingest()
    (shop.folder / "data" / "1.csv").unlink()
    with pytest.raises(DataError, match=r"data/1.csv is missing or has changed since it was ingested as orders@0"):
        rebuild(open_intake(shop.source, **shop.parts()))


Row = tuple[int | None, int | None]


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(1, 5)), max_size=12), st.integers(0, 6)
)
def test_which_rows_count_is_what_a_loop_finds(rows: list[Row], as_of: int) -> None:
    frame = pl.DataFrame(
        {"id": [key for key, _ in rows], "known": [None if at is None else day(at) for _, at in rows]},
        schema={"id": pl.Int64, "known": pl.Datetime("us", "UTC")},
    )
    source = FileSource("s", "s.csv", timestamp="at", known_at="known", key=["id"])
    moment = day(as_of) if as_of else day(1) - dt.timedelta(days=1)
    standing = set()
    for n, (key, _) in enumerate(rows):
        if key is None:
            standing.add(n)
            continue
        same = [(at, m) for m, (other, at) in enumerate(rows) if other == key]
        known = [(at, m) for at, m in same if at is not None and at <= as_of]
        standing.add(max(known)[1] if known else same[0][1])
    gone = replaced(frame.lazy(), source, as_of=moment)
    assert set(range(len(rows))) - set(gone.tolist()) == standing
    left = current(frame.lazy(), source, as_of=moment).collect()
    assert left.rows() == [frame.row(n) for n in sorted(standing)]
