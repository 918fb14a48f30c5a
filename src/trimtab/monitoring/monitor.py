"""The monitor of one project: reads the prediction log, writes WindowReport, Profile and Signal records.

    log -> open windows -> closed: inputs and operations -> matured: labels and money -> records

What it writes depends on the log alone, not on how often `step` is called, nor on where a process died. (It assumes
that a label is in the log when event time passes its `known_at`.) A window's records of one stage are written in one
call, all or none; a new process reads the log again from where windows are not matured (checkpoint.py), skips what is
written, and continues.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.clock import Clock, to_micros
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.monitoring.checkpoint import Checkpoint, CheckpointFile, Lagging, fits
from trimtab.monitoring.detector_states import DetectorStates
from trimtab.monitoring.event_windows import BEGINNING
from trimtab.monitoring.label_join import LabelPool
from trimtab.monitoring.label_reading import LabelPosition, LabelReader
from trimtab.monitoring.open_windows import of_model
from trimtab.monitoring.prediction_rows import judged
from trimtab.monitoring.prompts.turn_texts import TurnTexts
from trimtab.monitoring.window_stream import NoHarm, Rebuild, References, WindowStream
from trimtab.policy.model import Policy
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.predictions.contract import START, Cursor, Predictions

log = logging.getLogger(__name__)

TEXTS = "turn_texts.json"
"""File with the places from which the texts of turns are read, in the folder of the checkpoint."""
DETECTORS = "detectors"
"""Folder for the states of detectors, in the folder of the checkpoint."""
BLOCK_ROWS = 50_000
"""Rows taken in at a time; memory is bounded by it and by the rows of open windows."""


class Monitor:
    """Watches all models of one project. Not shared between threads; one instance at a time a project.

    references: gives the Reference of a model's version (the bundle's reference/windows.json), or None.
    checkpoint: file with the place from which the next process reads; None reads from the beginning.
    impact_functions: the project's own, by model.
    prompts: names of the models that are prompts. rebuild: makes the reference of a version of a prompt of its own
    first windows. no_harm: why the labels of a model show no harm at an event time.
    """

    def __init__(
        self,
        metadata: Metadata,
        predictions: Predictions,
        policy: Policy,
        references: References,
        clock: Clock,
        *,
        checkpoint: Path | None = None,
        impact_functions: Mapping[str, ImpactFunction] | None = None,
        prompts: Collection[str] = (),
        rebuild: Rebuild | None = None,
        no_harm: NoHarm = lambda model, at: "",
    ) -> None:
        self._impact_functions = impact_functions or {}
        self._metadata = metadata
        self._predictions = predictions
        self._policy = policy
        self._references = references
        self._clock = clock
        self._streams: dict[str, WindowStream] = {}
        self._pool = LabelPool()
        self._cursor: Cursor = START
        self._metrics = dict.fromkeys(prompts, policy.llm.promote.metric)
        self._labels = LabelReader(predictions, metrics=self._metrics)
        self._prompts, self._rebuild, self._no_harm = frozenset(prompts), rebuild, no_harm
        hint = checkpoint.with_name(TEXTS) if checkpoint else None
        self._texts = TurnTexts(predictions, prompts, hint) if prompts else None
        self._logged = BEGINNING
        """Newest `logged_at` of the rows that were read."""
        self._unwritten: deque[tuple[Record, ...]] = deque()
        self._checkpoint = CheckpointFile(checkpoint, window=policy.decide.window)
        self._states = DetectorStates(checkpoint.with_name(DETECTORS) if checkpoint else None)
        self._seen: dict[str, int] = {}
        """Rows of each model from the beginning of the log on."""
        self._begun = False
        self.rows = 0
        """Rows of the prediction log taken in since the start of the process."""

    @property
    def labels(self) -> int:
        """Rows of the label log taken in, from its beginning on."""
        return self._labels.rows

    @property
    def labels_read(self) -> int:
        """Rows of the label log that this process has read."""
        return self._labels.read_here

    @property
    def watermark(self) -> int:
        """Largest event time (microseconds since the epoch) that was taken in, over all models."""
        return max((stream.open.watermark for stream in self._streams.values()), default=BEGINNING)

    @property
    def late(self) -> int:
        """Rows left out because their window had been closed."""
        return sum(stream.open.late for stream in self._streams.values())

    @property
    def ahead(self) -> int:
        """Rows left out because their event time was more than a window later than their `logged_at`."""
        return sum(stream.open.ahead for stream in self._streams.values())

    @property
    def unmatched_labels(self) -> int:
        """Labels dropped: of unknown predictions, or of windows that had been judged."""
        return self._pool.unmatched

    @property
    def rows_kept(self) -> int:
        """Rows in memory: of open windows, and of closed ones that wait for labels."""
        return sum(stream.rows_kept for stream in self._streams.values())

    @property
    def texts_kept(self) -> int:
        """Turns of prompts whose texts are in memory."""
        return 0 if self._texts is None else len(self._texts)

    @property
    def labels_kept(self) -> int:
        """Labels in memory whose window is not closed yet."""
        return len(self._pool)

    def step(self, *, watermark: datetime | None = None) -> tuple[WindowReport, ...]:
        """Take in what is new, and return the reports of the windows that closed or matured, in order of writing.

        watermark: event time is at least here although no row says so, such as at the end of a recording; rows of
        windows closed by it count as late from then on.
        """
        if not self._begun:
            self._begin()
        reports = self._write()
        more = True
        while more:
            more = self._take_rows()
            if self._texts is not None:
                self._texts.read()
            self._take_labels()
            reports += self._settle(all_read=not more)
        if watermark is not None:
            for stream in self._streams.values():
                stream.open.watermark = max(stream.open.watermark, to_micros(watermark))
            reports += self._settle()
        matured = {model: stream.matured_until for model, stream in self._streams.items()}
        for stream in self._streams.values():
            stream.keep_detectors()
        if self._texts is not None:
            since = [stream.logged_from for model, stream in self._streams.items() if model in self._prompts]
            opened, needed = zip((self._logged, self._logged), *since, strict=True)
            self._texts.drop_before(min(opened), min(needed))
        self._checkpoint.keep(matured, self._seen, self._pool.unmatched, self._label_mark)
        return tuple(reports)

    def _begin(self) -> None:
        """Go to the place in the log where an earlier process stopped, if the windows before it are judged."""
        self._forget()
        checkpoint = self._checkpoint.find(self._predictions)
        if checkpoint is None or not self._resume(checkpoint):
            self._forget()
        self._begun = True

    def _forget(self) -> None:
        """Reset to the beginning of the log: an earlier attempt may have ended half way."""
        self._streams.clear()
        self._seen.clear()
        self._cursor = START
        self._pool, self._labels = LabelPool(), LabelReader(self._predictions, metrics=self._metrics)

    def _resume(self, checkpoint: Checkpoint) -> bool:
        """Restore the state of all models; return False if records or log have changed."""
        if not fits(checkpoint, {model: self._stream(model).matured_until for model in checkpoint.mark.reached}):
            return False
        for model, time in checkpoint.mark.reached.items():
            self._stream(model).open.begin_at(time)
        for behind in checkpoint.behind:
            if any(behind.rows.values()):
                self._read_again(behind)
        if any(self._stream(model).open.reached != time for model, time in checkpoint.mark.reached.items()):
            return False
        if checkpoint.labels is not None:
            mark = checkpoint.labels
            self._labels = LabelReader(self._predictions, mark, metrics=self._metrics)
            waited = mark.waited()
            self._pool.go_on(unmatched=mark.unmatched, until=mark.until, waited=waited, labels=mark.labels())
        self._checkpoint.go_on(checkpoint)
        self._cursor, self._seen = checkpoint.mark.cursor, dict(checkpoint.mark.seen)
        return True

    def _read_again(self, behind: Lagging) -> None:
        """Take in the rows of models without traffic that are not judged yet."""
        cursor, left = behind.mark.cursor, dict(behind.rows)
        for model in left:
            self._stream(model).open.begin_at(behind.mark.reached.get(model, BEGINNING))
        while any(left.values()):
            table, cursor = self._predictions.read(cursor, limit=BLOCK_ROWS)
            if not table.num_rows:
                return
            self.rows += table.num_rows
            table = judged(table)
            for model, rows in left.items():
                own = of_model(table, model).slice(0, rows)
                left[model] -= own.num_rows
                if own.num_rows:
                    self._stream(model).open.add(own)

    def _take_rows(self) -> bool:
        before = self._cursor
        table, after = self._predictions.read(before, limit=BLOCK_ROWS)
        if not table.num_rows:
            return False
        kept = judged(table)
        models = sorted(pc.unique(kept["model"]).to_pylist())
        for model in models:
            self._stream(model)  # reads the metadata store: where that fails, the next step reads these rows again
        reached = {model: stream.open.reached for model, stream in self._streams.items()}
        self._checkpoint.passing(before, table["prediction_id"][0].as_py(), reached, self._seen)
        self._cursor = after
        self.rows += table.num_rows
        self._logged = max(self._logged, pc.max(table["logged_at"]).cast(pa.int64()).as_py())
        for model in models:
            own = of_model(kept, model)
            self._seen[model] = self._seen.get(model, 0) + own.num_rows
            self._stream(model).open.add(own)
        return True

    def _take_labels(self) -> None:
        """Read all labels: a window that is about to be judged must not miss one that was known."""
        while (labels := self._labels.read(BLOCK_ROWS)) is not None:
            for stream in self._streams.values():
                labels = stream.accept(labels)
            self._pool.add(labels)

    def _settle(self, *, all_read: bool = True) -> list[WindowReport]:
        reports: list[WindowReport] = []
        for stream in self._streams.values():
            stream.forget_judged(self._pool)
            for records in stream.close_windows(self._pool):
                self._unwritten.append(records)
                reports += self._write()
            for records in stream.mature_windows():
                self._unwritten.append(records)
                reports += self._write()
        if self._streams:
            needed_from = {model: stream.needs_labels_from for model, stream in self._streams.items()}
            self._pool.drop_before(needed_from, all_read=all_read)
        return reports

    def _label_mark(self) -> LabelPosition:
        claimed = (labels for stream in self._streams.values() for labels in stream.claimed)
        return self._labels.mark(self._pool, claimed)

    def _write(self) -> list[WindowReport]:
        """Write the judged windows; the next step writes those that a failing store did not take."""
        reports: list[WindowReport] = []
        while self._unwritten:
            self._metadata.put(*self._unwritten[0])
            reports += [r for r in self._unwritten.popleft() if isinstance(r, WindowReport)]
        return reports

    def _stream(self, model: str) -> WindowStream:
        if model not in self._streams:
            self._streams[model] = WindowStream(
                model,
                self._policy,
                self._metadata,
                self._references,
                self._clock,
                self._states,
                self._impact_functions.get(model),
                self._texts if model in self._prompts else None,
                self._rebuild if model in self._prompts else None,
                self._no_harm,
            )
        return self._streams[model]
