"""A project with one stream, its process, and what feeds it: for the measurements of streams.

The events are numbered, and each card has its partition. The feeder knows how many messages of a partition have landed
from the state of the table, so it sends the rest again after a broker has died with its log: a producer that keeps its
events until they are in the table.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from confluent_kafka import KafkaException, Producer

from trimtab import settings
from trimtab.app.project.broker import running_broker
from trimtab.app.project.process_files import send_signal
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import from_micros
from trimtab.data.connectors.micro_batches import StreamState
from trimtab.errors import TrimtabError
from trimtab.features.table_columns import encode_keys
from trimtab.stores.kafka_clients import describe, open_admin
from trimtab.units import MICROS

POLICY = "project: stream\n"
DEFINITIONS = """
import trimtab as tt

payments = tt.KafkaSource("payments", "payments", timestamp="paid_at"{options})
card = tt.Entity("card")
spent = tt.FeatureView(
    "spent",
    card,
    payments,
    [tt.count("10m", "1h"), tt.sum("amount", "1h"), tt.mean("amount", "10m"), tt.last("amount")],
)
"""
PARTITIONS = 4
FIRST = 1_767_225_600 * MICROS["s"]
STEP = MICROS["ms"] * 10
"""Between two events."""
PAUSE_S = 0.02


@dataclass(frozen=True)
class Events:
    """Numbered payments; `partitions` has the numbers of each partition's events in order."""

    count: int
    cards: int = 2_000

    def frame(self) -> pl.DataFrame:
        """Return all events as rows of the table."""
        random = np.random.default_rng(7)
        times = FIRST + STEP * np.arange(self.count)
        return pl.DataFrame(
            {
                "id": np.arange(self.count),
                "card": [f"c{n}" for n in random.integers(0, self.cards, self.count)],
                "amount": random.integers(1, 100_000, self.count) / 100,
                "paid_at": pl.Series(times).cast(pl.Datetime("us", "UTC")),
            }
        )

    def messages(self) -> list[list[tuple[str, bytes]]]:
        """Return key and value of each message by partition, in order."""
        found: list[list[tuple[str, bytes]]] = [[] for _ in range(PARTITIONS)]
        for id_, card, amount, at in self.frame().iter_rows():
            value = msgspec.json.encode({"id": id_, "card": card, "amount": amount, "paid_at": at})
            found[int(card[1:]) % PARTITIONS].append((card, value))
        return found


def make_project(folder: Path, **options: str) -> Workspace:
    """Make a project with one stream. options: arguments of its source."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f", {name}={value!r}" for name, value in options.items())
    (folder / "trimtab.yaml").write_text(POLICY)
    (folder / "definitions.py").write_text(DEFINITIONS.format(options=text))
    return open_workspace(folder)


class Consumer:
    """`trimtab stream` as a process that is started again whenever it has ended."""

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.project.folder
        self._log = (self._folder / "stream.log").open("ab")
        self._stopping = False
        self.starts = 0
        self._child = self._start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def kill(self, number: int = 9) -> None:
        """Send it a signal."""
        send_signal(self._child.pid, number)

    def stop(self) -> None:
        """End it in order."""
        self._stopping = True
        self._watcher.join()
        self._child.terminate()
        self._child.wait()
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        command = [sys.executable, "-m", "trimtab.cli", "stream", "--project", str(self._folder)]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, env=settings.child_environment())

    def _watch(self) -> None:
        while not self._stopping:
            try:
                self._child.wait(PAUSE_S)
            except subprocess.TimeoutExpired:
                continue
            self._child = self._start()


class Feeder(threading.Thread):
    """Sends the events, and those again that were in a broker which died before they had landed."""

    def __init__(
        self, workspace: Workspace, messages: list[list[tuple[str, bytes]]], *, ahead: int, topic: str = "payments"
    ) -> None:
        """ahead: most messages that are sent and have not landed."""
        super().__init__(daemon=True)
        self._ahead = ahead
        self._admin: tuple[str, Any] = ("", None)
        self._workspace, self._messages, self._topic = workspace, messages, topic
        self.total = sum(map(len, messages))
        self.landed = 0
        self.sent = 0
        self.lives = 0
        """Topics that it has sent to."""

    def state(self) -> StreamState | None:
        """Return where the rows of the table end."""
        text = self._workspace.tables.state(self._topic)
        return None if text is None else msgspec.json.decode(text, type=StreamState)

    def run(self) -> None:
        while self.landed < self.total:
            try:
                self._feed()
            except (KafkaException, TrimtabError, OSError):
                self._workspace.clock.sleep(PAUSE_S)

    def _feed(self) -> None:
        """Send to one life of the topic, until all has landed or it is gone."""
        address, id_ = self._topic_now()
        before = self.state()
        if before is not None and before.topic_id != id_:
            return  # messages of the one before may still land
        self.lives += 1
        done = {} if before is None else before.messages
        places = [done.get(n, 0) for n in range(PARTITIONS)]
        producer = Producer(
            {"bootstrap.servers": address, "enable.idempotence": True, "log_level": 0, "message.timeout.ms": 2_000}
        )
        while self._topic_now() == (address, id_):
            state = self.state()
            self.landed = 0 if state is None else sum(state.messages.values())
            if self.landed >= self.total:
                return
            room = self._ahead - (sum(places) - self.landed)
            for partition, messages in enumerate(self._messages):
                for key, value in messages[places[partition] : places[partition] + max(0, room // PARTITIONS)]:
                    producer.produce(self._topic, value=value, key=key, partition=partition)
                    places[partition] += 1
                    self.sent += 1
            if producer.flush(2.0):
                return
            self._workspace.clock.sleep(PAUSE_S)

    def _topic_now(self) -> tuple[str, str | None]:
        found = running_broker(self._workspace.run_folder)
        if found is not None and self._admin[0] != found.address:
            self._admin = found.address, open_admin(found.address)
        topic = None if found is None else describe(self._admin[1], self._topic, timeout_s=2.0)
        if found is None or topic is None:
            raise OSError("no topic yet")
        return found.address, topic.id


def wait(workspace: Workspace, until: Callable[[], bool]) -> None:
    """Wait for a condition."""
    while not until():
        workspace.clock.sleep(PAUSE_S)


def online_values(workspace: Workspace, events: Events, moments: int = 20) -> list[list[bytes | None]]:
    """Return the packed online values of all cards at times that are spread over the events and after them."""
    (view,) = workspace.project.definitions.views.values()
    prefix = workspace.online.prefix(view.version_id)
    cards = encode_keys(pl.DataFrame({"card": [f"c{n}" for n in range(events.cards)]}))
    keys = [(prefix, card) for card in cards]
    times = np.linspace(FIRST, FIRST + STEP * events.count + 2 * MICROS["h"], moments).astype(np.int64)
    return [workspace.online.read(keys, int(at)) for at in times]


def last_time(events: Events) -> str:
    """Return the time of the last event, for people."""
    return from_micros(FIRST + STEP * (events.count - 1)).isoformat()
