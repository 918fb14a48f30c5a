"""What tables prints: versions as of a time, masked values, and versions that a vacuum keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.app.loop.scheduled_compaction import ScheduledUpkeep
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.cli.data import tables
from trimtab.cli.features import building as features
from trimtab.clock import ManualClock
from trimtab.errors import NotFound, UsageError

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders", timestamp="at", key=["id"], pii=["email"])
m = tt.Model("m", task="regression", examples=orders, label="y", features=["x"])
"""
START = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project whose table got one version a day; version 2 is in a training set, and version 4 is held."""
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "trimtab.yaml").write_text(
        "project: orders\ntraining: { min_examples: 1 }\ntables: { keep: 1d, hold: [orders@4] }\n"
    )
    (tmp_path / "orders").mkdir()
    clock = ManualClock(START)
    found = open_workspace(tmp_path, clock=clock)
    for day in range(10):
        rows = [f"2024-01-{day + 1:02}T{hour:02}:00Z,{10 * day + hour},a@b.c,{hour},{day}" for hour in range(10)]
        (tmp_path / "orders" / f"{day}.csv").write_text("\n".join(["at,id,email,x,y", *rows]) + "\n")
        ingesting.ingest(found)
        if day == 2:
            pipeline.snapshot(found, "m", as_of=found.now())
        clock.sleep(86400.0)
    return found


def run(workspace: Workspace, *arguments: str) -> str:
    folder = str(workspace.project.folder)
    done = CliRunner().invoke(tables.app, ["tables", *arguments, "-p", folder], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_table_is_shown_as_it_was(workspace: Workspace) -> None:
    shown = json.loads(run(workspace, "show", "orders", "--as-of", "2100-01-04T12:00Z", "--json"))
    assert (shown["version"], shown["rows"], len(shown["versions"])) == (3, 40, 10)
    assert shown["head"][-1]["email"] == "***"
    assert [(c["name"], c["role"], c["pii"]) for c in shown["columns"]][:3] == [
        ("at", "timestamp", False),
        ("id", "key", False),
        ("email", "", True),
    ]
    assert "email=a@b.c" in run(workspace, "show", "orders", "--as-of", "orders@0", "--show-pii")
    with pytest.raises(NotFound, match="no ingested version 77; expected one of 0 to 9"):
        run(workspace, "show", "orders", "--as-of", "77")
    with pytest.raises(UsageError, match="neither a time such as"):
        run(workspace, "show", "orders", "--as-of", "yesterday")
    with pytest.raises(NotFound, match="had no version at 2099-01-01"):
        run(workspace, "show", "orders", "--as-of", "2099-01-01")
    with pytest.raises(NotFound, match=r"there is no table 'order'.*'orders'"):
        run(workspace, "show", "order")
    assert "orders" in run(workspace)


def test_a_vacuum_keeps_what_records_and_the_policy_name(workspace: Workspace) -> None:
    before = {version: workspace.tables.scan("orders", version=version).collect() for version in range(10)}
    assert "orders@10: 9 files fewer, the same rows" in run(workspace, "compact")
    workspace.tables.vacuum("orders", keep=[], since=datetime(1990, 1, 1, tzinfo=UTC))
    upkeep = ScheduledUpkeep(workspace)
    assert isinstance(workspace.clock, ManualClock)
    workspace.clock.sleep(400 * 86400.0)
    (done,) = upkeep.step()
    assert done.files == 5  # of appends 5 to 9: version 9 is read from its compaction
    for version in (2, 4):
        assert workspace.tables.scan("orders", version=version).collect().equals(before[version])
    assert workspace.tables.scan("orders").collect().equals(before[9])
    shown = json.loads(run(workspace, "show", "orders", "--json"))["versions"]
    kept = {one["version"]: one["kept_by"] for one in shown if one["kept_by"]}
    assert kept[4] == "tables.hold of the policy"
    assert kept[2].startswith("training set ")
    assert [one["version"] for one in shown if not one["readable"]] == [8, 7, 6, 5]
    with pytest.raises(NotFound, match="removed by a vacuum"):
        run(workspace, "show", "orders", "--as-of", "7")
    assert upkeep.step() == []


def test_a_training_set_is_made_of_tables_as_they_were(workspace: Workspace) -> None:
    folder = str(workspace.project.folder)
    for verb in (["features", "--as-of", "orders@3", "--json"], ["features", "--as-of", "2100-01-04T00:00Z", "--json"]):
        done = CliRunner().invoke(features.app, [*verb, "-p", folder], catch_exceptions=False)
        made = json.loads(done.output)
        rows = {"orders@3": (40, {"orders": "orders@3"})}.get(verb[2], (100, {"orders": "orders@9"}))
        assert (made["rows"], made["tables"]) == rows
    with pytest.raises(UsageError, match="no training set is made of 'order'"):
        CliRunner().invoke(features.app, ["features", "--as-of", "order@3", "-p", folder], catch_exceptions=False)


def test_a_vacuum_needs_a_time(workspace: Workspace) -> None:
    (workspace.project.folder / "trimtab.yaml").write_text("project: orders\n")
    with pytest.raises(UsageError, match="--keep 90d, or"):
        run(workspace, "vacuum")
    with pytest.raises(UsageError, match="--keep 1h: expected 1d or more"):
        run(workspace, "vacuum", "--keep", "1h")
    assert "orders: 0 files removed, 0 bytes" in run(workspace, "vacuum", "--keep", "90d")
