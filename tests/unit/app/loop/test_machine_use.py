"""What processes use: measured, written once a window, taken up again after a restart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.loop.machine_use import NO_MODEL, MachineUse
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.status import status
from trimtab.clock import ManualClock, parse_time
from trimtab.records.monitoring import Signal

NOON = parse_time("2026-03-01T12:00Z")
DAY = timedelta(days=1)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    folder = GatewayProject(tmp_path / "project").workspace.project.folder
    opened = open_workspace(folder, clock=ManualClock(NOON))
    yield opened
    opened.metadata.close()


def advance(ws: Workspace, by: timedelta) -> None:
    assert isinstance(ws.clock, ManualClock)
    ws.clock.sleep(by.total_seconds())


def stored(ws: Workspace, subject: str) -> list[Signal]:
    found = ws.metadata.find(Signal, model=NO_MODEL, kind="infrastructure", oldest_first=True)
    return [signal for signal in found if signal.subject == subject]


def test_a_window_is_written_when_it_is_over_with_what_was_measured(ws: Workspace) -> None:
    use = MachineUse(ws)
    for _ in range(3):
        assert use.step() == []
        advance(ws, timedelta(seconds=10))
    advance(ws, DAY)
    assert sorted(signal.subject for signal in use.step()) == ["disk", "loop"]
    (loop,), (disk,) = stored(ws, "loop"), stored(ws, "disk")
    assert (loop.rows, loop.start, loop.end - loop.start) == (3, NOON - timedelta(hours=12), DAY)
    assert loop.value > 10
    assert loop.effect["descriptors"] >= len(os.listdir("/proc/self/fd")) - 20
    assert 0 < disk.value <= 1
    assert "MB free" in disk.reason


def test_between_two_measurements_nothing_is_done(ws: Workspace) -> None:
    use = MachineUse(ws)
    use.step()
    advance(ws, timedelta(seconds=9))
    use.step()
    advance(ws, DAY)
    use.step()
    assert stored(ws, "loop")[0].rows == 1


def test_a_second_process_of_the_same_window_changes_nothing(ws: Workspace) -> None:
    for _ in range(2):
        other = open_workspace(ws.project.folder, clock=ManualClock(NOON))
        use = MachineUse(other)
        use.step()
        advance(other, DAY)
        use.step()
        other.metadata.close()
    assert len(stored(ws, "loop")) == 1


def test_a_restart_goes_on_with_the_stored_windows(ws: Workspace) -> None:
    for _ in range(32):
        use = MachineUse(ws)
        use.step()
        advance(ws, DAY)
        use.step()
    found = stored(ws, "loop")
    assert [signal.p is None for signal in found] == [True] * 30 + [False] * 2
    assert found[30].reference_windows >= 30


def test_status_shows_the_newest_window(ws: Workspace) -> None:
    use = MachineUse(ws)
    for _ in range(3):
        use.step()
        advance(ws, DAY)
    shown = status(ws)["processes"]
    assert [each["subject"] for each in shown] == ["loop", "disk"]
    assert {each["start"] for each in shown} == {"2026-03-02T00:00:00Z"}
