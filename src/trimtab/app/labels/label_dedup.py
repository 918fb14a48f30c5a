"""Compares outcomes with the prediction log: which labels are new, and which ids were predicted.

repeated        the same label again: not written again when it says nothing new, no known_at or one that is there
contradictory   another label for the same prediction: both stay in the log, the one with the latest known_at counts
unknown id      taken; the prediction may still come, or be in another log
The gateway's workers judge by the same rules from what they remember (serving.core.feedback); here the whole log is
read.

Outcomes and the rows of the log that may be of their ids lie in a temporary SQLite database, which the system removes
also when the process dies. It sorts them by id, on disk, so memory does not grow with outcomes or log, nor with the
rows of one id: a few blocks are held, and the filter of ids.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryFile

import numpy as np
import polars as pl
import pyarrow as pa

from trimtab.app.labels.bloom import BloomFilter
from trimtab.errors import StoreError
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START, Predictions

BLOCK_ROWS = 16_384
"""Rows of the log, or verdicts, that are held at a time."""
CACHE_KIB = 32_768
"""What the database keeps in memory, and of a sort at a time."""
PREDICTED, KNOWN = -(2**62), -(2**61)
"""Where the places of predictions begin, and of labels in the log; outcomes begin at 0. So an id's rows sort so."""
NEW, REPEATED, CONTRADICTING = np.uint8(1), np.uint8(2), np.uint8(4)

Label = tuple[str, float | str, int]
"""Id, label and known_at; the label is a number, or the name of a class."""


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What became of some outcomes. A new label may also repeat or contradict the one that counts."""

    new: int
    repeated: int
    contradicting: int


class LabelDedup:
    """Some outcomes of a model's predictions, and what the log knows of them. Close it.

    timed: each outcome says when it became known. Else they are known now: of several for one id the last counts, and
    it is new when it differs from the one that is known. named: labels are names of classes. Every method raises
    StoreError when the disk for temporary files is full.
    """

    def __init__(self, model: str, *, timed: bool, named: bool = False) -> None:
        self.rows = 0
        self.unmatched = 0
        """Outcomes whose id no prediction has, of those that were learnt; known when they are judged."""
        self._model = model
        self._column = "class_name" if named else "label"
        self._timed = timed
        self._ids = BloomFilter()
        self._places = {PREDICTED: PREDICTED, KNOWN: KNOWN}
        self._verdicts = np.zeros(0, np.uint8)
        self._now = 0
        with _room():
            self._db = _temporary()

    def add(self, rows: pl.DataFrame) -> None:
        """Add outcomes in their order: columns id, label and known_at (null unless they are timed)."""
        self._ids.add(rows["id"])
        self._put(self.rows, rows["id"], rows["label"], rows["known_at"])
        self.rows += rows.height

    def take_back(self, first: int) -> None:
        """Forget the outcomes from a place on."""
        with _room():
            self._db.execute("DELETE FROM outcomes WHERE place >= ?", (first,))
        self.rows = first

    def learn_predictions(self, log: Predictions) -> None:
        """Read which ids were predicted."""
        block, cursor = log.read(START, limit=BLOCK_ROWS)
        while block.num_rows and self.rows:
            found = _frame(block.select(["prediction_id", "model"]))
            own = found.filter(pl.col("model") == self._model)["prediction_id"].unique()
            self._learn(PREDICTED, own, *[pl.repeat(None, len(own), eager=True)] * 2)
            block, cursor = log.read(cursor, limit=BLOCK_ROWS)

    def learn_labels(self, log: Predictions) -> None:
        """Read which labels are known: those of the model, and those of none."""
        block, cursor = log.read_labels(START, limit=BLOCK_ROWS)
        while block.num_rows and self.rows:
            mine = block.filter(label_rule.belong(block["model"], self._model))
            own = _frame(mine.select(["prediction_id", self._column, "known_at"]))
            self._learn(KNOWN, own["prediction_id"], own[self._column], own["known_at"].dt.epoch("us"))
            block, cursor = log.read_labels(cursor, limit=BLOCK_ROWS)

    def judge(self, *, now: int) -> None:
        """Judge all outcomes, each after those before it. now: when those that are not timed became known."""
        self._now, self.unmatched = now, 0
        with _room():
            with TemporaryFile() as file:  # the mapping keeps it
                os.posix_fallocate(file.fileno(), 0, max(self.rows, 1))  # a full disk raises here, and kills later
                self._verdicts = np.memmap(file, np.uint8, "r+", shape=(max(self.rows, 1),))
            found = self._judged()
            while some := list(islice(found, BLOCK_ROWS)):
                places, verdicts = zip(*some, strict=True)
                self._verdicts[list(places)] = verdicts

    def judged(self, first: int, last: int) -> LabelCounts:
        """Return what became of the outcomes from a place up to before another."""
        parts = [self._verdicts[start : min(start + BLOCK_ROWS, last)] for start in range(first, last, BLOCK_ROWS)]
        new, repeated, contradicting = (
            sum(int(np.count_nonzero(part & verdict)) for part in parts) for verdict in (NEW, REPEATED, CONTRADICTING)
        )
        return LabelCounts(new=new, repeated=repeated, contradicting=contradicting)

    def new(self, first: int, last: int, *, limit: int) -> Iterator[list[Label]]:
        """Yield the new labels in their order, up to `limit` at a time."""
        for start in range(first, last, limit):
            stop = min(start + limit, last)
            is_new = self._verdicts[start:stop] & NEW
            if not is_new.any():
                continue
            with _room():
                found = self._db.execute(
                    "SELECT id, label, ifnull(known_at, ?) FROM outcomes WHERE place >= ? AND place < ? ORDER BY place",
                    (self._now, start, stop),
                ).fetchall()
            yield [label for label, new in zip(found, is_new.tolist(), strict=True) if new]

    def close(self) -> None:
        """Give back what is on disk."""
        self._db.close()
        self._verdicts = np.zeros(0, np.uint8)

    def _learn(self, kind: int, ids: pl.Series, labels: pl.Series, times: pl.Series) -> None:
        """Keep the rows of the log that may be of an outcome's id."""
        mine = self._ids.among(ids)
        ids, labels, times = ids.filter(mine), labels.filter(mine), times.filter(mine)
        self._put(self._places[kind], ids, labels, times)
        self._places[kind] += len(ids)

    def _put(self, place: int, ids: pl.Series, labels: pl.Series, times: pl.Series) -> None:
        places = range(place, place + len(ids))
        rows = zip(places, ids.to_list(), labels.to_list(), times.to_list(), strict=True)
        with _room():
            self._db.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?)", rows)

    def _judged(self) -> Iterator[tuple[int, np.uint8]]:
        """Yield the place of each outcome and its verdict, one id after another."""
        order = "place" if self._timed else "place >= 0, CASE WHEN place < 0 THEN place ELSE -place END"
        seen, current = DistinctLabels(self._db), None
        predicted, final = False, None
        with closing(self._db.execute(f"SELECT place, id, label, known_at FROM outcomes ORDER BY id, {order}")) as rows:
            for place, id_, label, known_at in rows:
                if id_ != current:
                    current, predicted, final = id_, False, None
                    seen.clear()
                if place < KNOWN:
                    predicted = True
                    continue
                if place < 0:
                    seen.learn(label, known_at)
                    continue
                self.unmatched += not predicted
                if self._timed:
                    yield place, seen.judge(label, known_at, again=False)
                elif final is None:  # the last of its id comes first
                    final = label
                    yield place, seen.judge(label, self._now, again=True)
                else:
                    yield place, REPEATED if label == final else CONTRADICTING


class DistinctLabels:
    """Distinct (label, known_at) pairs of one prediction id: MOST of them in memory, the others on disk."""

    MOST = 10_000

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._few: set[tuple[float | str, int]] = set()
        self._latest: tuple[float | str, int] | None = None

    def clear(self) -> None:
        """Forget all pairs, for the next id."""
        if len(self._few) >= self.MOST:
            self._db.execute("DELETE FROM overflow")
        self._few.clear()
        self._latest = None

    def learn(self, label: float | str, known_at: int) -> None:
        """Keep a label that is in the log, or will be."""
        if self._is_new(label, known_at):
            if len(self._few) < self.MOST:
                self._few.add((label, known_at))
            else:
                self._db.execute("INSERT OR IGNORE INTO overflow VALUES (?, ?)", (label, known_at))
        if self._latest is None or label_rule.replaces(known_at, self._latest[1]):
            self._latest = label, known_at

    def judge(self, label: float | str, known_at: int, *, again: bool) -> np.uint8:
        """Return whether a label is new, repeated or contradicting, and keep a new one.

        again: the label has no known_at of its own.
        """
        before = self._latest
        same = before is not None and before[0] == label
        if (again and same) or not self._is_new(label, known_at):
            return REPEATED
        self.learn(label, known_at)
        if before is None:
            return NEW
        return NEW | (REPEATED if same else CONTRADICTING)

    def _is_new(self, label: float | str, known_at: int) -> bool:
        if (label, known_at) in self._few:
            return False
        if len(self._few) < self.MOST:
            return True
        found = self._db.execute("SELECT 1 FROM overflow WHERE label = ? AND known_at = ?", (label, known_at))
        return found.fetchone() is None


def _frame(block: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(block)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _temporary() -> sqlite3.Connection:
    """Open a database in the folder for temporary files, which has no name there. One transaction is never ended."""
    db = sqlite3.connect("")
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}", "temp_store = FILE"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TABLE outcomes (place INTEGER PRIMARY KEY, id TEXT, label, known_at INTEGER)")
    db.execute("CREATE TABLE overflow (label, known_at INTEGER, PRIMARY KEY (label, known_at)) WITHOUT ROWID")
    return db


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"outcomes are sorted in the folder for temporary files, which does not work: {error}. They need some 250 "
            "bytes a row there; make room, or set TMPDIR (and SQLITE_TMPDIR) to a folder on a larger disk"
        ) from None
