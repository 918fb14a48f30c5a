"""The journal of the stages that commands ran on this machine: how long each took, and with what error it ended.

The records of a stage say what it made. A stage that failed often makes none, so a pipeline's summary needs this.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec

from trimtab.app.project.workspace import Workspace

JOURNAL = "stages.jsonl"
BEGINS = "ingest"
"""The stage that a pipeline begins with."""


class StageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One stage that a command ran. seconds, cpu_seconds: without the start of the command."""

    stage: str
    model: str | None
    at: datetime
    """When it ended."""
    seconds: float
    cpu_seconds: float
    """Of the process and of its children that have ended."""
    error: str = ""
    """Empty if it passed."""


class StageClock:
    """Measures one stage and appends it to the journal of a workspace."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def note(self, workspace: Workspace, model: str | None, error: str = "") -> None:
        """Append the stage to the journal. A journal that cannot be written is left out."""
        entry = StageEntry(
            stage=self._stage,
            model=model,
            at=workspace.now(),
            seconds=time.perf_counter() - self._wall,
            cpu_seconds=_cpu_seconds() - self._cpu,
            error=error,
        )
        with suppress(OSError), (workspace.run_folder / JOURNAL).open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")


@contextmanager
def noted(workspace: Workspace, stage: str, model: str | None = None) -> Iterator[None]:
    """Note the block as one stage, with the error that ends it."""
    clock = StageClock(stage)
    try:
        yield
    except BaseException as error:
        clock.note(workspace, model, error_text(error))
        raise
    clock.note(workspace, model)


def error_text(error: BaseException) -> str:
    """Return what an error says; its type where it says nothing."""
    return str(error).strip() or type(error).__name__


def entries_of_pipeline(run_folder: Path) -> list[StageEntry]:
    """Return the last entry of each stage and model since the last ingest, in order of time; lines that are damaged
    are left out."""
    found: list[StageEntry] = []
    try:
        lines = (run_folder / JOURNAL).read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=StageEntry))
    first = max((place for place, entry in enumerate(found) if entry.stage == BEGINS), default=0)
    newest = {(entry.stage, entry.model): entry for entry in found[first:]}
    return sorted(newest.values(), key=lambda entry: entry.at)


def _cpu_seconds() -> float:
    used = os.times()
    return time.process_time() + used.children_user + used.children_system
