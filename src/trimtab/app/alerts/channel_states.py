"""How the channels do: a small file of the process that sends, for people who look."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from trimtab.app.project.process_files import is_running, write_atomically

STATES = "alerts.json"
"""In the run folder."""


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """One channel. waiting: alerts that no message has told. failing_since, failures, reason: of a dead channel."""

    channel: str
    waiting: int = 0
    sent_at: datetime | None = None
    sending_since: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    next_attempt: datetime | None = None
    reason: str | None = None


class AlertStates(msgspec.Struct, frozen=True, kw_only=True):
    """All channels of one process."""

    pid: int
    channels: tuple[ChannelState, ...]


def write_states(run_folder: Path, states: AlertStates) -> None:
    """Replace the file."""
    write_atomically(run_folder / STATES, msgspec.json.encode(states))


def read_states(run_folder: Path) -> AlertStates | None:
    """Return the states that the last process wrote that sent alerts; None when none did."""
    try:
        return msgspec.json.decode((run_folder / STATES).read_bytes(), type=AlertStates)
    except (OSError, msgspec.DecodeError):
        return None


def sends(states: AlertStates | None) -> bool:
    """Return True if the process that wrote the states runs."""
    return states is not None and is_running(states.pid)
