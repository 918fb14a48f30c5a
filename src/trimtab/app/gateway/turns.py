"""Turns of a replay: it sends traffic, then waits until the loop has processed it.

While a replay runs, the loop reads the log only in its turn. So windows are judged and decisions are made at event
times that follow from the data, and the result does not depend on the speed of the machine.

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


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay asks of the loop."""

    pid: int
    """Process of the replay; once it has ended, the loop no longer waits for requests."""
    number: int
    """Which turn; the loop answers with the same number and waits for the next one."""
    rows: int = 0
    """Rows of the prediction log that the loop must have taken in since its start; rows that are scored for
    comparison may come after the answers."""
    measured: bool = False
    """Whether latency, processor time and the gateway's guard decide, as on live traffic."""


def read_turn(run_folder: Path) -> TurnRequest | None:
    """Return what the running replay asks for; None when no replay runs."""
    try:
        found = msgspec.json.decode((run_folder / TURN).read_bytes(), type=TurnRequest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None


def write_turn(run_folder: Path, turn: TurnRequest) -> None:
    """Ask the loop for a turn. After it, the loop waits for the next request."""
    write_atomically(run_folder / TURN, msgspec.json.encode(turn))


def end_turns(run_folder: Path) -> None:
    """End the turns: the loop no longer waits for requests."""
    (run_folder / TURN).unlink(missing_ok=True)


def unmeasured(policy: Policy) -> Policy:
    """Return a policy without the limits on what a machine measures: latency, and money for processor time.

    These are still measured and recorded.
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
