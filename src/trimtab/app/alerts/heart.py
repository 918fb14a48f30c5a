"""Writes the pulse of the loop, and reads it in another process, which so sees that the loop stands still."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from trimtab.app.project import process_files
from trimtab.clock import Clock
from trimtab.records.loop_pulse import PULSE, LoopPulse, ModelFigures

BEAT = timedelta(seconds=5)
"""Least time between two writes."""


class Heart:
    """Writes the pulse of the loop of this process. figures: returns what the loop has come to."""

    def __init__(
        self, run_folder: Path, clock: Clock, figures: Callable[[], tuple[ModelFigures, ...]] = lambda: ()
    ) -> None:
        self._path = run_folder / PULSE
        self._clock = clock
        self._figures = figures
        self._pulse = LoopPulse(pid=process_files.own_pid(), at=clock.now(), models=figures())
        self._write()

    def beat(self) -> None:
        """Note that a step has ended."""
        now = self._clock.now()
        if now - self._pulse.at >= BEAT or self._pulse.trouble is not None:
            self._pulse = LoopPulse(pid=self._pulse.pid, at=now, models=self._figures())
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


def read_pulse(run_folder: Path) -> LoopPulse | None:
    """Return the pulse of the loop; None when none should run."""
    try:
        return msgspec.json.decode((run_folder / PULSE).read_bytes(), type=LoopPulse)
    except (OSError, msgspec.DecodeError):
        return None


def standstill(pulse: LoopPulse, now: datetime, silence: timedelta) -> str | None:
    """Return why a loop stands still, or None while it turns."""
    if not process_files.is_running(pulse.pid):
        return f"its process {pulse.pid} has ended without closing"
    if now - pulse.at <= silence:
        return None
    return pulse.trouble or f"its process {pulse.pid} runs and has ended no step since {pulse.at:%Y-%m-%d %H:%M:%S} UTC"
