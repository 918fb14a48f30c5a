"""What a project tells its gateway, and what the gateway's guard may do while a replay runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.gateway import guard, tokens
from trimtab.app.gateway.guard import LOOK
from trimtab.app.gateway.project_control import ProjectControl
from trimtab.app.gateway.turns import TurnRequest, end_turns, write_turn
from trimtab.app.project.process_files import own_pid
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock, to_micros
from trimtab.records.control import Decision
from trimtab.records.serving import LogGap
from trimtab.serving.orders import COUNTS, Gap
from trimtab.serving.telemetry.counts_folder import SnapshotFolder
from trimtab.stats.gateway_counts import Snapshot, VariantCounts, VariantKey

START = datetime(2030, 1, 1, tzinfo=UTC)
Make = Callable[..., Workspace]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return what opens a project whose versions 1 and 2 have been champion in turn."""
    monkeypatch.setattr(guard, "ALIASES", (sys.executable, "-S", "-c", ""))  # nobody follows the aliases
    made: list[Workspace] = []

    def opened(**sections: Any) -> Workspace:
        project = GatewayProject(tmp_path / "project", **sections)
        for version in (1, 2):
            bundle = project.bundle(version)
            project.rollouts.deploy(bundle, cause=f"{version}", reason="a test", by="tests", role="champion")
        made.extend([project.workspace, open_workspace(project.folder, clock=ManualClock(START))])
        return made[-1]

    yield opened
    for workspace in made:
        workspace.metadata.close()


def test_tokens_are_told_when_they_change(make: Make) -> None:
    workspace = make(serving={"authentication": "tokens"})
    control = ProjectControl(workspace)
    assert control.grants() == ()
    assert control.grants() is None
    tokens.create(workspace.metadata, workspace.clock, "batch", models=["delay"], by="ann")
    assert [len(control.grants() or ()), control.grants()] == [1, None]
    tokens.revoke(workspace.metadata, workspace.clock, "batch", reason="leaked", by="ann")
    assert control.grants() == ()


def test_without_authentication_no_token_is_told(make: Make) -> None:
    workspace = make()
    tokens.create(workspace.metadata, workspace.clock, "batch", models=["delay"], by="ann")
    assert ProjectControl(workspace).grants() is None


def test_what_could_not_be_logged_is_recorded(make: Make) -> None:
    workspace = make()
    first, last = to_micros(START), to_micros(START) + 5
    ProjectControl(workspace).gap("w0", Gap(rows=7, start=first, end=last, reason="the disk is full"))
    (found,) = workspace.metadata.find(LogGap)
    assert (found.worker, found.rows, to_micros(found.start), to_micros(found.end)) == ("w0", 7, first, last)
    assert found.reason == "the disk is full"
    # and what another worker could not log at the same time, too
    ProjectControl(workspace).gap("w1", Gap(rows=3, start=first, end=last, reason="the disk is full"))
    assert {(each.worker, each.rows) for each in workspace.metadata.find(LogGap)} == {("w0", 7), ("w1", 3)}


FAILURES: dict[str, Any] = {"rollback_when": {"error_rate": "5%", "min_requests": 20}}


@pytest.mark.parametrize(
    ("strategy", "measured", "acts"),
    [("blue-green", False, False), ("blue-green", True, True), ("canary", False, True), ("blue-green", None, True)],
)
def test_during_a_replay_the_guard_acts_only_where_measurements_decide(
    make: Make, strategy: str, measured: bool | None, acts: bool
) -> None:
    # given a champion that fails, with or without a replay
    workspace = make(rollout={"strategy": strategy, **FAILURES})
    if measured is not None:
        write_turn(workspace.run_folder, TurnRequest(pid=own_pid(), number=1, measured=measured))
    control = ProjectControl(workspace)
    assert control.orders()
    for _ in range(2):
        fail(workspace)
        control.guard()
    # then it is rolled back, unless a replay leaves measurements out
    assert [each.action for each in workspace.metadata.find(Decision)] == (["rollback"] if acts else [])
    # and the guard goes on when the replay has ended
    end_turns(workspace.run_folder)
    for _ in range(2):
        fail(workspace)
        control.guard()
    assert [each.action for each in workspace.metadata.find(Decision)] == ["rollback"]


def fail(workspace: Workspace) -> None:
    """Let the second champion have failed on a hundred more rows."""
    workspace.clock.sleep(LOOK.total_seconds())
    now = workspace.now()
    rows = 100 + int((now - START) / LOOK) * 100
    variant = VariantCounts()
    variant.requests = variant.rows = variant.errors = rows
    snapshot = Snapshot(taken_at=to_micros(now), variants={VariantKey("delay", 2, "champion", True): variant})
    SnapshotFolder(workspace.run_folder / COUNTS).save("w", snapshot)
