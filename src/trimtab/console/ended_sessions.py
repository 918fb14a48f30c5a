"""Sessions that people ended before their time, kept until the cookie would be too old anyway."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from trimtab.app.project.process_files import write_atomically
from trimtab.clock import Clock


class EndedSessions:
    """The ids of ended sessions, in memory and in a file that outlives the console.

    path: of the file. lasts_s: a session is too old after so many seconds.
    """

    def __init__(self, path: Path, lasts_s: int, clock: Clock) -> None:
        self._path, self._lasts_s, self._clock = path, lasts_s, clock
        self._lock = threading.Lock()
        self._until = msgspec.json.decode(path.read_bytes(), type=dict[str, float]) if path.exists() else {}

    def add(self, session: str) -> None:
        """End a session."""
        now = self._clock.now().timestamp()
        with self._lock:
            kept = {id_: until for id_, until in self._until.items() if until > now}
            self._until = {**kept, session: now + self._lasts_s}
            write_atomically(self._path, msgspec.json.encode(self._until))

    def __contains__(self, session: str) -> bool:
        return session in self._until
