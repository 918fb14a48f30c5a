"""The place in the prediction log from which a monitor reads after a restart, kept in a file.

Rows of windows that are written as matured are skipped when they are read again; only the event time that they reached
counts. So the monitor can start at a place when each model's rows before it lie in such windows, and the event time
that they reached is known: it then writes the same records, bit for bit. A model without traffic, whose last windows
never mature, does not hold back the others: its own rows are read again from an earlier place, as many as there were,
and then the log from the newest place. The file is a hint: where its places do not fit the log or the records, the log
is read from its beginning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from trimtab.monitoring.event_windows import BEGINNING
from trimtab.monitoring.label_reading import LabelPosition
from trimtab.stores.predictions.contract import START, Cursor, Predictions

log = logging.getLogger(__name__)


class LogPosition(msgspec.Struct, frozen=True):
    """A place in the prediction log."""

    places: tuple[tuple[str, int, int], ...] = START.places
    """Of the cursor."""
    first: str = ""
    """Id of the first prediction after it; another id there means another log."""
    reached: dict[str, int] = {}
    """Model -> largest event time of its rows before, microseconds since the epoch."""
    seen: dict[str, int] = {}
    """Model -> how many rows it has before."""

    @property
    def cursor(self) -> Cursor:
        """Return the place as a reader takes it."""
        return Cursor(self.places)


class Lagging(msgspec.Struct, frozen=True):
    """A place from which the rows of some models are read again. rows: how many, by model."""

    mark: LogPosition
    rows: dict[str, int]


class Checkpoint(msgspec.Struct, frozen=True):
    """The content of the file."""

    mark: LogPosition
    """The log is read from here."""
    behind: tuple[Lagging, ...]
    """Of the models without traffic that are not judged up to there; oldest first."""
    window: int
    """Size of the windows in microseconds: which rows count as being from the future depends on it."""
    labels: LabelPosition | None = None
    """From where the label log is read; None in files of earlier versions."""


class CheckpointFile:
    """Remembers the places that were read, and writes the newest one at which a new process can start.

    path: None remembers nothing. window: size of the windows in microseconds.
    """

    def __init__(self, path: Path | None, *, window: int) -> None:
        self._path = path
        self._window = window
        self._passed = [LogPosition()]
        self._matured: dict[str, int] = {}
        self._unmatched = 0

    def find(self, predictions: Predictions) -> Checkpoint | None:
        """Return the content of the file if its places are of this log. Raises StoreError."""
        if self._path is None:
            return None
        try:
            checkpoint = msgspec.json.decode(self._path.read_bytes(), type=Checkpoint)
        except (OSError, msgspec.DecodeError):
            return None
        if checkpoint.window != self._window or not _is_there(checkpoint.mark, predictions):
            return None
        if checkpoint.labels is None or not checkpoint.labels.is_there(predictions):
            return None
        behind = [each if _is_there(each.mark, predictions) else _gone(each) for each in checkpoint.behind]
        return msgspec.structs.replace(checkpoint, behind=tuple(behind))

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Take over the places of an earlier process."""
        self._passed = [*(each.mark for each in checkpoint.behind), checkpoint.mark]
        self._unmatched = checkpoint.labels.unmatched if checkpoint.labels else 0

    def passing(self, cursor: Cursor, first: str, reached: Mapping[str, int], seen: Mapping[str, int]) -> None:
        """Remember a place that was read; one a window is enough."""
        if cursor == START:
            self._passed[0] = LogPosition(first=first)
        known = {model: time for model, time in reached.items() if time > BEGINNING}
        if self._path is not None and self._windows(self._passed[-1].reached) != self._windows(known):
            self._passed.append(LogPosition(cursor.places, first, known, dict(seen)))

    def keep(
        self, matured: Mapping[str, int], seen: Mapping[str, int], unmatched: int, labels: Callable[[], LabelPosition]
    ) -> None:
        """Write the newest place at which a new process can start, and the place in the label log.

        matured: end of each model's newest matured window. seen: how many rows each model has by now. unmatched: labels
        dropped by now. labels: returns the place in the label log.
        """
        if self._path is None or (self._matured == matured and self._unmatched == unmatched):
            return
        self._matured, self._unmatched = dict(matured), unmatched
        place = next((n for n in range(len(self._passed) - 1, 0, -1) if self._may_skip_to(n, seen)), 0)
        if not place:
            return
        mark = self._passed[place]
        behind = self._behind(mark)
        self._passed = [*(each.mark for each in behind), *self._passed[place:]]
        self._write(self._path, Checkpoint(mark, behind, self._window, labels()))

    def _may_skip_to(self, place: int, seen: Mapping[str, int]) -> bool:
        """Return True if all models are judged up to a place, or have had no row since the place before it."""
        mark, before = self._passed[place], self._passed[place - 1]
        return all(
            _judged(mark, model, self._matured) or before.seen.get(model) == seen[model] for model in mark.reached
        )

    def _behind(self, mark: LogPosition) -> tuple[Lagging, ...]:
        """Return the places from which models are read that are not judged up to a place."""
        rows: dict[int, dict[str, int]] = {}
        for model in mark.reached:
            if not _judged(mark, model, self._matured):
                n = max(n for n, each in enumerate(self._passed) if _judged(each, model, self._matured))
                rows.setdefault(n, {})[model] = mark.seen[model] - self._passed[n].seen.get(model, 0)
        return tuple(Lagging(self._passed[n], rows[n]) for n in sorted(rows))

    def _write(self, path: Path, checkpoint: Checkpoint) -> None:
        whole = path.with_suffix(f".{os.getpid()}")
        try:
            whole.write_bytes(msgspec.json.encode(checkpoint))
            whole.replace(path)
        except OSError as error:  # without it the next start takes longer
            log.warning("%s cannot be written: %s", path, error)

    def _windows(self, reached: Mapping[str, int]) -> dict[str, int]:
        return {model: time // self._window for model, time in reached.items()}


def fits(checkpoint: Checkpoint, matured: Mapping[str, int]) -> bool:
    """Return True if all windows with rows before the places of a checkpoint are written."""
    start = {model: each.mark for each in checkpoint.behind for model in each.rows}
    return all(_judged(start.get(model, checkpoint.mark), model, matured) for model in checkpoint.mark.reached)


def _judged(mark: LogPosition, model: str, matured: Mapping[str, int]) -> bool:
    """Return True if all windows with rows of a model before a place are written."""
    return model not in mark.reached or mark.reached[model] < matured.get(model, BEGINNING)


def _gone(behind: Lagging) -> Lagging:
    """Return the place without rows: the log does not keep them any more."""
    return Lagging(behind.mark, dict.fromkeys(behind.rows, 0))


def _is_there(mark: LogPosition, predictions: Predictions) -> bool:
    ids = predictions.read(mark.cursor, limit=1)[0]["prediction_id"]
    return bool(len(ids)) and ids[0].as_py() == mark.first
