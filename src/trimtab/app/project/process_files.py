"""Small files that processes leave for one another, written whole or not at all, and how processes end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

INTERRUPTED = 130
PROGRESS = "steering.json"
"""In the run folder: how far the loop has come."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def own_pid() -> int:
    """Return the id of this process."""
    return os.getpid()


def exit_now(code: int) -> NoReturn:
    """End this process without waiting for threads that are at work.

    For the loop: a workflow step that is cut off is begun again by the next `up`, and Ctrl-C should not hang.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_running(pid: int) -> bool:
    """Return True if a process is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def send_signal(pid: int, number: int) -> None:
    """Send a signal; a process that has ended already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Stop:
    """Set by SIGINT or SIGTERM; a second one ends at once."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Listen for SIGINT and SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            exit_now(INTERRUPTED)
        self.requested = True

    def __call__(self) -> bool:
        return self.requested


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the loop has come; written after each step that changes it, for replays and people who watch."""

    pid: int
    watermark: int
    """Largest event time (microseconds) whose rows were taken in."""
    rows: int
    """Rows of the prediction log that were taken in since the start."""
    labels: int
    """Rows of the label log that were taken in, from its beginning on."""
    unmatched_labels: int = 0
    """Of these, given up: of unknown predictions, or of windows that had been judged."""
    busy: bool
    """True while a workflow is at work, rather than waiting for labels or a person."""
    turn: int = 0
    """Number of the last turn of a replay that has ended (turns.py)."""


def read_progress(run_folder: Path) -> Progress | None:
    """Return the progress of the running loop, or None."""
    try:
        found = msgspec.json.decode((run_folder / PROGRESS).read_bytes(), type=Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None
