"""The embedded metadata store: the contract, and a file that SQLAlchemy may open as well."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kit.migrations import BACK_TO_0008
from trimtab.errors import StoreError
from trimtab.records.control import Decision
from trimtab.records.kinds import RECORDS
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.stores.metadata import rows
from trimtab.stores.metadata.contract import Between, Metadata
from trimtab.stores.metadata.embedded import SqliteMetadata
from trimtab.stores.metadata.rows import Busy, table_name
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.metadata.version import MIGRATIONS, VERSION_TABLE
from trimtab.testing import MetadataConformance
from trimtab.testing.metadata import NOON, decision, revision, signal


class TestEmbedded(MetadataConformance):
    def open(self, folder: Path) -> Metadata:
        return SqliteMetadata(folder / "metadata.db")


def test_sqlalchemy_reads_what_it_wrote_and_the_other_way_round(tmp_path: Path) -> None:
    own, other = SqliteMetadata(tmp_path / "metadata.db"), SqlMetadata(tmp_path / "metadata.db")
    own.put(revision(1), signal(NOON))
    other.put(revision(2))
    own.put(revision(2), revision(3))  # a repetition of what the other wrote
    for store in (own, other):
        assert [found.number for found in store.find(Revision, model="delay")] == [3, 2, 1]
        assert store.find(type(signal(NOON)), start=NOON) == [signal(NOON)]
        store.close()


@pytest.mark.parametrize("store", [SqliteMetadata, SqlMetadata])
def test_a_file_that_was_cut_off_or_overwritten_is_an_error_with_a_remedy(
    store: type[SqliteMetadata | SqlMetadata], tmp_path: Path
) -> None:
    path = tmp_path / "metadata.db"
    SqliteMetadata(path).close()
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"not a database, but a text of some length" * 200):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"restore the metadata database from a backup"):
            store(path).find(Revision)


def test_it_opens_without_sqlalchemy(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    SqliteMetadata(path).close()
    script = (
        "import sys; from pathlib import Path; from trimtab.stores.catalog import open_metadata; "
        "store = open_metadata(None, Path(sys.argv[1])); store.close(); "
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules), 'a database library was imported'"
    )
    subprocess.run([sys.executable, "-c", script, str(path.parent)], check=True)


def test_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    SqliteMetadata(path).close()
    first = (MIGRATIONS / "versions" / "0001_records.py").read_text()
    with sqlite3.connect(path) as connection:
        for kind in RECORDS.values():
            if f'"{kind.KIND}":' not in first:
                connection.execute(f"DROP TABLE {table_name(kind)}")
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    store = SqliteMetadata(path)
    assert [store.count(kind) for kind in RECORDS.values()] == [0] * len(RECORDS)
    store.close()


def test_a_newer_file_and_what_is_no_database_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    SqliteMetadata(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreError, match="9999, which is newer"):
        SqliteMetadata(path)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        SqliteMetadata(path)


def test_commits_are_on_disk_when_put_returns(tmp_path: Path) -> None:
    store = SqliteMetadata(tmp_path / "metadata.db")
    store.put(revision(1))
    with store._connection("look") as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_writer_that_waits_too_long_is_told_so_and_may_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BUSY_TIMEOUT_MS", 10)
    store = SqliteMetadata(tmp_path / "metadata.db")
    with sqlite3.connect(tmp_path / "metadata.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="locked"):
            store.put(revision(1))
        assert store.count(Revision) == 0  # readers never wait
        other.execute("ROLLBACK")
    store.put(revision(1))
    assert store.count(Revision) == 1
    store.close()


LOOKUPS = [
    (Signal, ("model", "version", "start"), "model_version_start"),
    (Signal, ("model", "version", "kind", "start"), "model_version_kind_start"),
    (Signal, ("model", "version", "kind"), "model_version_kind"),
    (Profile, ("model", "version"), "model_version"),
    (WindowReport, ("model", "stage"), "model_stage"),
    (Decision, ("model", "action"), "model_action"),
]


@pytest.mark.parametrize(("kind", "keys", "index"), LOOKUPS)
def test_look_ups_of_the_loop_go_by_an_index_over_all_of_their_keys(
    tmp_path: Path, kind: type[Record], keys: tuple[str, ...], index: str
) -> None:
    SqliteMetadata(tmp_path / "metadata.db").close()
    condition = " AND ".join(f'("{key}" IN (?))' for key in keys)
    statement = f"SELECT body FROM trimtab_{kind.KIND} WHERE {condition} ORDER BY seq DESC LIMIT ?"
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ["x"] * (len(keys) + 1)).fetchall()
    assert f"ix_trimtab_{kind.KIND}_{index} (" in plan[0][3]
    assert len(plan) == 1, "it is sorted by the index"


RANGES = [
    (Signal, ("model", "subject"), "model_subject_start"),
    (WindowReport, ("model", "stage"), "model_stage_start"),
    (Decision, ("model",), "model_start"),
]


@pytest.mark.parametrize(("kind", "keys", "index"), RANGES)
def test_a_range_of_times_is_looked_up_in_an_index(
    tmp_path: Path, kind: type[Record], keys: tuple[str, ...], index: str
) -> None:
    store = SqliteMetadata(tmp_path / "metadata.db")
    asked: list[str] = []
    with store._connection("watch") as connection:
        connection.set_trace_callback(asked.append)
    where: dict[str, Any] = dict.fromkeys(keys, "x")
    assert store.find(kind, start=Between(NOON, NOON), limit=5, **where) == []
    with store._connection("watch") as connection:
        connection.set_trace_callback(None)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}").fetchall()
    assert f"ix_trimtab_{kind.KIND}_{index} (" in plan[0][3]
    assert plan[0][3].endswith(f"({' AND '.join(f'{key}=?' for key in keys)} AND start>? AND start<?)")
    store.close()


@pytest.mark.parametrize("store", [SqliteMetadata, SqlMetadata])
def test_records_of_an_older_file_are_found_by_the_keys_that_came_later(
    store: type[SqliteMetadata | SqlMetadata], tmp_path: Path
) -> None:
    path = tmp_path / "metadata.db"
    older = SqliteMetadata(path)
    written = [decision(n, "severe", "high", "retrain") for n in (1, 2)]
    older.put(signal(NOON), signal(NOON, subject="o'hare"), *written, decision(3, "minor", "low", "monitor"))
    older.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in BACK_TO_0008:
            connection.execute(statement)
    opened = store(path)
    assert list(opened.find(Decision, band="severe", impact="high", cell="retrain", oldest_first=True)) == written
    assert opened.find(Signal, model="delay", subject="o'hare", start=Between(NOON)) == [signal(NOON, subject="o'hare")]
    assert opened.positions()["decision"] == 3
    assert opened.verify().breaks == ()
    opened.put(decision(4, "severe", "high", "review"))
    assert opened.count(Decision, band="severe") == 3
    opened.close()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(  # a process of an older version says so, rather than write what is not found
            "INSERT INTO trimtab_decision (id, created_at, model, number, action, start, body) VALUES "
            "('x', 1, 'delay', 9, 'monitor', 1, '{}')"
        )
