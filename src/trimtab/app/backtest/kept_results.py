"""Results of backtests, kept below the root of the project's stores with what was asked for."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from trimtab.app.backtest.policy_table import PolicyTable
from trimtab.app.operations.backtest_orders import (
    ORDER,
    PROGRESS,
    RESULT,
    BacktestOrder,
    is_at_work,
    kept_folder,
    read_order,
    write_order,
)
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.workspace import Workspace

State = Literal["running", "done", "failed"]
STEP = re.compile(r"^(\d+) of (\d+): (.*)$")
"""A line of the progress: policies that are finished, of how many, and the name of the last one."""
SHOWN_CHARACTERS = 1000


class BacktestState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backtest is. text: the policy that was finished last, or why it failed."""

    order: BacktestOrder
    state: State
    done: int = 0
    of: int = 0
    text: str = ""


def keep_result(workspace: Workspace, found: PolicyTable, order: BacktestOrder) -> None:
    """Keep a result, and its order unless there is one with its id."""
    folder = kept_folder(workspace, order.id)
    if not (folder / ORDER).exists():
        write_order(workspace, order)
    write_atomically(folder / RESULT, msgspec.json.encode(found))


def read_result(workspace: Workspace, id_: str) -> PolicyTable | None:
    """Return the result of a backtest, or None while there is none. Raises NotFound for an unknown id."""
    read_order(workspace, id_)
    try:
        return msgspec.json.decode((kept_folder(workspace, id_) / RESULT).read_bytes(), type=PolicyTable)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def backtest_state(workspace: Workspace, id_: str) -> BacktestState:
    """Return how far a backtest is. Raises NotFound."""
    order = read_order(workspace, id_)
    folder = kept_folder(workspace, id_)
    if (folder / RESULT).exists():
        return BacktestState(order=order, state="done")
    try:
        said = (folder / PROGRESS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        said = []
    steps = [found for line in said if (found := STEP.match(line))]
    done, of, name = (int(steps[-1][1]), int(steps[-1][2]), steps[-1][3]) if steps else (0, 0, "")
    if is_at_work(workspace, order):
        return BacktestState(order=order, state="running", done=done, of=of, text=name)
    words = "\n".join(line for line in said if not STEP.match(line))[-SHOWN_CHARACTERS:]
    return BacktestState(
        order=order, state="failed", done=done, of=of, text=words or "its process ended without a result"
    )
