"""From where in the prediction log a monitor must read after a restart, kept in a file. Called by monitor.py.

Rows of windows that are written as matured are passed over when they are read again: all that they still tell is the
event time they reached. So a place in the log may be skipped to when each model's rows before it lie in such windows,
and the event time that they reached is known: the records from there on are the same, bit for bit. The file is a hint:
a place that does not fit the log or the records is left, and the log is read from its beginning.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trimtab.stores.predictions import Cursor, Predictions

log = logging.getLogger(__name__)


class Mark(msgspec.Struct, frozen=True):
    """A place in the prediction log."""

    places: tuple[tuple[str, int, int], ...]
    """Of the cursor."""
    first: str
    """Id of the first prediction behind it: another one tells that this is another log."""
    reached: dict[str, int]
    """Model -> largest event time of its rows before, microseconds since the epoch."""
    window: int
    """Size of the windows in microseconds: which rows count as being from the future depends on it."""

    @property
    def cursor(self) -> Cursor:
        """Return the place as a reader takes it."""
        return Cursor(self.places)


class Bookmark:
    """Remembers places that were read past, and keeps the newest one that may be skipped to.

    path: None remembers nothing. window: size of the windows in microseconds.
    """

    def __init__(self, path: Path | None, *, window: int) -> None:
        self._path = path
        self._window = window
        self._passed: deque[Mark] = deque()

    def find(self, predictions: Predictions) -> Mark | None:
        """Return the place that was kept, if it is one of this log. Raises StoreError."""
        if self._path is None:
            return None
        try:
            mark = msgspec.json.decode(self._path.read_bytes(), type=Mark)
        except (OSError, msgspec.DecodeError):
            return None
        ids = predictions.read(mark.cursor, limit=1)[0]["prediction_id"]
        return mark if mark.window == self._window and len(ids) and ids[0].as_py() == mark.first else None

    def passing(self, cursor: Cursor, first: str, reached: Mapping[str, int]) -> None:
        """Note a place that is read past: one a window is enough."""
        if self._path is None or not reached:
            return
        if not self._passed or self._windows(self._passed[-1].reached) != self._windows(reached):
            self._passed.append(Mark(cursor.places, first, dict(reached), self._window))

    def keep(self, matured: Mapping[str, int]) -> None:
        """Keep the newest place that may be skipped to. matured: end of each model's newest matured window."""
        newest: Mark | None = None
        while self._passed and fits(self._passed[0], matured):
            newest = self._passed.popleft()
        if newest is None or self._path is None:
            return
        whole = self._path.with_suffix(f".{os.getpid()}")
        try:
            whole.write_bytes(msgspec.json.encode(newest))
            whole.replace(self._path)
        except OSError as error:  # without it the next start takes longer, and nothing else
            log.warning("%s cannot be written: %s", self._path, error)

    def _windows(self, reached: Mapping[str, int]) -> dict[str, int]:
        return {model: time // self._window for model, time in reached.items()}


def fits(mark: Mark, matured: Mapping[str, int]) -> bool:
    """Tell whether all windows that had rows before a place are written."""
    return all(model in matured and time < matured[model] for model, time in mark.reached.items())
