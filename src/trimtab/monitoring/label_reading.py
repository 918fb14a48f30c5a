"""Reads the label log, and returns the place from which a new process must read it again.

Labels that may still be needed are those of predictions in windows that are not judged yet, and of predictions that
have not been read. After a restart the log is read from the oldest of them on; a few that are much older than the
others, such as those of a model without traffic, are kept in the mark itself.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from trimtab.monitoring.label_join import Ints, LabelPool, Labels, from_table
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START, Cursor, Predictions

MOST_KEPT = 1_000
"""Labels that a mark holds itself."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A label that is older than the place from which the log is read again."""

    id: str
    model: str | None
    label: float | None
    known_at: int
    place: int
    waits: bool
    """It waits in the pool: its prediction is not known."""
    class_name: str | None = None


class LabelPosition(msgspec.Struct, frozen=True):
    """From where the label log is read again, and what was known of its labels."""

    places: tuple[tuple[str, int, int], ...] = START.places
    """Of the cursor."""
    first: str = ""
    """Prediction id of the first label behind it; empty when there was none."""
    row: int = 0
    """How many labels lie before it."""
    until: int = 0
    """How many labels had been read."""
    unmatched: int = 0
    """Of these, how many had been dropped."""
    waiting: bytes = b""
    """Which labels from `row` to `until` waited in the pool: one bit each, compressed."""
    kept: tuple[Kept, ...] = ()

    @property
    def cursor(self) -> Cursor:
        """Return the place as a reader takes it."""
        return Cursor(self.places)

    def waited(self) -> Ints:
        """Return the places of the labels that waited in the pool, in order."""
        bits = np.frombuffer(zlib.decompress(self.waiting) if self.waiting else b"", np.uint8)
        found = np.flatnonzero(np.unpackbits(bits)) + self.row
        return np.concatenate([[each.place for each in self.kept if each.waits], found]).astype(np.int64)

    def labels(self) -> Labels:
        """Return the labels that the mark holds itself."""
        return Labels(
            pa.array([each.id for each in self.kept], pa.string()),
            pa.array([each.model for each in self.kept], pa.string()),
            np.array([np.nan if each.label is None else each.label for each in self.kept], np.float64),
            np.array([each.known_at for each in self.kept], np.int64),
            np.array([each.place for each in self.kept], np.int64),
            pa.array([each.class_name for each in self.kept], pa.string()),
        )

    def is_there(self, predictions: Predictions) -> bool:
        """Return True if the place is in this log. Raises StoreError."""
        if not self.first:
            return True
        ids = predictions.read_labels(self.cursor, limit=1)[0]["prediction_id"]
        return bool(len(ids)) and ids[0].as_py() == self.first


class _Start(NamedTuple):
    """Where a block of labels began."""

    row: int
    cursor: Cursor
    first: str


class LabelReader:
    """The label log from a place on; labels are numbered from the beginning of the log."""

    def __init__(
        self, predictions: Predictions, mark: LabelPosition | None = None, *, metrics: Mapping[str, str] | None = None
    ) -> None:
        """metrics: which labels of prompts count (label_rule.of_metrics)."""
        mark = mark or LabelPosition()
        self._metrics = metrics or {}
        self._predictions = predictions
        self._cursor = mark.cursor
        self._starts: deque[_Start] = deque()
        self.rows = mark.row
        """Labels that lie before the place that was reached."""
        self.read_here = 0
        """Labels that this process has read."""

    def read(self, limit: int) -> Labels | None:
        """Return the next labels, about `limit` of them, or None at the end. Raises StoreError."""
        table, after = self._predictions.read_labels(self._cursor, limit=limit)
        if not table.num_rows:
            self._cursor = after
            return None
        self._starts.append(_Start(self.rows, self._cursor, table["prediction_id"][0].as_py()))
        table, counted = label_rule.of_metrics(table, self._metrics)
        labels = from_table(table, first=self.rows)
        if counted is not None:
            labels = labels.take(counted)
        self._cursor = after
        self.rows += table.num_rows
        self.read_here += table.num_rows
        return labels

    def mark(self, pool: LabelPool, claimed: Iterable[Labels]) -> LabelPosition:
        """Return the place from which a new process must read. claimed: labels of windows that are not judged yet."""
        waiting, others = list(pool.parts), list(claimed)
        places = np.sort(np.concatenate([np.empty(0, np.int64), *(part.places for part in (*waiting, *others))]))
        start = self._start(places)
        bits = np.zeros(self.rows - start.row, np.uint8)
        for part in waiting:
            bits[part.places[part.places >= start.row] - start.row] = 1
        kept = [*_kept(waiting, start.row, waits=True), *_kept(others, start.row, waits=False)]
        return LabelPosition(
            places=start.cursor.places,
            first=start.first,
            row=start.row,
            until=self.rows,
            unmatched=pool.unmatched,
            waiting=zlib.compress(np.packbits(bits).tobytes(), 1) if bits.any() else b"",
            kept=tuple(sorted(kept, key=lambda each: each.place)),
        )

    def _start(self, places: Ints) -> _Start:
        """Return the last place before which no more labels are needed than a mark holds. places: sorted."""
        start = _Start(self.rows, self._cursor, "")
        for each in reversed(self._starts):
            if np.searchsorted(places, start.row) <= MOST_KEPT:
                break
            start = each
        while self._starts and self._starts[0].row < start.row:
            self._starts.popleft()
        return start


def _kept(parts: Iterable[Labels], row: int, *, waits: bool) -> Iterator[Kept]:
    """Yield the labels before a row."""
    for part in parts:
        older = part.take(part.places < row)
        columns = (older.ids.to_pylist(), older.models.to_pylist(), older.label.tolist(), older.classes.to_pylist())
        for id_, model, label, name, known, place in zip(
            *columns, older.known_at.tolist(), older.places.tolist(), strict=True
        ):
            yield Kept(id_, model, None if np.isnan(label) else label, known, place, waits, name)
