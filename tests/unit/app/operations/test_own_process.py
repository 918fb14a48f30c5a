"""Refused rows, released and dropped in a process of its own: as the verb does it, and once a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.app.operations.actors import Actor
from trimtab.app.operations.own_process import order_rows
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting
from trimtab.errors import Forbidden, UsageError
from trimtab.records.data import QuarantineEnd

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders", timestamp="at")
m = tt.Model("m", task="regression", examples=orders, label="y", features=["x"])
"""
DEV = Actor(name="dev", role="developer")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "trimtab.yaml").write_text("project: orders\nchecks: { max_failing_rows: 50% }\n")
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "1.csv").write_text("at,x,y\n2024-01-01T05:00Z,1,2\n,3,4\n,5,6\n2024-01-01T06:00Z,1,2\n")
    made = open_workspace(tmp_path)
    ingesting.ingest(made)
    return made


def test_rows_are_dropped_once_a_key_and_by_a_developer_only(workspace: Workspace) -> None:
    with pytest.raises(Forbidden, match="needs the role developer"):
        order_rows(workspace, Actor(name="vic", role="viewer"), "drop", "orders/1.csv", reason="no time at all")
    done = order_rows(workspace, DEV, "drop", "orders/1.csv", rows=[2], reason="no time at all", key="k")
    assert (done.end.rows, done.end.by, done.end.outcome) == ((2,), "dev", "dropped")
    again = order_rows(workspace, DEV, "drop", "orders/1.csv", rows=[2], reason="no time at all", key="k")
    assert again.end == done.end
    assert workspace.metadata.count(QuarantineEnd) == 1


def test_what_the_process_refuses_is_the_same_error_here(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match=r"orders/9\.csv"):
        order_rows(workspace, DEV, "release", "orders/9.csv", reason="a bulk order")
