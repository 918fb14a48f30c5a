"""The rows of a history as traffic: which version answers which row, and the rows of the log that follow from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trimtab.app.backtest.labelled_history import Floats, History, Ints
from trimtab.records.serving import Assignment, Revision
from trimtab.stores.predictions.arrow_rows import schema_of, with_columns
from trimtab.tasks import RULES

PERCENT = 100.0
SEED = 0
"""Of the draw that splits the traffic between champion and challenger: the same in every world."""
ROUTE = "split"


class Traffic:
    """The rows of a history from a time on."""

    def __init__(self, history: History, model: str, *, start: int) -> None:
        self._history = history
        self._model = model
        self._ids = pa.array([str(place) for place in range(len(history))], pa.string())
        columns = history.X.shape[1]
        offsets = pa.array(np.arange(len(history) + 1, dtype=np.int32) * columns)
        self._features = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(history.X).ravel()))
        self._times = pa.array(history.at, pa.timestamp("us", tz="UTC"))
        self._draw = np.random.default_rng(SEED).uniform(0.0, PERCENT, len(history))
        logged = np.flatnonzero(history.labelled & (history.at >= start))
        self._labels: npt.NDArray[np.intp] = logged[np.argsort(history.known_at[logged], kind="stable")]
        self._known: Ints = history.known_at[self._labels]
        self._told = 0

    def answered_by(self, revision: Revision, rows: slice) -> Ints:
        """Return the version that answers each row: the challenger as many as its share says, the champion the rest."""
        answering = [each for each in revision.assignments if each.role != "shadow"]
        champion = next(each for each in answering if each.role == "champion")
        found = np.full(rows.stop - rows.start, champion.version, np.int64)
        for each in answering:
            if each.role == "challenger":
                found[self._draw[rows] < each.weight] = each.version
        return found

    def predictions(self, revision: Revision, rows: slice, scores: Mapping[int, Floats], answered_by: Ints) -> pa.Table:
        """Return the rows of the prediction log: each row once for every version in service."""
        parts = [
            self._of_version(revision.number, each, rows, scores[each.version], answered_by == each.version)
            for each in revision.assignments
        ]
        return pa.concat_tables(parts)

    def labels(self, now: int) -> pa.Table:
        """Return the labels that became known since the last call, up to a time in microseconds."""
        until = int(np.searchsorted(self._known, now, side="right"))
        places = self._labels[self._told : until]
        self._told = until
        known = pa.array(self._history.known_at[places], pa.timestamp("us", tz="UTC"))
        y, classes = self._history.y[places], self._history.classes
        by_class = RULES[self._history.task].by_class
        named = {"class_name": pa.array(classes).take(pa.array(y.astype(np.int64)))} if by_class else {}
        columns = {
            **named,
            "prediction_id": self._ids.take(pa.array(places)),
            "model": pa.repeat(self._model, len(places)),
            "label": pa.nulls(len(y), pa.float64()) if by_class else pa.array(y),
            "known_at": known,
            "received_at": known,
        }
        return with_columns(pa.table(columns), schema_of("labels"))

    def _of_version(
        self, revision: int, assignment: Assignment, rows: slice, score: Floats, served: npt.NDArray[np.bool_]
    ) -> pa.Table:
        n = rows.stop - rows.start
        rules = RULES[self._history.task]
        confidence = np.full(n, np.nan) if rules.confidence is None else rules.confidence(score)
        shares = {}
        if rules.by_class:
            offsets = pa.array(np.arange(n + 1, dtype=np.int32) * score.shape[1])
            shares["probabilities"] = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(score).ravel()))
        score = rules.main_score(score)
        schema = schema_of("predictions")
        columns = {
            **shares,
            "prediction_id": self._ids[rows],
            "model": pa.repeat(self._model, n),
            "version": pa.array(np.full(n, assignment.version, np.int32)),
            "role": pa.repeat(assignment.role, n),
            "served": pa.array(served),
            "route": pa.repeat(ROUTE, n),
            "revision": pa.array(np.full(n, revision, np.int32)),
            "event_time": self._times[rows],
            "logged_at": self._times[rows],
            "entities": pa.nulls(n, schema.field("entities").type),
            "features": self._features[rows],
            "score": pa.array(score),
            "confidence": pa.array(confidence, mask=~np.isfinite(confidence)),
            "latency_us": pa.array(np.zeros(n, np.int32)),
            "cpu_us": pa.array(np.zeros(n, np.int32)),
            "error": pa.nulls(n, pa.string()),
        }
        return with_columns(pa.table(columns), schema)
