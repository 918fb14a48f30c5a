"""A mark a minute for a day: gaps stay gaps, and the oldest marks go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kit.consoles import make_project
from trimtab.app.overviews.system.health_log import FILE, MINUTES, health_spans, note_health
from trimtab.app.project.locks import LOOP, locked
from trimtab.app.project.workspace import Workspace
from trimtab.clock import ManualClock
from trimtab.testing.judged import FIRST


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = make_project(tmp_path)
    opened.clock = ManualClock(FIRST)
    yield opened
    opened.metadata.close()


def spans(workspace: Workspace, name: str) -> list[tuple[int, int, str]]:
    """Return start and end in minutes after FIRST, and the state."""
    minute = timedelta(minutes=1)
    found = [span for span in health_spans(workspace) if span.name == name]
    return [((span.start - FIRST) // minute, (span.end - FIRST) // minute, span.state) for span in found]


def test_neighbouring_minutes_are_one_stretch_and_unseen_ones_are_none(workspace: Workspace) -> None:
    assert health_spans(workspace) == ()
    with locked(workspace, LOOP, "steers", why=""):
        for _ in range(3):
            note_health(workspace)
            note_health(workspace)
            workspace.clock.sleep(60)
    note_health(workspace)
    workspace.clock.sleep(10 * 60)
    note_health(workspace)
    assert spans(workspace, "loop") == [(0, 3, "running"), (3, 4, "stopped"), (13, 14, "stopped")]
    assert spans(workspace, "gateway") == [(0, 4, "stopped"), (13, 14, "stopped")]


def test_a_day_is_kept(workspace: Workspace) -> None:
    note_health(workspace)
    workspace.clock.sleep((MINUTES - 1) * 60)
    note_health(workspace)
    assert [start for start, _, _ in spans(workspace, "loop")] == [0, MINUTES - 1]
    workspace.clock.sleep(60)
    note_health(workspace)
    assert [start for start, _, _ in spans(workspace, "loop")] == [MINUTES - 1], "the first minute is a day ago"


def test_a_broken_file_begins_anew(workspace: Workspace) -> None:
    (workspace.run_folder / FILE).write_text("no json")
    note_health(workspace)
    assert spans(workspace, "loop") == [(0, 1, "stopped")]
