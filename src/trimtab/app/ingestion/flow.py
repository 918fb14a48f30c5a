"""One stream: messages into its table, then into the online values of the views that read it."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from datetime import datetime

import msgspec

from trimtab.app.ingestion.online_values import OnlineValues
from trimtab.app.ingestion.progress import Rate
from trimtab.app.project.locks import locked
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import access, intake_of
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.landing import Landed, Landing
from trimtab.data.connectors.micro_batches import MessageStream, MicroBatch, StreamConnector, StreamState
from trimtab.definitions.sources import Source
from trimtab.errors import TrimtabError
from trimtab.records.stream_progress import StreamProgress

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""A quiet stream looks so often whether it is to stop."""
RECORD_S = 60.0
"""Least time between two records of table versions: a version a second is a commit, not news."""
COMPACT_BATCHES = 200
"""Micro-batches between two compactions: what opening the table costs goes with the number of its files."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""After an error; each pause is twice as long as the one before, until a micro-batch has landed."""


class Flow:
    """One source. `run` is for a thread of its own; `progress` may be read by others."""

    def __init__(self, workspace: Workspace, source: Source, *, values: bool = True) -> None:
        """Prepare it. values: whether online values are brought up to date."""
        self._workspace, self._source = workspace, source
        self._landing: Landing | None = None
        self._online = OnlineValues(workspace, source.name, off=not values)
        self._stream: MessageStream | None = None
        self._open = ExitStack()
        self._state: str | None = None
        self._pause = FIRST_PAUSE_S
        self._rate = Rate()
        self._recorded = 0.0
        self._label = ""
        self.progress = StreamProgress(source=source.name)
        self.failure: BaseException | None = None

    def run(self, stop: threading.Event, *, until_caught_up: bool = False) -> None:
        """Let messages flow until `stop` is set, or the end of the topic is reached; errors are tried again.

        until_caught_up: an error ends it, and is kept in `failure`.
        """
        try:
            while not stop.is_set():
                try:
                    landed = self.step(until_end=until_caught_up)
                except TrimtabError as error:
                    self._close()
                    if until_caught_up:
                        self.failure = error
                        return
                    self._note_trouble(error)
                    stop.wait(self._pause)
                    self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
                    continue
                if until_caught_up and not landed and self.progress.caught_up:
                    return
        except BaseException as error:  # the border of a thread: the process ends with it, and is started again
            self.failure = error
        finally:
            self._end()

    def step(self, *, until_end: bool = False) -> Landed | None:
        """Land one micro-batch and bring the online values up to date, or wait a moment. Raises TrimtabError."""
        stream, landing = self._opened()
        batch = stream.take(wait_s=WAIT_S, until_end=until_end)
        self._show(caught_up=stream.caught_up, trouble=None)
        if batch is None:
            if self._recorded and self._now() - self._recorded >= RECORD_S:
                self._record(landing)
            self._online.tick()
            return None
        landed = landing.land(batch.messages, since=self._state, state=batch.state, label=batch.label)
        if landed is None:
            return None
        self._state, self._label, self._pause = batch.state, batch.label, FIRST_PAUSE_S
        stream.landed()
        if not self._recorded or self._now() - self._recorded >= RECORD_S:
            self._record(landing)
        self._online.take(landed)
        self._online.tick()
        self._count(landed, batch)
        self._compact()
        return landed

    def _opened(self) -> tuple[MessageStream, Landing]:
        if self._stream is not None and self._landing is not None:
            return self._stream, self._landing
        workspace, source = self._workspace, self._source
        why = f"Source '{source.name}' is ingested by one process at a time"
        self._open.enter_context(locked(workspace, f"ingest-{source.name}", "trimtab stream", why=why))
        connector = open_connector(source, access(workspace))
        assert isinstance(connector, StreamConnector)
        connector.prepare()
        self._landing = Landing(intake_of(workspace, source), decode=connector.decode, metadata=connector.metadata)
        self._state = self._landing.state()
        self._landing.record(source.name)
        self._online.catch_up()
        self._stream = self._open.enter_context(connector.follow(self._state))
        return self._stream, self._landing

    def _close(self) -> None:
        self._stream = self._landing = None
        self._open.close()

    def _record(self, landing: Landing) -> None:
        """Write the record of the newest version, for training sets and reports."""
        self._recorded = self._now()
        landing.record(self._label or self._source.name)

    def _compact(self) -> None:
        """Merge the small files of micro-batches. Rows, their order, and earlier versions stay as they are."""
        if self.progress.batches % COMPACT_BATCHES == 0:
            self._workspace.tables.compact(self._source.name, now=self._workspace.now())

    def _end(self) -> None:
        try:
            if self._landing is not None:
                self._record(self._landing)
        except TrimtabError as error:  # the next process records it
            log.warning("stream '%s': %s", self._source.name, error)
        finally:
            self._close()

    def _count(self, landed: Landed, batch: MicroBatch) -> None:
        now, state = self._workspace.now(), msgspec.json.decode(batch.state, type=StreamState)
        self._rate.add(now.timestamp(), landed.rows)
        before = self.progress
        self.progress = msgspec.structs.replace(
            before,
            rows=before.rows + landed.rows,
            refused=before.refused + landed.refused,
            batches=before.batches + 1,
            rows_per_second=self._rate.value(now.timestamp()),
            lag=batch.lag,
            freshness_s=_age(batch, now),
            version=landed.version,
            landed_at=now,
            epoch=state.epoch,
            losses=state.lost,
            last_loss=state.losses[-1].reason if state.losses else None,
        )

    def _show(self, *, caught_up: bool, trouble: str | None) -> None:
        lag = 0 if caught_up else self.progress.lag
        rate = self._rate.value(self._now())
        self.progress = msgspec.structs.replace(
            self.progress, caught_up=caught_up, trouble=trouble, lag=lag, rows_per_second=rate
        )

    def _note_trouble(self, error: TrimtabError) -> None:
        if str(error) != self.progress.trouble:
            log.error("stream '%s': %s", self._source.name, error)
        self._show(caught_up=False, trouble=str(error))

    def _now(self) -> float:
        return self._workspace.now().timestamp()


def _age(batch: MicroBatch, now: datetime) -> float | None:
    return None if batch.oldest_ms is None else max(0.0, now.timestamp() - batch.oldest_ms / 1000)
