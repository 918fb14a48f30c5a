"""Plays a table as live traffic in event time: requests through HTTP, labels when they became known.

With a steering loop running, event time waits at the end of every window until the loop has caught up, as
it would in life, where a day lasts longer than a training. Rows that are in the log already are not sent
again, so a replay that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.client import Client
from trimtab.app.steering import read_progress
from trimtab.app.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions import Model
from trimtab.errors import StageError, StoreError
from trimtab.units import MICROS

TICK = MICROS["h"]
"""Labels and requests of one tick are sent together, labels first."""
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.01
TYPES = {pl.String: "BYTES", pl.Float64: "FP64", pl.Float32: "FP32", pl.Boolean: "BOOL"}


@dataclass
class Tally:
    """What a replay has done so far."""

    sent: int = 0
    failed: int = 0
    labels: int = 0
    labels_failed: int = 0
    moment: datetime | None = None
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """The traffic of one tick."""

    start: int
    requests: list[bytes]
    labels: list[dict[str, object]]


class Replay:
    """One replay of a model's examples between two moments."""

    def __init__(self, workspace: Workspace, model: Model, *, start: datetime, end: datetime) -> None:
        self._workspace = workspace
        self._model = model
        self._start, self._end = to_micros(start), to_micros(end)
        self._path = f"/v2/models/{model.name}/infer"
        self._window = workspace.project.policy.decide.window
        self.rows = self._load()
        self.tally = Tally()

    def run(self, client: Client, *, tell: Callable[[Tally], None], stopping: Callable[[], bool]) -> Tally:
        """Send everything, tick by tick. Raises StoreError when the loop stops answering."""
        done_predictions, done_labels, expected_labels = self._already_sent()
        boundary = (self._start // self._window + 1) * self._window
        for step in self._steps(done_predictions, done_labels):
            if stopping():
                break
            if step.start >= boundary:
                self._wait_for_steering(boundary, expected_labels, stopping)
                boundary = (step.start // self._window + 1) * self._window
            self._send(client, step)
            expected_labels += len(step.labels)
            self.tally.moment = np.datetime64(step.start, "us").item()
            tell(self.tally)
        self._wait_for_steering(self._end, expected_labels, stopping)
        tell(self.tally)
        return self.tally

    def _load(self) -> pl.DataFrame:
        source, model = self._model.examples, self._model
        columns = dict.fromkeys((source.timestamp, source.known_column, model.label, *model.request_columns))
        frame = self._workspace.tables.scan(source.name).select(*columns).collect()
        frame = frame.sort(source.timestamp, maintain_order=True).with_row_index("_n")
        moments = pl.col(source.timestamp).dt.epoch("us")
        frame = frame.with_columns(_at=moments, _known=pl.col(source.known_column).dt.epoch("us"))
        frame = frame.filter(pl.col("_at").is_between(self._start, self._end, closed="left"))
        if frame.is_empty():
            raise StageError(f"source '{source.name}' has no rows between the two moments; was it ingested?")
        return frame.with_columns(_id=pl.format("{}-{}", pl.lit(source.name), pl.col("_n")))

    def _already_sent(self) -> tuple[set[str], set[str], int]:
        """Return the ids of the model's predictions and labels in the log, and how many labels it holds in all."""
        predictions, _ = self._workspace.predictions.read()
        labels, _ = self._workspace.predictions.read_labels()
        return self._own_ids(predictions), self._own_ids(labels), labels.num_rows

    def _own_ids(self, table: pa.Table) -> set[str]:
        own = pc.fill_null(pc.equal(table["model"], self._model.name), True)
        return set(table["prediction_id"].filter(own).to_pylist())

    def _steps(self, done_predictions: set[str], done_labels: set[str]) -> Iterator[Step]:
        """Yield ticks in event time; a label comes in the tick in which it became known."""
        frame = self.rows
        bodies = self._bodies(frame)
        ids = frame["_id"].to_list()
        label = frame[self._model.label].cast(pl.Float64).to_numpy()
        known = frame["_known"].fill_null(-1).to_numpy()
        at = frame["_at"].to_numpy()
        known_order = np.argsort(known, kind="stable")
        known_order = known_order[(known[known_order] >= 0) & ~np.isnan(label[known_order])]
        next_row = next_label = 0
        for tick in range(self._start // TICK * TICK, self._end, TICK):
            labels, requests = [], []
            while next_label < len(known_order) and known[known_order[next_label]] < tick:
                row = known_order[next_label]
                next_label += 1
                if ids[row] not in done_labels:
                    labels.append({"id": ids[row], "label": float(label[row]), "known_at": int(known[row])})
            while next_row < len(at) and at[next_row] < tick + TICK:
                if ids[next_row] not in done_predictions:
                    requests.append(bodies[next_row])
                next_row += 1
            if labels or requests:
                yield Step(tick, requests, labels)

    def _bodies(self, frame: pl.DataFrame) -> list[bytes]:
        """Return one Open Inference Protocol request a row."""
        names = list(dict.fromkeys((*self._model.request_columns, self._model.examples.timestamp)))
        columns, types = [], []
        for name in names:
            series = frame[name]
            if isinstance(series.dtype, pl.Datetime):
                series, kind = series.dt.epoch("us"), "INT64"
            else:
                kind = next((t for d, t in TYPES.items() if series.dtype == d), "INT64")
            columns.append(series.to_list())
            types.append(kind)
        encode = msgspec.json.encode
        return [
            encode(
                {
                    "id": id_,
                    "inputs": [
                        {"name": name, "shape": [1], "datatype": kind, "data": [value]}
                        for name, kind, value in zip(names, types, row, strict=True)
                        if value is not None
                    ],
                }
            )
            for id_, row in zip(frame["_id"].to_list(), zip(*columns, strict=True), strict=True)
        ]

    def _send(self, client: Client, step: Step) -> None:
        if step.labels:
            body = msgspec.json.encode({"labels": step.labels})
            answer = client.post(f"/v2/models/{self._model.name}/feedback", body)
            self.tally.labels += len(step.labels)
            if not answer.ok:
                self.tally.labels_failed += len(step.labels)
                self._remember(answer.body)
        for answer in client.post_all(self._path, step.requests):
            self.tally.sent += 1
            if not answer.ok:
                self.tally.failed += 1
                self._remember(answer.body)

    def _remember(self, body: bytes) -> None:
        if len(self.tally.errors) < 5:
            self.tally.errors.append(body[:200].decode(errors="replace"))

    def _wait_for_steering(self, moment: int, labels: int, stopping: Callable[[], bool]) -> None:
        """Wait until the loop has taken in all that was sent before `moment` and has nothing in hand."""
        sent = self.rows.filter(pl.col("_at") < moment)["_at"]
        if sent.is_empty():
            return
        newest, waited = int(sent[-1]), 0.0
        while not stopping():
            progress = read_progress(self._workspace.run_folder)
            if progress is None:
                return  # nothing steers: serve alone
            if progress.watermark >= newest and progress.labels >= labels and not progress.busy:
                return
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
            if waited > PATIENCE_SECONDS:
                raise StoreError(
                    f"the steering loop has not caught up for {PATIENCE_SECONDS:.0f} seconds; is 'trimtab up' alive?"
                )
