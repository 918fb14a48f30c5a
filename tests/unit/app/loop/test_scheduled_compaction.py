"""The loop compacts the log now and then, by the policy, and a failing store does not stop it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trimtab.app.loop.scheduled_compaction import EVERY, ScheduledCompaction, compact
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock, SystemClock, to_micros
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import prediction_rows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = "project: kept\nserving:\n  log: { segment_rows: 2, retention: 30d }\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A project whose log has three ended segments: one of long ago, two of now."""
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    (tmp_path / "definitions.py").write_text("")
    found = open_workspace(tmp_path, clock=ManualClock(NOW))
    log = SegmentLog(found.root / "predictions", segment_rows=2)
    long_ago = to_micros(datetime(2020, 1, 1, tzinfo=UTC))
    for n, moment in enumerate([long_ago, *[to_micros(SystemClock().now())] * 2]):
        log.append(prediction_rows([f"{n}a", f"{n}b"], logged_at=[moment] * 2))
    log.close()
    return found


def test_rows_older_than_the_policy_keeps_are_dropped(workspace: Workspace) -> None:
    done = compact(workspace, grace_s=-1e9)
    assert (done.rows, done.rows_dropped, done.files_removed) == (6, 2, 3)
    assert workspace.predictions.read()[0]["prediction_id"].to_pylist() == ["1a", "1b", "2a", "2b"]


def test_the_loop_compacts_when_it_is_time(workspace: Workspace) -> None:
    assert isinstance(workspace.clock, ManualClock)
    keeping = ScheduledCompaction(workspace)
    early = keeping.step()
    workspace.clock.sleep(EVERY.total_seconds())
    due, again = keeping.step(), keeping.step()
    assert early is None
    assert due is not None
    assert due.rows == 6
    assert again is None


def test_a_failing_store_is_told_and_tried_again(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(workspace.clock, ManualClock)
    keeping = ScheduledCompaction(workspace)
    table = workspace.root / "predictions" / "delta"
    table.write_text("in the way")
    workspace.clock.sleep(EVERY.total_seconds())
    with caplog.at_level(logging.ERROR):
        failed = keeping.step()
    table.unlink()
    workspace.clock.sleep((EVERY + timedelta(seconds=1)).total_seconds())
    later = keeping.step()
    assert failed is None
    assert "could not be compacted" in caplog.text
    assert later is not None
    assert later.rows == 6
