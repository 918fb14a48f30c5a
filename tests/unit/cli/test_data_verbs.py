"""What ingest, its --rebuild and quarantine print, as text and as JSON."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli import stages
from trimtab.cli.data import quarantine, validate
from trimtab.errors import UsageError

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders", timestamp="at", pii=["y"])
m = tt.Model("m", task="regression", examples=orders, label="y", features=["x"])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "trimtab.yaml").write_text("project: orders\nchecks: { max_failing_rows: 50% }\n")
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "1.csv").write_text("at,x,y\n2024-01-01 05:00,1,2\n,3,4\n")
    return tmp_path


def run(project: Path, *arguments: str) -> str:
    verbs = {"quarantine": quarantine.app, "validate": validate.app}.get(arguments[0], stages.app)
    done = CliRunner().invoke(verbs, [*arguments, "-p", str(project)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_ingest_tells_what_is_odd_and_quarantine_what_was_refused(project: Path) -> None:
    told = run(project, "ingest")
    assert "orders: 1 row from 1 file, 1 row quarantined" in told
    assert "orders/1.csv: at: 1 row without a time zone, taken as UTC" in told
    (project / "orders" / "2.csv").write_text("at,x,y\n2024-01-01T05:00Z,1,2\n")
    assert "orders/2.csv: all of its 1 rows are in table 'orders' already" in run(project, "ingest")
    shown = run(project, "quarantine")
    assert "orders: orders/1.csv: 1 of 2 rows refused  (batch " in shown
    assert "\n    at: not_nullable: 1 row" in shown
    assert "orders/1.csv row 2: at: not_nullable\n    at=None, x=3, y=***" in shown
    assert "x=3, y=4" in run(project, "quarantine", "list", "--show-pii")
    found = json.loads(run(project, "quarantine", "orders", "--json"))
    assert [row["values"] for row in found["rows"]] == [{"at": None, "x": 3, "y": "***"}]
    assert [report["failing_rows"] for report in found["files"]] == [1]
    assert json.loads(run(project, "quarantine", "--rows", "0", "--json"))["rows"] == []


def test_quarantine_of_nothing(project: Path) -> None:
    assert run(project, "quarantine") == "no row and no file was refused, or all were released or dropped\n"


def test_rows_are_released_or_dropped_for_a_reason(project: Path) -> None:
    (project / "checks.py").write_text(
        "import pandera.polars as pa\nOrders = pa.DataFrameSchema({'x': pa.Column(int, pa.Check.lt(3))})\n"
    )
    (project / "trimtab.yaml").write_text("project: orders\nchecks: { max_failing_rows: 90%, orders: checks.Orders }\n")
    (project / "orders" / "2.csv").write_text("at,x,y\n2024-01-01T06:00Z,1,2\n2024-01-01T06:00Z,5,6\n")
    run(project, "ingest")
    with pytest.raises(UsageError, match="for a reason"):
        run(project, "quarantine", "release", "orders/2.csv")
    with pytest.raises(UsageError, match=r"no batch 'orders/3.csv' was refused.*'orders/2.csv'"):
        run(project, "quarantine", "show", "orders/3.csv")
    done = run(project, "quarantine", "release", "orders/2.csv", "--reason", "bulk order", "--force")
    assert "1 row of orders/2.csv released into orders@2 by " in done
    batch = json.loads(run(project, "quarantine", "--json"))["files"][0]["batch_hash"]
    assert "1 row of orders/1.csv dropped" in run(project, "quarantine", "drop", batch[:8], "--reason", "no time")
    assert run(project, "quarantine") == "no row and no file was refused, or all were released or dropped\n"
    shown = run(project, "quarantine", "show", "orders/2.csv")
    assert "x=5, y=***" in shown
    assert "(released)" in shown
    assert "although they fail the checks: bulk order" in shown
    assert "nothing new" in run(project, "ingest")
    assert json.loads(run(project, "validate", "--json"))[0]["rows"] == 3


def test_rebuild_tells_the_columns(project: Path) -> None:
    run(project, "ingest")
    (project / "orders" / "2.csv").write_text("at,x,y\n2024-01-01T06:00Z,many,2\n")
    told = run(project, "ingest", "orders", "--rebuild")
    assert "orders@1: 1 row of 1 file, read again; columns: at timestamp[us, tz=UTC], x string, y int64" in told
    assert "1 row from 1 file" in run(project, "ingest")
    assert "orders@2 has these rows already, value by value" in run(project, "ingest", "orders", "--rebuild")
    with pytest.raises(UsageError, match="trimtab ingest SOURCE --rebuild"):
        run(project, "ingest", "--rebuild")


def test_checks_are_drafted_once_and_written_as_a_page(project: Path) -> None:
    run(project, "ingest")
    told = run(project, "validate", "--draft", "orders")
    assert "checks: { orders: checks/orders.yaml }" in told
    with pytest.raises(UsageError, match="a draft overwrites nothing"):
        run(project, "validate", "--draft")
    assert "orders_checks.Orders" in run(project, "validate", "--draft", "--format", "python")
    with pytest.raises(UsageError, match="'pythn' is not known"):
        run(project, "validate", "--draft", "--format", "pythn")
    (project / "trimtab.yaml").write_text("project: orders\nchecks: { orders: checks/orders.yaml }\n")
    run(project, "validate", "--html", str(project / "page.html"), "--as-of", "orders@0")
    page = (project / "page.html").read_text()
    assert "<h2>orders@0</h2>" in page
    assert "http" not in page
    with pytest.raises(UsageError, match="of which table"):
        run(project, "validate", "--as-of", "0")


def test_an_ingest_of_a_database_tells_of_batches_and_has_no_rebuild(project: Path) -> None:
    with closing(sqlite3.connect(project / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE sales (id INTEGER, at TEXT)")
        shop.executemany("INSERT INTO sales VALUES (?, ?)", [(n, f"2024-01-01T0{n}:00Z") for n in range(5)])
    options = 'connection="sqlite:///shop.db", table="sales", timestamp="at", cursor="id", batch_rows=2'
    with (project / "definitions.py").open("a") as file:
        file.write(f'sales = tt.SQLSource("sales", {options})\n')
    assert "sales: 5 rows from 3 batches" in run(project, "ingest", "sales")
    assert "sales: no new rows" in run(project, "ingest", "sales")
    assert json.loads(run(project, "ingest", "sales", "--json"))[0]["skipped"] == "already in sales@2"
    assert "sales: pass  sales@2: all of 5 rows pass" in run(project, "validate", "sales")
    with pytest.raises(UsageError, match="--rebuild reads files again, and source 'sales' is a SQLSource"):
        run(project, "ingest", "sales", "--rebuild")
