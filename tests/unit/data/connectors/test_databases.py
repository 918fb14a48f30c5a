"""Rows of SQLite: pages in order, what comes late, what is refused. PostgreSQL is in tests/integration."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from kit.pulled import Pulled
from trimtab.errors import CheckFailed, DataError, DefinitionError, StageError

TABLE = "CREATE TABLE orders (id INTEGER, changed_at TEXT, amount REAL, state TEXT)"


class Database:
    """A database of orders in SQLite."""

    def __init__(self, folder: Path, schema: str = TABLE) -> None:
        self.folder = folder
        self.do(schema)

    def do(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(self.folder / "shop.db")) as connection, connection:
            connection.executemany(statement, rows) if rows else connection.execute(statement)

    def add(self, *rows: tuple[Any, ...]) -> None:
        self.do(f"INSERT INTO orders VALUES ({', '.join('?' * len(rows[0]))})", *rows)

    def pulled(self, **options: Any) -> Pulled:
        options = {"table": "orders", "timestamp": "changed_at", "connection": "sqlite:///shop.db", **options}
        return Pulled(self.folder, tt.SQLSource("orders", **options))


@pytest.fixture
def shop(tmp_path: Path) -> Database:
    return Database(tmp_path)


def at(minute: int, second: int = 0) -> str:
    return f"2026-01-01 10:{minute:02}:{second:02}"


def test_each_ingest_reads_the_rows_beyond_the_cursor(shop: Database) -> None:
    shop.add(*((n, at(n), n * 0.5, "open") for n in range(7)))
    pulled = shop.pulled(cursor="id", batch_rows=3)
    assert [one.rows_added for one in pulled.ingest()] == [3, 3, 1]
    assert pulled.ingest() == []
    shop.add((7, at(7), None, None))
    (done,) = pulled.ingest()
    assert (done.rows_added, done.file) == (1, "orders: 7 .. 7")
    assert pulled.column("id") == list(range(8))
    assert pulled.tables.schema("orders") == {
        "id": "int64",
        "changed_at": "timestamp[us, tz=UTC]",
        "amount": "double",
        "state": "string",
    }


def test_rows_with_one_cursor_value_are_all_read_in_pages_of_any_size(shop: Database) -> None:
    shop.add(*((n, at(0), n, "open") for n in range(7)))
    pulled = shop.pulled(cursor="changed_at", cursor_unique="id", batch_rows=2)
    pulled.ingest()
    shop.add(*((n, at(0), n, "open") for n in range(7, 9)))
    pulled.ingest()
    assert pulled.column("id") == list(range(9))


def test_a_changed_row_comes_again_and_a_late_one_is_found_within_the_lag(shop: Database) -> None:
    shop.add((1, at(0), 1, "open"), (2, at(10), 2, "open"))
    pulled = shop.pulled(cursor="changed_at", key=["id"], lag="5m", batch_rows=1)
    pulled.ingest()
    shop.do("UPDATE orders SET state = 'closed', changed_at = ? WHERE id = 1", (at(12),))
    shop.add((3, at(6), 3, "late"))
    assert [one.rows_added for one in pulled.ingest()] == [1, 1]
    assert pulled.ingest() == []
    shop.add((4, at(6, 50), 4, "too late"), (5, at(7), 5, "just in time"))
    pulled.ingest()
    assert [(row["id"], row["state"]) for row in pulled.now()] == [
        (1, "closed"),
        (2, "open"),
        (3, "late"),
        (5, "just in time"),
    ]


def test_a_cursor_that_is_a_number_has_a_lag_that_is_one(shop: Database) -> None:
    shop.add((10, at(0), 1, "open"))
    pulled = shop.pulled(cursor="id", key=["id"], lag=5)
    pulled.ingest()
    shop.add((4, at(1), 1, "too late"), (5, at(1), 1, "late"))
    pulled.ingest()
    assert pulled.column("id") == [10, 5]
    with pytest.raises(DataError, match="lag is '5m' and the cursor 'id' is such as 10; expected a duration, such as"):
        shop.pulled(cursor="id", key=["id"], lag="5m").ingest()


def test_rows_with_a_key_that_share_the_last_cursor_value_are_found_without_a_lag(shop: Database) -> None:
    shop.add((5, at(0), 5, "open"))
    pulled = shop.pulled(cursor="changed_at", key=["id"])
    pulled.ingest()
    shop.add((3, at(0), 3, "open"))
    pulled.ingest()
    assert pulled.column("id") == [5, 3]


@pytest.mark.parametrize("options", [{"cursor_unique": "id"}, {}])
def test_rows_without_a_key_that_would_be_missed_are_refused(shop: Database, options: dict[str, Any]) -> None:
    shop.add((5, at(0), 5, "open"))
    pulled = shop.pulled(cursor="changed_at", **options)
    pulled.ingest()
    shop.add((3, at(0), 3, "open"))
    with pytest.raises(DataError, match="several rows have changed_at = 2026-01-01 10:00:00, so some may be missed"):
        pulled.ingest()


@pytest.mark.parametrize("batch_rows", [1, 2, 10])
def test_a_cursor_that_is_not_unique_is_refused(shop: Database, batch_rows: int) -> None:
    shop.add((1, at(0), 1, "a"), (2, at(1), 1, "b"), (3, at(1), 1, "c"))
    with pytest.raises(
        DataError, match=r"several rows have changed_at = .*10:01:00, .*key=\[\.\.\.\] or cursor_unique="
    ):
        shop.pulled(cursor="changed_at", batch_rows=batch_rows).ingest()


def test_rows_without_a_cursor_value_are_refused(shop: Database) -> None:
    shop.add((1, at(0), 1, "a"), (2, None, 1, "b"))
    with pytest.raises(DataError, match="there are rows without a 'changed_at', by which rows are ordered"):
        shop.pulled(cursor="changed_at", key=["id"]).ingest()
    filled = "SELECT id, coalesce(changed_at, '2026-01-01 09:00:00') AS changed_at, state FROM orders; "
    pulled = shop.pulled(cursor="changed_at", key=["id"], table=None, query=filled)
    pulled.ingest()
    assert pulled.column("id") == [2, 1]


def test_without_a_cursor_all_rows_are_read_and_changes_taken(shop: Database) -> None:
    shop.add(*((n, at(n), n, "open") for n in range(5)))
    pulled = shop.pulled(key=["id"], batch_rows=2)
    pulled.ingest()
    before = pulled.tables.version("orders")
    assert pulled.ingest() == []
    assert pulled.tables.version("orders") == before
    for state in ("closed", "open"):  # back to what it was
        shop.do("UPDATE orders SET state = ? WHERE id = 3", (state,))
        assert [one.rows_added for one in pulled.ingest()] == [1]
        assert pulled.now()[3]["state"] == state
    assert len(pulled.column("id")) == 7


def test_a_query_may_have_colons_and_per_cents(shop: Database) -> None:
    shop.add((1, at(0), 1, "10:30"), (2, at(1), 1, "10%"))
    query = "SELECT id, changed_at, state FROM orders WHERE state IN ('10:30', '10%') OR state LIKE '%:name'"
    pulled = shop.pulled(cursor="id", table=None, query=query)
    pulled.ingest()
    assert pulled.column("state") == ["10:30", "10%"]


def test_names_may_need_quotes(tmp_path: Path) -> None:
    shop = Database(tmp_path, 'CREATE TABLE "my ""orders" ("order" INTEGER, "at:x" TEXT, "select" TEXT)')
    shop.do('INSERT INTO "my ""orders" VALUES (1, ?, ?)', (at(0), "x"))
    pulled = shop.pulled(table='my "orders', timestamp="at:x", cursor="order", cursor_unique="select")
    pulled.ingest()
    shop.do('INSERT INTO "my ""orders" VALUES (2, ?, ?)', (at(0), "x"))
    pulled.ingest()
    assert pulled.column("order") == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "ordres", "cursor": "id"}, "SQLite shop.db says: no such table: ordres. Did you mean 'orders'?"),
        ({"cursor": "chnged_at", "key": ["id"]}, "no column 'chnged_at', its cursor. Did you mean 'changed_at'?"),
        ({"cursor": "id", "cursor_unique": "idd"}, "no column 'idd', its cursor_unique. Did you mean 'id'?"),
        ({"key": ["ids"]}, "no column 'ids', its key. Did you mean 'id'?"),
        ({"cursor": "id", "timestamp": "at"}, "there is no column 'at', which source 'orders' names"),
        (
            {"cursor": "id", "table": None, "query": "SELEC id FROM orders"},
            'SQLite shop.db says: near "FROM": syntax error',
        ),
        ({"cursor": "id", "connection": "sqlite:///shp.db"}, "there is no '"),
        ({"cursor": "id", "connection": "sqlite:///shp.db"}, "Did you mean 'shop.db'?"),
    ],
)
def test_what_the_database_does_not_have_is_named(shop: Database, options: dict[str, Any], message: str) -> None:
    shop.add((1, at(0), 1, "a"))
    with pytest.raises(DataError) as wrong:
        shop.pulled(**options).ingest()
    assert message in str(wrong.value)
    assert "orders'" in str(wrong.value)


def test_values_of_several_kinds_in_one_column_are_refused_or_text(shop: Database) -> None:
    shop.add((1, at(0), 1, "a"), (2, at(1), "many", "b"))
    with pytest.raises(DataError, match="row 2: column 'amount' is 'many', and numbers in rows before"):
        shop.pulled(cursor="id").ingest()
    pulled = shop.pulled(cursor="id", dtypes={"amount": "text"})
    pulled.ingest()
    assert pulled.column("amount") == ["1.0", "many"]


def test_rows_that_fail_within_the_lag_are_in_quarantine_once(shop: Database) -> None:
    shop.add((1, at(0), 1, "a"), (2, at(1), 1, "b"))
    pulled = shop.pulled(cursor="changed_at", key=["id"], lag="1h", timestamp="state", dtypes={"state": "time"})
    shop.do("UPDATE orders SET state = NULL WHERE id = 2")
    shop.do("UPDATE orders SET state = '2026-01-01' WHERE id = 1")
    with pytest.raises(CheckFailed):
        pulled.ingest()
    pulled.ingest(max_failing_rows=0.5)
    assert pulled.ingest(max_failing_rows=0.5) == []
    assert pulled.tables.scan("orders_quarantine").collect().height == 1


def test_the_check_says_what_is_there_and_secrets_come_from_the_environment(
    shop: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", "sqlite:///shop.db")
    pulled = shop.pulled(cursor="id", connection=tt.secret("SHOP_URL"))
    assert pulled.connector().check() == "4 columns in SQLite shop.db"
    assert "shop.db" not in repr(pulled.source)
    assert "shop.db" not in pulled.source.origin
    monkeypatch.setenv("SHOP_URL", "mysql://root:s3cret@db/shop")
    with pytest.raises(StageError, match="'mysql' is no database that is known here") as wrong:
        pulled.connector().check()
    assert "s3cret" not in str(wrong.value)
    monkeypatch.setenv("SHOP_URL", "s3cret")
    with pytest.raises(StageError, match="holds no URL such as postgresql") as wrong:
        pulled.connector().check()
    assert "s3cret" not in str(wrong.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": None}, "has neither table nor query; expected one of them"),
        ({"query": "SELECT 1"}, "has a table and a query; expected one of them"),
        ({}, "has neither cursor nor key, so its rows would be taken in again and again"),
        ({"cursor": "id", "lag": "5m"}, "lag reads rows again, so rows need a key to count once"),
        ({"cursor": "id", "key": ["id"], "lag": "5 parsecs"}, "lag: '5 parsecs' is not a duration"),
        ({"cursor": "id", "key": ["id"], "lag": -1}, "lag is -1; expected such as '10m', or 1000 for a number"),
        ({"key": ["id"], "lag": "5m"}, "has cursor_unique or lag, but no cursor"),
        ({"cursor": "id", "batch_rows": 0}, "batch_rows is 0; expected a number from 1"),
        ({"cursor": "id", "connection": "postgres://db/x"}, "Did you mean 'postgresql'?"),
        ({"cursor": "id", "connection": "postgresql://app:s3cret@db/x"}, "postgresql://app:${NAME}@db/x"),
        ({"cursor": 3}, "cursor is 3; expected text, such as 'updated_at'"),
    ],
)
def test_wrong_options_are_named(shop: Database, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as wrong:
        shop.pulled(**options)
    assert message in str(wrong.value)
    assert "SQLSource 'orders'" in str(wrong.value)


changes = st.lists(
    st.tuples(st.integers(0, 5), st.integers(-3, 3), st.sampled_from(["open", "closed"])), min_size=1, max_size=6
)


@settings(max_examples=15)
@given(st.lists(changes, min_size=1, max_size=4), st.integers(1, 4))
def test_any_changes_within_the_lag_end_in_the_table(rounds: list[list[tuple[int, int, str]]], batch_rows: int) -> None:
    with TemporaryDirectory() as folder:
        shop = Database(Path(folder), TABLE.replace("INTEGER", "INTEGER PRIMARY KEY"))
        pulled = shop.pulled(cursor="changed_at", key=["id"], lag="10m", batch_rows=batch_rows)
        for number, each in enumerate(rounds):
            for id_, shift, state in each:
                row = (id_, at(20 + number + shift), 1.0, state)
                shop.do("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)", row)
            pulled.ingest()
        with closing(sqlite3.connect(shop.folder / "shop.db")) as connection:
            wanted = connection.execute("SELECT id, changed_at, state FROM orders ORDER BY id").fetchall()
        assert [(r["id"], f"{r['changed_at']:%Y-%m-%d %H:%M:%S}", r["state"]) for r in _as_ingested(pulled)] == wanted


def _as_ingested(pulled: Pulled) -> list[dict[str, Any]]:
    """Return the row of each key that was ingested last: what the database had."""
    rows = pulled.tables.scan("orders").collect()
    return rows.unique("id", keep="last", maintain_order=True).sort("id").to_dicts()
