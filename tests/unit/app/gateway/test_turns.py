"""Turns of a replay: the loop follows a replay that runs, and goes on by itself when it has ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from integration.gateway_project import GatewayProject
from trimtab.app.gateway.turns import TurnRequest, end_turns, judging_policy, read_turn, unmeasured, write_turn
from trimtab.app.loop.steering import PATIENCE, Steering
from trimtab.app.project.process_files import own_pid, read_progress
from trimtab.app.project.workspace import open_workspace
from trimtab.clock import ManualClock
from trimtab.policy.reader import parse_policy

POLICY = """
project: turns
rollout: { rollback_when: { error_rate: 2%, p99: 250ms } }
decide: { budget: { retrains: 4/month, cost: 20/month } }
"""


def test_a_turn_is_read_while_its_replay_runs(tmp_path: Path) -> None:
    turn = TurnRequest(pid=own_pid(), number=3, rows=120)
    write_turn(tmp_path, turn)
    assert read_turn(tmp_path) == turn
    end_turns(tmp_path)
    assert read_turn(tmp_path) is None


def test_a_replay_that_was_killed_holds_nothing_up(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_turn(tmp_path, TurnRequest(pid=ended.pid, number=3))
    assert read_turn(tmp_path) is None


def test_only_what_a_machine_measures_is_left_out_of_the_policy() -> None:
    policy = parse_policy(POLICY)
    left = unmeasured(policy)
    assert left.rollout.rollback_when.p99 is None
    assert left.rollout.rollback_when.error_rate == policy.rollout.rollback_when.error_rate
    assert left.decide.budget.cost == float("inf")
    assert left.decide.budget.retrains == policy.decide.budget.retrains
    assert policy.rollout.rollback_when.p99 == 250_000


def test_a_model_is_judged_by_its_task_in_a_replay_too() -> None:
    policy = parse_policy(POLICY + "impact: { cost: { false_negative: 40, absolute_error: 2 } }\n")
    for measured in (True, False):
        judged = judging_policy(policy, "regression", measured=measured)
        assert judged.impact.cost == {"absolute_error": 2}
        assert judged.rollout.rollback_when.p99 == (250_000 if measured else None)


def test_rows_of_a_new_turn_are_waited_for_from_its_beginning(tmp_path: Path) -> None:
    # given a loop whose last rows came long ago
    clock = ManualClock()
    project = GatewayProject(tmp_path / "project")
    loop = Steering(open_workspace(project.folder, clock=clock))
    loop.launch()
    try:
        clock.sleep(2 * PATIENCE.total_seconds())
        # when a replay asks for a turn with rows that are not in the log yet
        write_turn(project.workspace.run_folder, TurnRequest(pid=own_pid(), number=1, rows=5))
        loop.step()
        # then they are waited for, and given up after a while
        progress = read_progress(project.workspace.run_folder)
        assert progress is not None
        assert progress.turn == 0
        clock.sleep(PATIENCE.total_seconds())
        loop.step()
        progress = read_progress(project.workspace.run_folder)
        assert progress is not None
        assert progress.turn == 1
    finally:
        loop.close()
