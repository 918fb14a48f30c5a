"""The pulse of the loop: a small file that says when it last ended a step, so that another process sees it stand still.

The file is there while a loop should run: a loop that ends in order takes it away.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from trimtab.app.project import process_files
from trimtab.clock import Clock

PULSE = "loop.json"
BEAT = timedelta(seconds=5)
"""Least time between two writes."""


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """The loop of a project. at: when it last ended a step. trouble: what keeps it from the next one, if it knows."""

    pid: int
    at: datetime
    trouble: str | None = None

    def fault(self, now: datetime, silence: timedelta) -> str | None:
        """Return why the loop stands still, or None while it turns."""
        if not process_files.is_running(self.pid):
            return f"its process {self.pid} has ended without closing"
        if now - self.at <= silence:
            return None
        return (
            self.trouble or f"its process {self.pid} runs and has ended no step since {self.at:%Y-%m-%d %H:%M:%S} UTC"
        )


class Heart:
    """Writes the pulse of the loop of this process."""

    def __init__(self, run_folder: Path, clock: Clock) -> None:
        self._path = run_folder / PULSE
        self._clock = clock
        self._pulse = Pulse(pid=process_files.own_pid(), at=clock.now())
        self._write()

    def beat(self) -> None:
        """Note that a step has ended."""
        now = self._clock.now()
        if now - self._pulse.at >= BEAT or self._pulse.trouble is not None:
            self._pulse = Pulse(pid=self._pulse.pid, at=now)
            self._write()

    def falter(self, trouble: str) -> None:
        """Note why no step ends."""
        self._pulse = msgspec.structs.replace(self._pulse, trouble=trouble)
        self._write()

    def stop(self) -> None:
        """Take the file away: the loop ends in order."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        process_files.write_atomically(self._path, msgspec.json.encode(self._pulse))


def read_pulse(run_folder: Path) -> Pulse | None:
    """Return the pulse of the loop; None when none should run."""
    try:
        return msgspec.json.decode((run_folder / PULSE).read_bytes(), type=Pulse)
    except (OSError, msgspec.DecodeError):
        return None
