"""Rows of a connector reach the table once each, whatever ends the process and wherever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.pulled import NOW, Pulled
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.contract import Access, Connector, Pull
from trimtab.data.ingest import Ingested
from trimtab.data.quarantine import read_refused
from trimtab.definitions.sources import Source
from trimtab.errors import CheckFailed, DataError, DefinitionError, StoreError
from trimtab.records.data import TableVersion

Row = dict[str, Any]


class Ended(BaseException):
    """The process ends here."""


class Log:
    """A list of rows, given in pulls from an offset on; those `overlap` rows before it are given again."""

    def __init__(self, rows: list[Row], *, size: int = 2, overlap: int = 0, sparse: bool = False) -> None:
        self.rows, self.size, self.overlap, self.sparse = rows, size, overlap, sparse

    def pulls(self, state: str | None) -> Iterator[Pull]:
        done = int(state or 0)
        first = max(0, done - self.overlap)
        while first < len(self.rows):
            end = max(first, done) + self.size
            rows = pl.DataFrame(self.rows[first:end], infer_schema_length=None)
            first = done = min(end, len(self.rows))
            yield Pull(rows, state=str(done), label=f"rows to {done}", sparse=self.sparse)

    def check(self) -> str:
        return f"{len(self.rows)} rows"


class Shop(Pulled):
    """A table of orders that an ingest of a `Log` fills."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, Source("orders", timestamp="at", **options))

    def ingest(self, connector: Connector | None = None, **checks: Any) -> list[Ingested]:
        return super().ingest(connector, **{"max_failing_rows": 0.6, **checks})

    def amounts(self) -> list[Any]:
        return self.column("amount")


def row(number: int, **values: Any) -> Row:
    return {"order": number, "at": f"2026-01-{number % 28 + 1:02}T00:00:00Z", "amount": number, **values}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_each_row_is_taken_once_and_the_state_says_where_they_end(shop: Shop) -> None:
    log = Log([row(n) for n in range(5)])
    assert [one.rows_added for one in shop.ingest(log)] == [2, 2, 1]
    assert shop.ingest(log) == []
    log.rows.append(row(5))
    (last,) = shop.ingest(log)
    assert (last.file, last.rows_added, last.version.rows) == ("rows to 6", 1, 6)
    assert shop.amounts() == [0, 1, 2, 3, 4, 5]
    assert shop.tables.state("orders") == "6"
    assert shop.tables.scan("orders").collect_schema()["at"] == pl.Datetime("us", "UTC")


def test_equal_rows_of_a_source_without_a_key_all_count(shop: Shop) -> None:
    shop.ingest(Log([row(1), row(1), row(1)], size=1))
    assert shop.amounts() == [1, 1, 1]


def test_rows_that_are_given_again_are_left_out_by_key(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=["order"])
    log = Log([row(n) for n in range(4)], overlap=3)
    shop.ingest(log)
    before = shop.tables.version("orders")
    assert shop.ingest(log) == []
    assert shop.tables.version("orders") == before
    log.rows[3] = row(3, amount=33)  # changed within the overlap
    log.rows.append(row(4))
    shop.ingest(log)
    assert shop.amounts() == [0, 1, 2, 3, 33, 4]


def test_rows_that_fail_again_are_in_quarantine_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=["order"])
    log = Log([row(0), row(1, at=None), row(2)], overlap=3, size=3)
    (done,) = shop.ingest(log)
    assert (done.rows_added, done.rows_quarantined) == (2, 1)
    assert shop.ingest(log) == []
    log.rows.append(row(3))
    (done,) = shop.ingest(log)
    assert (done.rows_added, done.rows_quarantined) == (1, 0)
    assert shop.amounts() == [0, 2, 3]
    assert shop.tables.scan("orders_quarantine").collect().height == 1


def test_a_pull_in_which_too_many_rows_fail_is_refused_and_comes_again(shop: Shop) -> None:
    log = Log([row(0), row(1), row(2, at=None), row(3, at=None)])
    with pytest.raises(CheckFailed, match="rows to 4: 2 of 2 rows"):
        shop.ingest(log)
    assert (shop.amounts(), shop.tables.state("orders")) == ([0, 1], "2")
    log.rows[2:] = [row(2), row(3)]
    shop.ingest(log)
    assert shop.amounts() == [0, 1, 2, 3]


def test_columns_that_no_row_of_a_sparse_pull_has_are_null(shop: Shop) -> None:
    shop.ingest(Log([row(0, city="Rome"), row(1)], sparse=True))
    shop.ingest(Log([row(0, city="Rome"), row(1), row(2)], sparse=True))
    assert shop.tables.scan("orders").collect()["city"].to_list() == ["Rome", None, None]


def test_a_row_that_is_as_it_was_before_a_change_is_a_correction(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=["order"])
    log = Log([row(0, state="open"), row(1, state="open")])
    shop.ingest(log)
    log.rows += [row(0, state="closed"), row(0, state="open")]
    shop.ingest(log)
    log.rows.append(row(0, state="open"))
    shop.ingest(log)
    assert [one["state"] for one in shop.now()] == ["open", "open"]
    assert shop.column("state") == ["open", "open", "closed", "open"]


def test_a_missing_or_new_column_is_named(shop: Shop) -> None:
    shop.ingest(Log([row(0, city="Rome")]))
    with pytest.raises(DataError, match="Source 'orders': rows to 2: its columns differ") as wrong:
        shop.ingest(Log([row(0), row(1, town="Rome")], size=1))
    assert "- city: string is missing" in str(wrong.value)
    with pytest.raises(DataError, match=r"no column 'at', which source 'orders' names\. Did you mean 'att'"):
        shop.ingest(Log([row(0), {"att": "2026-01-01"}], size=1))


def test_a_state_that_comes_twice_is_refused(shop: Shop) -> None:
    class Stuck(Log):
        def pulls(self, state: str | None) -> Iterator[Pull]:
            for n in range(2):
                yield Pull(pl.DataFrame([row(n)]), state="same", label=f"row {n}")

    shop.ingest(Stuck([]))
    with pytest.raises(StoreError, match="gave one state twice"):
        shop.ingest(Stuck([]))


def test_a_table_that_lost_versions_is_not_filled_from_the_start(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.ingest(Log([row(0), row(1)], size=1))
    (tmp_path / "tables" / "orders").rename(tmp_path / "away")
    with pytest.raises(StoreError, match="lost version 0 with the rows of rows to 1"):
        shop.ingest(Log([row(0), row(1)], size=1))


def test_a_source_that_nothing_can_pull_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="rows of a Source are not pulled"):
        open_connector(Source("orders", timestamp="at"), Access(tmp_path, tmp_path))


@settings(max_examples=20)  # each example makes two metadata stores
@given(
    st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=8),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["append", "put", "find"]), st.integers(0, 4), st.booleans()), max_size=4),
    st.booleans(),
)
def test_a_kill_anywhere_loses_and_doubles_nothing(
    kinds: list[str], size: int, kills: list[tuple[str, int, bool]], keyed: bool
) -> None:
    rows = [row(n) if kind == "good" else row(n, at=None) for n, kind in enumerate(kinds)]
    options: dict[str, Any] = {"key": ["order"]} if keyed else {}
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        whole, killed = Shop(Path(folder) / "a", **options), Shop(Path(folder) / "b", **options)
        overlap = 2 if keyed else 0
        whole.ingest(Log(rows, size=size, overlap=overlap), max_failing_rows=1.0)
        for verb, count, after in kills:
            with patch.context() as ending:
                ending.setattr(*_ending(killed, verb, count, after))
                with suppress(Ended):
                    killed.ingest(Log(rows, size=size, overlap=overlap), max_failing_rows=1.0)
        killed.ingest(Log(rows, size=size, overlap=overlap), max_failing_rows=1.0)
        assert killed.amounts() == whole.amounts() == [n for n, kind in enumerate(kinds) if kind == "good"]
        assert _refused(killed) == _refused(whole)
        versions = [
            sorted((v.version, v.rows, v.added_rows, v.source) for v in shop.metadata.find(TableVersion))
            for shop in (killed, whole)
        ]
        assert keyed or versions[0] == versions[1]


def _ending(shop: Shop, verb: str, count: int, after: bool) -> tuple[object, str, Any]:
    """Return what to replace so that the process ends before or after a write."""
    target = shop.tables if verb == "append" else shop.metadata
    whole, left = getattr(target, verb), [count]

    def ends(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0 and not after:
            raise Ended
        result = whole(*args, **kwargs)
        if left[0] < 0:
            raise Ended
        return result

    return target, verb, ends


def _refused(shop: Shop) -> list[Any]:
    found = read_refused("orders", tables=shop.tables, metadata=shop.metadata, limit=100)
    return sorted(one.values["order"] for one in found.rows)


def test_rows_are_arrow_types_that_tables_hold(shop: Shop) -> None:
    frame = pl.DataFrame({"at": [NOW], "amount": [1]}, schema_overrides={"amount": pl.UInt16})

    class One(Log):
        def pulls(self, state: str | None) -> Iterator[Pull]:
            yield Pull(frame, state="1", label="one")

    shop.ingest(One([]))
    assert shop.tables.schema("orders") == {"at": str(pa.timestamp("us", tz="UTC")), "amount": "int32"}
