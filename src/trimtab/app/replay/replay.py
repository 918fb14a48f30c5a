"""Plays a table as live traffic in event time: requests through HTTP, labels when they became known.

With a steering loop running, replay and loop take turns (turns.py): at the end of every window the replay waits until
the loop has judged and decided, reviews are answered, retrainings have ended or wait, and every worker of the gateway
serves the newest revision. What happens so depends on the data alone, not on how fast this machine is. Rows that are
in the log already are not sent again, so a replay that was stopped goes on where it was.
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

from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.gateway.request_bodies import request_bodies
from trimtab.app.gateway.turns import TurnRequest, end_turns, write_turn
from trimtab.app.project import process_files
from trimtab.app.project.process_files import read_progress
from trimtab.app.project.workspace import Workspace
from trimtab.app.replay.client import Client
from trimtab.app.stages.gate_inputs import trained_until
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.models import Model
from trimtab.errors import StageError, StoreError
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest
from trimtab.tasks import RULES, class_names
from trimtab.units import MICROS

TICK = MICROS["h"]
"""Labels and requests of one tick are sent together, labels first."""
PATIENCE_SECONDS = 300.0
"""How long a loop, or a gateway, that has ended is waited for: a person may start it again."""
TROUBLE_SECONDS = 30.0
"""How long a gateway that cannot serve a revision is waited for."""
POLL_SECONDS = 0.004
NEVER = np.iinfo(np.int64).max
"""When a label became known that never did."""


@dataclass
class Tally:
    """What a replay has done so far."""

    sent: int = 0
    failed: int = 0
    labels: int = 0
    labels_failed: int = 0
    event_time: datetime | None = None
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """The traffic of one tick. start: its event time in microseconds, as are all times here."""

    start: int
    requests: list[bytes]
    labels: list[dict[str, object]]
    crosses: bool = False
    """Its rows are the first by which an earlier window closes."""


class Schedule:
    """Where ticks begin, and where windows close: points of event time that follow from the policy alone."""

    def __init__(self, *, window: int, lateness: int) -> None:
        self._grids = ((TICK, 0), (window, 0), (window, lateness))
        self._window, self._lateness = window, lateness

    def floor(self, time: int) -> int:
        """Return the newest point that is not after a time."""
        return max((time - first) // size * size + first for size, first in self._grids)

    def after(self, time: int) -> int:
        """Return the first point after a time."""
        return min(((time - first) // size + 1) * size + first for size, first in self._grids)

    def closes_after(self, time: int) -> int:
        """Return the first time after another at which a window closes."""
        return ((time - self._lateness) // self._window + 1) * self._window + self._lateness


class Replay:
    """One replay of a model's examples between two event times.

    answer: answers the reviews that are open, in the place of a person, and returns how many. measured: let latency,
    processor time and the gateway's guard decide, as on live traffic; the result then depends on this machine.
    """

    def __init__(
        self,
        workspace: Workspace,
        model: Model,
        *,
        start: datetime,
        end: datetime,
        answer: Callable[[], int] | None = None,
        measured: bool = False,
    ) -> None:
        self._workspace = workspace
        self._model = model
        self._start, self._end = to_micros(start), to_micros(end)
        self._path = f"/v2/models/{model.name}/infer"
        decide = workspace.project.policy.decide
        self._schedule = Schedule(window=decide.window, lateness=decide.lateness)
        self._answer = answer
        self._measured = measured
        self._loop: int | None = None
        """Process of the loop; None where nothing steers."""
        self._turn = 0
        self._rows = 0
        """Rows that the loop must have taken in since its start."""
        self._variants = 1
        """Rows of the log that one request makes: one for each bundle in service."""
        self.rows = self._load()
        self.tally = Tally()

    def run(self, client: Client, *, tell: Callable[[Tally], None], stopping: Callable[[], bool]) -> Tally:
        """Send everything, tick by tick. Raises StoreError when loop or gateway stop answering."""
        progress = read_progress(self._workspace.run_folder)
        if progress is not None:
            self._loop, self._turn = progress.pid, progress.turn
        try:
            self._settle(stopping)
            self._send_all(client, tell=tell, stopping=stopping)
            self._settle(stopping)
        finally:
            end_turns(self._workspace.run_folder)
        tell(self.tally)
        return self.tally

    def trained_on(self) -> list[tuple[int, datetime]]:
        """Return the versions in service whose trainer has seen rows that are to be sent, and up to which time."""
        done, _ = self._already_sent()
        new = self.rows["_at"].filter(~self.rows["_id"].is_in(list(done)))
        metadata = self._workspace.metadata
        revision = latest(metadata, Revision, model=self._model.name)
        found = []
        for assignment in revision.assignments if revision and len(new) else ():
            bundle = metadata.get(Bundle, assignment.bundle)
            until = trained_until(metadata, bundle)
            if to_micros(until) > int(new[0]):
                found.append((bundle.version, until))
        return found

    def _send_all(self, client: Client, *, tell: Callable[[Tally], None], stopping: Callable[[], bool]) -> None:
        done_predictions, done_labels = self._already_sent()
        for step in self._steps(done_predictions, done_labels):
            if stopping():
                return
            if step.crosses and self._variants > 1:
                self._settle(stopping)  # what is scored for comparison may come late: it belongs to this window
            self._send(client, step)
            self.tally.event_time = from_micros(step.start)
            tell(self.tally)
            if step.crosses:
                self._settle(stopping)

    def _load(self) -> pl.DataFrame:
        source, model = self._model.examples, self._model
        labels = [] if model.label is None else [model.label]
        columns = dict.fromkeys((source.timestamp, source.known_column, *labels, *model.request_columns))
        frame = self._workspace.scan()(source.name).select(*columns).collect()
        frame = frame.sort(source.timestamp, maintain_order=True).with_row_index("_n")
        times = pl.col(source.timestamp).dt.epoch("us")
        frame = frame.with_columns(_at=times, _known=pl.col(source.known_column).dt.epoch("us"))
        frame = frame.filter(pl.col("_at").is_between(self._start, self._end, closed="left"))
        if frame.is_empty():
            raise StageError(f"source '{source.name}' has no rows between the two times; was it ingested?")
        return frame.with_columns(_id=pl.format("{}-{}", pl.lit(source.name), pl.col("_n")))

    def _already_sent(self) -> tuple[set[str], set[str]]:
        """Return the ids of the model's predictions and labels in the log."""
        predictions, _ = self._workspace.predictions.read()
        labels, _ = self._workspace.predictions.read_labels()
        return self._own_ids(predictions), self._own_ids(labels)

    def _own_ids(self, table: pa.Table) -> set[str]:
        own = pc.fill_null(pc.equal(table["model"], self._model.name), True)
        return set(table["prediction_id"].filter(own).to_pylist())

    def _steps(self, done_predictions: set[str], done_labels: set[str]) -> Iterator[Step]:
        """Yield ticks in event time. A label comes in the first tick that begins once it is known; before a window is
        judged, all labels come that are known by the newest row."""
        frame, schedule = self.rows, self._schedule
        bodies = self.bodies(frame)
        ids = frame["_id"].to_list()
        column = self._model.label
        label = pl.Series([None] * len(frame), dtype=pl.Float64) if column is None else self._labels(frame[column])
        known = frame["_known"].fill_null(NEVER).to_numpy()
        at = frame["_at"].to_numpy()
        order = np.argsort(known, kind="stable")
        order = order[(known[order] < NEVER) & label.is_not_null().to_numpy()[order]]
        known_in_order = known[order]
        row = place = 0

        def labels_by(time: int) -> list[dict[str, object]]:
            nonlocal place
            first, place = place, max(place, int(np.searchsorted(known_in_order, time, side="right")))
            return [
                {"id": ids[n], "label": label[int(n)], "known_at": from_micros(int(known[n])).isoformat()}
                for n in order[first:place]
                if ids[n] not in done_labels
            ]

        closing = schedule.closes_after(self._start)
        tick = schedule.floor(self._start)
        while tick < self._end:
            end = min(schedule.after(tick), self._end)
            labels = labels_by(tick)
            first, row = row, int(np.searchsorted(at, end, side="left"))
            requests = [bodies[n] for n in range(first, row) if ids[n] not in done_predictions]
            crosses = row > first and int(at[row - 1]) >= closing
            if crosses:
                labels += labels_by(int(at[row - 1]))
                closing = schedule.closes_after(int(at[row - 1]))
            if labels or requests:
                yield Step(tick, requests, labels, crosses=crosses)
            upcoming = [int(at[row])] if row < len(at) else []
            upcoming += [int(known_in_order[place])] if place < len(order) else []
            tick = max(end, schedule.floor(min(upcoming, default=self._end)))

    def _labels(self, column: pl.Series) -> pl.Series:
        """Return the labels that clients send, null where there is none: numbers, or names of classes."""
        if self._model.classes or RULES[self._model.task].by_class:
            return class_names(column, where=f"source '{self._model.examples.name}'")
        return column.cast(pl.Float64).fill_nan(None)

    def bodies(self, frame: pl.DataFrame | None = None) -> list[bytes]:
        """Return one Open Inference Protocol request a row, of all rows by default."""
        frame = self.rows if frame is None else frame
        return request_bodies(self._model, frame, frame["_id"].to_list())

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
            if answer.ok:
                self._rows += self._variants
            else:
                self.tally.failed += 1
                self._remember(answer.body)

    def _remember(self, body: bytes) -> None:
        if len(self.tally.errors) < 5:
            self.tally.errors.append(body[:200].decode(errors="replace"))

    def _settle(self, stopping: Callable[[], bool]) -> None:
        """Wait until loop and gateway have done what follows from the traffic so far."""
        self._take_turn(stopping)
        while self._loop is not None and self._answer is not None and not stopping() and self._answer():
            self._take_turn(stopping)  # the loop sees the answers, and starts what was approved
        self._await_revision(stopping)

    def _take_turn(self, stopping: Callable[[], bool]) -> None:
        """Let the loop work until it has taken in all rows and has nothing in hand. Raises StoreError."""
        if self._loop is None:
            return  # nothing steers
        self._turn += 1
        folder, waited = self._workspace.run_folder, 0.0
        turn = TurnRequest(pid=process_files.own_pid(), number=self._turn, rows=self._rows, measured=self._measured)
        write_turn(folder, turn)
        while not stopping():
            progress = read_progress(folder)
            if progress is not None and progress.turn == self._turn:
                if progress.pid != self._loop or not self._rows:
                    self._loop, self._rows = progress.pid, progress.rows
                return
            waited = 0.0 if progress is not None else waited + POLL_SECONDS
            if waited > PATIENCE_SECONDS:
                raise StoreError("the steering loop has ended; start it again with: trimtab up")
            self._workspace.clock.sleep(POLL_SECONDS)

    def _await_revision(self, stopping: Callable[[], bool]) -> None:
        """Wait until every worker of the gateway serves the newest revision. Raises StageError, StoreError."""
        waited, troubled = 0.0, 0.0
        while not stopping():
            revision = latest(self._workspace.metadata, Revision, model=self._model.name)
            if revision is None:
                raise StageError(f"nothing is deployed yet for model '{self._model.name}'; run: trimtab run")
            gateway = running_gateway(self._workspace.run_folder)
            if gateway is not None and gateway.serving.get(self._model.name) == revision.number:
                self._variants = len(revision.assignments)
                return
            trouble = gateway.troubles.get(self._model.name) if gateway is not None else None
            waited = waited + POLL_SECONDS if gateway is None else 0.0
            troubled = troubled + POLL_SECONDS if trouble else 0.0
            if troubled > TROUBLE_SECONDS:
                raise StoreError(f"the gateway does not serve revision {revision.number}: {trouble}")
            if waited > PATIENCE_SECONDS:
                raise StoreError("the gateway has ended; start it again with: trimtab up")
            self._workspace.clock.sleep(POLL_SECONDS)
