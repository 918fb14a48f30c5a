"""A KPI by version: a point belongs to the last answer for its entity before it, whoever keeps the points."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trimtab.app.loop.kpi_points import add_point
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.kpi_by_version import NO_VERSION, kpi_by_version
from trimtab.app.stages.ingesting import ingest
from trimtab.clock import to_micros
from trimtab.errors import UsageError
from trimtab.testing.judged import FIRST
from trimtab.testing.predictions import prediction_rows

HOUR = timedelta(hours=1)
DEFINITIONS = """
import trimtab as tt

shops = tt.Entity("shop", keys=["shop"])
visits = tt.FileSource("visits", "visits.parquet", timestamp="at")
sales = tt.FileSource("sales", "sales.parquet", timestamp="at")
orders = tt.SQLSource("orders", connection="sqlite:///shop.db", table="orders", timestamp="at", cursor="at")
opened = tt.FileSource("opened", "opened.parquet", timestamp="at")
busy = tt.FeatureView("busy", source=opened, entity=shops, features=[tt.count("7d")])
churn = tt.Model("churn", task="binary", examples=visits, label="left", features=[busy])

pushed = tt.Kpi("pushed")
read = tt.Kpi("read", source=sales, value="amount", entity="shop")
asked = tt.Kpi("asked", query="SELECT at AS time, amount AS value, shop FROM orders", database=orders, entity="shop")
whole = tt.Kpi("whole", source=sales, value="amount")
"""
SALES = [(1, "a", 10.0), (3, "a", 4.0), (2, "b", 30.0), (5, "b", 8.0), (0.5, "c", 7.0), (4, "c", 1.0), (30, "a", 99.0)]
"""Hour, shop and amount; the last is beyond the stretch that is looked at."""
ANSWERS = [(0, "a", 1, "champion"), (2, "a", 2, "challenger"), (1, "b", 2, "challenger"), (2, "c", 1, "champion")]
"""Hour, shop, version, role."""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text("project: p\n")
    at = [FIRST + hour * HOUR for hour, _, _ in SALES]
    rows = pl.DataFrame({"at": at, "shop": [shop for _, shop, _ in SALES], "amount": [value for _, _, value in SALES]})
    rows.write_parquet(folder / "sales.parquet")
    with sqlite3.connect(folder / "shop.db") as database:
        database.execute("CREATE TABLE orders (at, shop, amount)")
        texts = [time.strftime("%Y-%m-%d %H:%M:%S") for time in at]
        database.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)", [*zip(texts, rows["shop"], rows["amount"], strict=True)]
        )
    opened = open_workspace(folder)
    answered: dict[str, list[Any]] = {
        "model": ["churn"] * 6,
        "event_time": [to_micros(FIRST + hour * HOUR) for hour, *_ in ANSWERS] + [to_micros(FIRST + 3 * HOUR)] * 2,
        "entities": [[("shop", shop)] for shop in [*(shop for _, shop, *_ in ANSWERS), "c", "c"]],
        "version": [version for _, _, version, _ in ANSWERS] + [9, 8],
        "role": [role for *_, role in ANSWERS] + ["shadow", "champion"],
        "served": [True] * 4 + [False, True],
    }
    answered["model"][-1] = "another"
    opened.predictions.append(prediction_rows([f"p{n}" for n in range(6)], **answered))
    opened.predictions.sync()
    yield opened
    opened.metadata.close()
    opened.predictions.close()


def found(workspace: Workspace, name: str, hours: float = 24) -> dict[int, tuple[Any, ...]]:
    kpi = workspace.project.definitions.kpis[name]
    rows = kpi_by_version(workspace, kpi, workspace.model("churn"), FIRST, FIRST + hours * HOUR)
    return {row.version: (row.role, row.entities, row.points, row.total, row.per_entity) for row in rows}


EXPECTED = {
    NO_VERSION: ("", 1, 1, 7.0, 7.0),
    1: ("champion", 2, 2, 11.0, 5.5),
    2: ("challenger", 2, 3, 42.0, 21.0),
}
"""Shop a: 10 after version 1, 4 after version 2; shop b: 38 after version 2; shop c: 7 before any answer, 1 after 1."""


@pytest.mark.parametrize("name", ["read", "asked", "pushed"])
def test_points_belong_to_the_version_that_answered_for_their_entity_last(workspace: Workspace, name: str) -> None:
    if name == "read":
        ingest(workspace, "sales")
    if name == "pushed":
        for hour, shop, value in SALES:
            add_point(workspace, "pushed", value, time=FIRST + hour * HOUR, entity=shop, model=None, by="tests")
    assert found(workspace, name) == EXPECTED


def test_the_interval_is_that_of_the_entities(workspace: Workspace) -> None:
    kpi = workspace.project.definitions.kpis["asked"]
    none, one, two = kpi_by_version(workspace, kpi, workspace.model("churn"), FIRST, FIRST + 24 * HOUR)
    assert (none.low, none.high) == (None, None)
    assert one.low is not None
    assert one.per_entity - one.low == pytest.approx(12.7062 * 4.5, rel=1e-4), "Student's t of one degree of freedom"
    assert two.high is not None
    assert two.high > two.per_entity


def test_without_entities_there_is_nothing_to_join_by(workspace: Workspace) -> None:
    ingest(workspace, "sales")
    with pytest.raises(UsageError, match="names no column of entities"):
        found(workspace, "whole")
