"""The Delta table store: the contract, and what its folder looks like to other Delta readers."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import StoreError
from trimtab.stores.tables.contract import Tables
from trimtab.stores.tables.delta import DeltaTables
from trimtab.stores.tables.delta_files import SMALL, TARGET, DataFile
from trimtab.stores.tables.delta_files import _groups as groups_of
from trimtab.testing import TablesConformance
from trimtab.testing.tables import batch, numbers


class TestDelta(TablesConformance):
    def open(self, folder: Path) -> Tables:
        return DeltaTables(folder)


@settings(max_examples=10)
@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=15))
def test_however_often_batches_arrive_each_is_there_once(order: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = DeltaTables(Path(folder))
        versions = [store.append("t", batch(n), batch=f"batch {n}") for n in order]
        seen = list(dict.fromkeys(order))
        assert versions == [seen.index(n) for n in order]
        assert numbers(store.scan("t")) == sorted(seen)


def test_files_of_an_append_that_never_committed_are_invisible(tmp_path: Path) -> None:
    # given a table, and what a writer leaves that dies between its data file and its commit
    store = DeltaTables(tmp_path)
    store.append("t", batch(1), batch="a")
    store.append("t", batch(2), batch="b")
    (tmp_path / "t" / "_delta_log" / f"{1:020}.json").unlink()
    # when the batch arrives again
    assert store.batch_version("t", "b") is None
    assert store.append("t", batch(2), batch="b") == 1
    # then it is there once
    assert numbers(store.scan("t")) == [1, 2]


def test_a_folder_without_its_first_commit_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t" / "_delta_log").mkdir(parents=True)
    store = DeltaTables(tmp_path)
    assert store.names() == []
    assert store.version("t") is None
    assert store.append("t", batch(1), batch="a") == 0


def test_a_writer_that_took_the_next_version_elsewhere_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a store that has read version 0 when another machine, which knows no lock of ours, writes version 1
    store = DeltaTables(tmp_path)
    store.append("t", batch(1), batch="a")
    stale = DeltaTable(tmp_path / "t")
    DeltaTables(tmp_path).append("t", batch(2), batch="b")
    fresh = store._open
    reads = iter([stale])
    monkeypatch.setattr(store, "_open", lambda name, version=None: next(reads, None) or fresh(name, version))
    # when it appends, then both are there
    assert store.append("t", batch(3), batch="c") == 2
    assert numbers(store.scan("t")) == [1, 2, 3]


def test_an_append_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    store = DeltaTables(tmp_path)
    (tmp_path / "t").write_text("a file where the table should be")
    with pytest.raises(StoreError, match="table 't': append of batch a failed"):
        store.append("t", batch(1), batch="a")


def test_it_is_a_plain_delta_table(tmp_path: Path) -> None:
    store = DeltaTables(tmp_path)
    store.append("t", batch(1, 2), batch="a")
    store.append("t", batch(3), batch="b")
    table = DeltaTable(tmp_path / "t")
    assert table.version() == 1
    assert table.count() == 3
    assert table.metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


@settings(max_examples=30)
@given(data=st.data())
def test_files_are_merged_with_their_neighbours_alone(data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(0, 6), max_size=12).map(sorted))
    files = [
        DataFile(f"{place}", data.draw(st.sampled_from([1, SMALL // 2, SMALL, TARGET])), time, 1)
        for place, time in enumerate(times)
    ]
    groups = [group for group in groups_of(files) if group]
    merged = {file.path: DataFile(group[0].path, 0, group[0].modified, 0) for group in groups for file in group}
    after = sorted({merged.get(file.path, file) for file in files}, key=lambda file: file.modified)
    order = [[f.path for f in group] for group in groups]
    flat = [file.path for file in files]
    for group in order:
        assert flat[flat.index(group[0]) : flat.index(group[-1]) + 1] == group
    assert all(file.bytes_ < SMALL for group in groups for file in group)
    firsts = {group[0].path for group in groups}
    others = [file for file in files if file.path not in merged]
    assert not {file.modified for file in others} & {file.modified for group in groups for file in group}
    assert len({file.modified for file in after if file.path in firsts}) == len(groups)


def test_other_readers_of_delta_see_what_a_compaction_made(tmp_path: Path) -> None:
    store = DeltaTables(tmp_path)
    for n in range(25):
        store.append("t", batch(n), batch=f"batch {n}")
    store.compact("t", now=datetime(2026, 3, 1, tzinfo=UTC))
    for n in range(25, 45):  # over a checkpoint
        store.append("t", batch(n), batch=f"batch {n}")
    table = DeltaTable(tmp_path / "t")
    assert sorted(table.to_pyarrow_table()["number"].to_pylist()) == list(range(45))
    assert [entry["version"] for entry in table.history() if entry["operation"] == "OPTIMIZE"] == [25]


def test_checkpoints_do_not_grow_with_the_files_that_compactions_replaced(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    for number in range(45):
        tables.append("rows", pa.table({"n": [number]}), batch=f"{number}")
        if number in (15, 30):
            tables.compact("rows", now=datetime.now(UTC))
    newest = pl.read_parquet(max((tmp_path / "rows" / "_delta_log").glob("*.checkpoint.parquet")))
    assert "remove" not in newest.columns or newest["remove"].struct.field("path").null_count() == newest.height
    assert tables.scan("rows", version=9).collect()["n"].to_list() == list(range(10))
    assert tables.scan("rows").collect()["n"].to_list() == list(range(45))
