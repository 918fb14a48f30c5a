"""The query of a KPI: one sum a window, whatever form the times of the database have, and it only reads."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from trimtab.clock import parse_time, to_micros
from trimtab.data.connectors.database_access import DatabaseAccess
from trimtab.data.connectors.kpi_query import KpiQuery, Sums
from trimtab.errors import DataError
from trimtab.units import MICROS

DAY = MICROS["d"]
FIRST = to_micros(parse_time("2026-03-01"))
WINDOWS = [(FIRST + n * DAY, FIRST + (n + 1) * DAY) for n in range(3)]
TIMES = ["2026-03-01 00:00:00", "2026-03-01 23:59:59", "2026-03-03 12:00:00"]
"""Of 10, 2 and 7, by the shops a, b and a; a row without a value lies in the first window, too."""


def asked(folder: Path, times: list[Any], query: str = "SELECT * FROM sold", **columns: Any) -> KpiQuery:
    with sqlite3.connect(folder / "shop.db") as database:
        database.execute("CREATE TABLE sold (time, value, shop)")
        rows = [*zip(times, (10, 2, 7), ("a", "b", "a"), strict=True), (times[0], None, "c")]
        database.executemany("INSERT INTO sold VALUES (?, ?, ?)", rows)
    access = DatabaseAccess("KPI 'revenue'", "sqlite:///shop.db", folder)
    return KpiQuery(
        "KPI 'revenue'", access, query, **{"timestamp": "time", "value": "value", "entity": "shop", **columns}
    )


@pytest.mark.parametrize(
    "times",
    [
        TIMES,
        [time.replace(" ", "T") + "Z" for time in TIMES],
        [f"{time}.250000+00:00" for time in TIMES],
        [to_micros(parse_time(time)) for time in TIMES],
    ],
    ids=["text", "iso", "fractions", "micros"],
)
def test_each_window_has_its_rows_total_and_entities(tmp_path: Path, times: list[Any]) -> None:
    assert asked(tmp_path, times).sums(WINDOWS) == [Sums(2, 12.0, 2), Sums(0, 0.0, 0), Sums(1, 7.0, 1)]


def test_days_are_times_too_and_entities_may_be_left_out(tmp_path: Path) -> None:
    query = asked(tmp_path, [time[:10] for time in TIMES], entity=None)
    assert query.sums(WINDOWS) == [Sums(2, 12.0, 0), Sums(0, 0.0, 0), Sums(1, 7.0, 0)]


def test_an_empty_query_is_asked_again_when_it_has_rows(tmp_path: Path) -> None:
    query = asked(tmp_path, TIMES, "SELECT * FROM sold WHERE value > 100;")
    assert query.sums(WINDOWS) == [Sums(0, 0.0, 0)] * 3
    assert query.check() == "the query of SQLite shop.db gives no row yet"
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("UPDATE sold SET value = 101 WHERE shop = 'b'")
    assert query.sums(WINDOWS)[0] == Sums(1, 101.0, 1)


@pytest.mark.parametrize(
    ("times", "columns", "said"),
    [
        (TIMES, {"timestamp": "tyme"}, "the query has no column 'tyme'. Did you mean 'time'?"),
        (TIMES, {"value": "amount"}, "the query has no column 'amount'"),
        ([f"{time}+02:00" for time in TIMES], {}, "expected timestamps, texts in ISO 8601 in UTC"),
        ([1_772_366_400] * 3, {}, "as seconds it would be 2026-03-01"),
        (["yesterday"] * 3, {}, "column 'time' holds 'yesterday'"),
        ([1.5] * 3, {}, "column 'time' holds 1.5"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(
    tmp_path: Path, times: list[Any], columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match="KPI 'revenue'") as raised:
        asked(tmp_path, times, **columns).sums(WINDOWS)
    assert said in str(raised.value)


def test_a_query_that_is_no_select_or_writes_changes_nothing(tmp_path: Path) -> None:
    for query in ("DELETE FROM sold", "SELECT * FROM sold) AS x; DELETE FROM sold; --"):
        with pytest.raises(DataError, match=r"SQLite shop\.db says"):
            asked(tmp_path, TIMES, query).sums(WINDOWS)
        with sqlite3.connect(tmp_path / "shop.db") as database:
            assert database.execute("SELECT count(*) FROM sold").fetchone() == (4,)
            database.execute("DROP TABLE sold")
