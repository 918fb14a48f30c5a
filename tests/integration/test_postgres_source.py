"""Rows of a real PostgreSQL: exact values, changes while they are read, and an end of ingest or server anywhere."""

from __future__ import annotations

import datetime as dt
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import trimtab as tt
from kit.postgres import Postgres, a_postgres
from kit.pulled import Pulled
from trimtab.data.connectors.contract import Unreachable
from trimtab.data.connectors.database_access import DatabaseAccess
from trimtab.data.connectors.kpi_query import KpiQuery, Sums
from trimtab.data.connectors.pulling import ingest_pulls
from trimtab.errors import DataError
from trimtab.records.data import TableVersion

UTC = dt.UTC
ORDERS = """CREATE TABLE {name} (
    id bigint PRIMARY KEY, amount numeric(12, 2), state text, changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with a_postgres() as found:
        yield found


@pytest.fixture
def orders(server: Postgres) -> Iterator[Postgres]:
    server.do(ORDERS.format(name="orders"))
    yield server
    server.do("DROP TABLE orders")


def pulled(folder: Path, server: Postgres, **options: Any) -> Pulled:
    options = {"table": "orders", "timestamp": "changed_at", "connection": server.url, **options}
    return Pulled(folder, tt.SQLSource("orders", **options))


def by_key(found: Pulled) -> list[tuple[Any, ...]]:
    """Return the row of each key that was ingested last."""
    rows = found.tables.scan("orders").collect().unique("id", keep="last").sort("id")
    return rows.select("id", "amount", "state", "changed_at").rows()


def in_database(server: Postgres) -> list[tuple[Any, ...]]:
    rows = server.do("SELECT id, amount, state, changed_at FROM orders ORDER BY id")
    return [(*row[:3], row[3].astimezone(UTC)) for row in rows]


def test_values_of_all_types_are_exact(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYARROW_IGNORE_TIMEZONE", "1")  # as libraries set it that speak to Spark
    server.do(
        """CREATE VIEW all_types AS SELECT * FROM (VALUES
        (1::bigint, 12345678901234567.89::numeric(30, 2), 0.1::float8, true, 'a''b',
         '2026-01-01 10:00:00.123456+02'::timestamptz, '2026-01-01 10:00'::timestamp, '2026-01-31'::date,
         '{"a": [1, 1e400]}'::json,
         ARRAY[1, NULL, 3],
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '\\x00ff'::bytea, 7::smallint, NULL::int, 'NaN'::float8),
        (9223372036854775807, 0.10, NULL, NULL, '', '2026-06-01 10:00+02', NULL, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL, NULL)
        ) AS t (id, amount, x, ok, name, changed_at, local, day, doc, list, uuid, raw, small, nothing, odd)"""
    )
    found = pulled(tmp_path, server, table="public.all_types", cursor="id", time_zone="UTC")
    found.ingest()
    first, second = found.tables.scan("orders").collect().to_dicts()
    assert first.pop("odd") != first.get("odd")  # NaN
    assert first == {
        "id": 1,
        "amount": Decimal("12345678901234567.89"),
        "x": 0.1,
        "ok": True,
        "name": "a'b",
        "changed_at": dt.datetime(2026, 1, 1, 8, 0, 0, 123456, tzinfo=UTC),
        "local": dt.datetime(2026, 1, 1, 10, tzinfo=UTC),
        "day": dt.date(2026, 1, 31),
        "doc": '{"a": [1, 1e400]}',
        "list": "[1,null,3]",
        "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "raw": b"\x00\xff",
        "small": 7,
        "nothing": None,
    }
    assert (second["id"], second["amount"], second["name"]) == (2**63 - 1, Decimal("0.10"), "")
    assert [name for name, value in second.items() if value is not None] == ["id", "amount", "name", "changed_at"]
    server.do("DROP VIEW all_types")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            "interval '1 day' AS x",
            "column 'x' is timedelta, such as 1 day, 0:00:00, which tables do not hold; cast it in",
        ),
        ("'NaN'::numeric AS x", "column 'x' has NaN; an exact decimal has at most 28 digits before the point"),
        ("1e30::numeric AS x", "column 'x' has 1000000000000000000000000000000; an exact decimal"),
        ("1 AS x, 2 AS x", "the column 'x' appears twice"),
        ("nowhere AS x", "PostgreSQL "),
        ("nowhere AS x", 'says: column "nowhere" does not exist'),
    ],
)
def test_values_that_tables_do_not_hold_are_refused(
    server: Postgres, tmp_path: Path, column: str, message: str
) -> None:
    query = f"SELECT 1 AS id, '2026-01-01'::timestamptz AS changed_at, {column}"
    with pytest.raises(DataError) as wrong:
        pulled(tmp_path, server, table=None, query=query, cursor="id").ingest()
    assert message in str(wrong.value)
    assert "SELECT" not in str(wrong.value)


@pytest.mark.parametrize("cursor", ["amount", "day", "local", "uuid"])
def test_cursors_of_many_types_go_on_where_they_ended(orders: Postgres, tmp_path: Path, cursor: str) -> None:
    query = """SELECT id, changed_at, amount, changed_at::date AS day, changed_at::timestamp AS local,
               lpad(id::text, 32, '0')::uuid AS uuid FROM orders"""
    found = pulled(tmp_path, orders, table=None, query=query, cursor=cursor, cursor_unique="id", batch_rows=2)
    for start in (1, 4):
        orders.do(
            "INSERT INTO orders SELECT n, n + 0.10, 'x', '2026-01-01'::timestamptz + n * interval '7 h' "
            f"FROM generate_series({start}, {start + 2}) n"
        )
        found.ingest()
    assert found.column("id") == [1, 2, 3, 4, 5, 6]


def test_a_transaction_that_ends_late_is_covered_by_the_lag(orders: Postgres, tmp_path: Path) -> None:
    found = pulled(tmp_path, orders, cursor="changed_at", key=["id"], lag="1h")
    with orders.connect() as late:
        late.execute("INSERT INTO orders VALUES (1, 1, 'late', now())")  # now() is the begin of the transaction
        orders.do("INSERT INTO orders VALUES (2, 2, 'soon', clock_timestamp())")
        found.ingest()
        assert found.column("id") == [2]
    found.ingest()
    assert found.column("id") == [2, 1]
    assert by_key(found) == in_database(orders)


def test_rows_that_change_while_they_are_read_end_as_they_are(orders: Postgres, tmp_path: Path) -> None:
    orders.do("INSERT INTO orders SELECT n, n, 'open', clock_timestamp() FROM generate_series(1, 40) n")
    found = pulled(tmp_path, orders, cursor="changed_at", key=["id"], lag="1m", batch_rows=7)
    chance = random.Random(7)
    for _ in range(4):
        for number, _done in enumerate(ingest_pulls(found.intake(), found.connector())):
            if number > 12:
                break
            changed = [chance.randrange(1, 41) for _ in range(3)]
            orders.do(
                "UPDATE orders SET amount = amount + 1, changed_at = clock_timestamp() WHERE id = ANY(%s)", changed
            )
            orders.do("INSERT INTO orders SELECT max(id) + 1, 0, 'new', clock_timestamp() FROM orders")
    found.ingest()
    assert by_key(found) == in_database(orders)
    assert found.ingest() == []


def test_a_server_that_is_gone_or_refuses_is_named_without_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Postgres
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret/@:")
    options = {"cursor": "id", "connection": "postgresql://app:${SHOP_PASSWORD}@127.0.0.1:1/shop"}
    with pytest.raises(Unreachable, match=r"PostgreSQL 127\.0\.0\.1/shop does not answer: .*refused") as gone:
        pulled(tmp_path, server, **options).ingest()
    options["connection"] = f"postgresql://app:${{SHOP_PASSWORD}}@/shop?host={server.folder}"
    with pytest.raises(Unreachable, match='role "app" does not exist') as refused:
        pulled(tmp_path, server, **options).ingest()
    assert "s3cret" not in f"{gone.value} {refused.value}"


CHILDREN = '''
"""Ingests in forked children, each of which dies by SIGKILL at a write that the parent names."""

import json, os, signal, sys
from pathlib import Path

# before the fork, so that each child starts at once
import alembic.command, deltalake, psycopg, sqlalchemy.dialects.postgresql.psycopg
from kit.pulled import Pulled
from trimtab.definitions.sql_source import SQLSource
from trimtab.data.connectors.contract import Unreachable
from trimtab.data.connectors.database_access import DatabaseAccess
from trimtab.data.connectors.kpi_query import KpiQuery, Sums
from trimtab.data.connectors import databases, pulling

options = json.loads(sys.argv[2])


class Mortal:
    left = None

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        inner = getattr(self._store, name)
        if name not in ("put", "append"):
            return inner

        def write(*args, **given):
            self._tick()
            result = inner(*args, **given)
            self._tick()
            return result

        return write

    def _tick(self):
        if Mortal.left is not None:
            Mortal.left -= 1
            if Mortal.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def child(left):
    Mortal.left = left
    found = Pulled(Path(sys.argv[1]), SQLSource("orders", **options))
    found.tables, found.metadata = Mortal(found.tables), Mortal(found.metadata)
    try:
        found.ingest()
    except Unreachable:
        return 3
    return 0


print("ready", flush=True)
for line in sys.stdin:
    number = os.fork()
    if number == 0:
        code = 9
        try:
            code = child(json.loads(line))
        finally:
            os._exit(code)
    _, status = os.waitpid(number, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
'''


def test_an_end_of_ingest_or_server_anywhere_loses_and_doubles_nothing(orders: Postgres, tmp_path: Path) -> None:
    orders.do("INSERT INTO orders SELECT n, n, 'open', clock_timestamp() FROM generate_series(1, 30) n")
    options = {
        "connection": orders.url,
        "table": "orders",
        "timestamp": "changed_at",
        "cursor": "changed_at",
        "key": ["id"],
        "lag": "1h",
        "batch_rows": 8,
    }
    chance, killed, gone = random.Random(3), 0, 0
    with subprocess.Popen(
        [sys.executable, "-c", CHILDREN, str(tmp_path), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as children:
        assert children.stdin is not None
        assert children.stdout is not None
        assert children.stdout.readline() == "ready\n"

        def go(left: int | None) -> int:
            assert children.stdin is not None
            assert children.stdout is not None
            children.stdin.write(f"{json.dumps(left)}\n")
            children.stdin.flush()
            return int(children.stdout.readline())

        for turn in range(16):
            changed = [chance.randrange(1, 31) for _ in range(5)]
            orders.do(
                "UPDATE orders SET amount = amount + 1, changed_at = clock_timestamp() WHERE id = ANY(%s)", changed
            )
            orders.do("INSERT INTO orders SELECT max(id) + 1, 0, 'new', clock_timestamp() FROM orders")
            server_dies = turn % 4 == 3
            if server_dies:
                death = threading.Timer(chance.random() * 0.3, orders.kill)
                death.start()
            code = go(None if server_dies else turn)
            if server_dies:
                death.join()
                orders.start()
            killed, gone = killed + (code == -9), gone + (code == 3)
            assert code in (0, 3, -9)
        assert go(None) == 0
        children.stdin.close()
    assert killed >= 5
    found = Pulled(tmp_path, tt.SQLSource("orders", **options))  # type: ignore[arg-type]  # options of several types
    assert by_key(found) == in_database(orders)
    rows = found.tables.scan("orders").collect()
    assert rows.n_unique() == rows.height
    versions = found.metadata.find(TableVersion)
    assert sum(version.added_rows for version in versions) == rows.height
    assert sorted(version.version for version in versions) == list(range(len(versions)))


def test_a_cursor_whose_values_come_rounded_is_refused(tmp_path: Path, server: Postgres) -> None:
    server.do("CREATE TABLE gauges (height real, at timestamptz)")
    server.do("INSERT INTO gauges VALUES (0.1, '2026-01-01T00:00Z'), (0.7, '2026-01-02T00:00Z')")
    with pytest.raises(DataError, match=r"column 'height' is real, .* such as height::double precision AS height"):
        pulled(tmp_path, server, table="gauges", timestamp="at", cursor="height").ingest()
    query = "SELECT height::double precision AS height, at FROM gauges"
    cast = pulled(tmp_path, server, table=None, query=query, timestamp="at", cursor="height")
    assert [one.rows_added for one in cast.ingest()] == [2]
    assert cast.ingest() == []


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "bigint"])
def test_the_query_of_a_kpi_sums_by_window_and_writes_nothing(server: Postgres, tmp_path: Path, kind: str) -> None:
    micros = "(extract(epoch FROM at) * 1000000)::bigint" if kind == "bigint" else f"at::{kind}"
    server.do("CREATE TABLE sold (at timestamptz, amount numeric(12, 2), shop text)")
    server.do("CREATE SEQUENCE numbers")
    try:
        for day, amount, shop in ((1, "10.25", "a"), (1, "2", "b"), (3, "7", "a")):
            server.do(f"INSERT INTO sold VALUES ('2026-03-0{day} 00:00:00Z', {amount}, '{shop}')")
        access = DatabaseAccess("KPI 'revenue'", server.url, tmp_path)
        names = {"timestamp": "at", "value": "amount", "entity": "shop"}
        first = int(dt.datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)
        windows = [(first + n * 86_400_000_000, first + (n + 1) * 86_400_000_000) for n in range(3)]
        query = (
            f"SELECT {micros} AS at, amount, shop FROM (SELECT at AT TIME ZONE 'UTC' AS at, amount, shop FROM sold) s"
        )
        if kind == "timestamptz":
            query = "SELECT at, amount, shop FROM sold"
        found = KpiQuery("KPI 'revenue'", access, query, **names).sums(windows)
        assert found == [Sums(2, 12.25, 2), Sums(0, 0.0, 0), Sums(1, 7.0, 1)]
        writes = "SELECT at, nextval('numbers') AS amount, shop FROM sold"
        with pytest.raises(DataError, match="read-only transaction"):
            KpiQuery("KPI 'revenue'", access, writes, **names).sums(windows)
    finally:
        server.do("DROP TABLE sold")
        server.do("DROP SEQUENCE numbers")
