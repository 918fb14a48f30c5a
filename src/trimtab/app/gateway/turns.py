"""Turns between a replay and the loop: the replay sends traffic, then the loop works until it has nothing left to do.

While a replay runs, the loop takes in the log only in its turn. So windows are judged and decisions are made at
points of event time that the data choose, and the result does not depend on how fast this machine is.

Files in the run folder: the replay writes replay.json, the loop answers in steering.json (Progress.turn).
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from trimtab.app.project.process_files import is_running, write_atomically
from trimtab.metric_catalog import Task
from trimtab.policy.model import Policy

TURN = "replay.json"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay asks of the loop."""

    pid: int
    """Process of the replay; once it has ended, the loop goes on by itself."""
    number: int
    """Which turn; the loop answers with the same number and waits for the next one."""
    rows: int = 0
    """Rows of the prediction log that the loop must have taken in since its start; rows that are scored for
    comparison may come after the answers."""
    measured: bool = False
    """Whether latency, processor time and the gateway's guard decide, as on live traffic."""


def read_turn(run_folder: Path) -> Turn | None:
    """Return what the running replay asks for; None when no replay runs."""
    try:
        found = msgspec.json.decode((run_folder / TURN).read_bytes(), type=Turn)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None


def write_turn(run_folder: Path, turn: Turn) -> None:
    """Ask the loop for a turn; until it is asked for another one, it waits."""
    write_atomically(run_folder / TURN, msgspec.json.encode(turn))


def end_turns(run_folder: Path) -> None:
    """Let the loop go on by itself."""
    (run_folder / TURN).unlink(missing_ok=True)


def unmeasured(policy: Policy) -> Policy:
    """Return a policy without the limits on what a machine measures: latency, and money for processor time.

    What it leaves out is recorded all the same; it only does not decide.
    """
    rollback = policy.rollout.rollback_when.model_copy(update={"p99": None})
    rollout = policy.rollout.model_copy(update={"rollback_when": rollback})
    budget = policy.decide.budget.model_copy(update={"cost": math.inf})
    decide = policy.decide.model_copy(update={"budget": budget})
    return policy.model_copy(update={"rollout": rollout, "decide": decide})


def judging_policy(policy: Policy, task: Task, *, measured: bool) -> Policy:
    """Return the policy that windows of a model are judged by. measured: whether what a machine measures decides."""
    found = policy.for_task(task)
    return found if measured else unmeasured(found)
