"""The prediction log in Kafka: kafka://host:port[,host:port]/topic, and TOPIC-labels, TOPIC-turns, TOPIC-contents.

One message a row, keyed by the prediction's id (topic_events). Differences from the embedded log:
- `append` puts rows into a bounded buffer of this process. They survive its death only when `sync` has returned: then
  all in-sync replicas have them (acks=all, idempotent, so a repeated send writes nothing twice).
- Rows keep their order within a partition, so the rows of one id do. Several partitions are merged by the time of
  logging in milliseconds. A topic that is created here has one partition, whose order is that of the contract.
- Kafka has no lock for a writer's name. The topic's own retention deletes rows.
- Contents that were erased stay on the brokers' disks until their log cleaner has run: their topic is made with the
  cleanup policy `compact,delete`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.errors import MissingExtra, StoreError
from trimtab.stores.faults import Fault
from trimtab.stores.kafka_clients import CONNECT_S, make_topics, open_admin, open_producer, reachable
from trimtab.stores.predictions.contract import (
    COLUMNS,
    START,
    Compaction,
    Count,
    Cursor,
    ErasedBy,
    Predictions,
    check_writer,
)
from trimtab.stores.predictions.kafka.topic_events import Event, Events, content_key
from trimtab.stores.predictions.kafka.topic_reader import TopicReader

try:
    from confluent_kafka import KafkaError, KafkaException, Message, Producer
except ImportError as missing:
    raise MissingExtra("confluent-kafka", "kafka") from missing

if TYPE_CHECKING:
    import pyarrow as pa

ROW_BYTES = 1_000_000
"""Largest message; the default limit of brokers, too."""
BUFFER_ROWS = 50_000
BUFFER_BYTES = 64 * 2**20
"""Limits of what waits in this process for the brokers; beyond them `append` raises StoreError."""
DELIVERY_MS = 10_000
"""After so long, a row that no broker has accepted counts as failed, and so does the `sync` that waits for it."""
POLL_S = 0.01


class Round:
    """The rows appended between two syncs."""

    def __init__(self) -> None:
        self.waiting = 0
        self.failure: str | None = None


class KafkaLog:
    """Each kind of rows in a topic, which is created, with one partition, when it is missing: those of turns and
    contents at the first turn.

    May be shared between threads. segment_rows and segment_age_s are ignored: the broker has its own segments.
    """

    def __init__(
        self,
        url: str,
        writer: str = "0",
        *,
        segment_rows: int = 0,
        segment_age_s: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.servers, topic = _parse(url)
        self.topics = {kind: topic if kind == "predictions" else f"{topic}-{kind}" for kind in COLUMNS}
        self._clock = clock or SystemClock()
        self._events = Events(check_writer(writer))
        self._lock = threading.Lock()
        self._round = Round()
        self._rounds = [self._round]
        self._rows = self._bytes = 0
        self._reading = threading.Lock()

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._send(self.topics["predictions"], self._events.predictions(columns))

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._send(self.topics["labels"], self._events.labels(columns))

    def append_turns(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._topics_of_turns  # noqa: B018  # made on first use
        self._send(self.topics["turns"], self._events.turns(columns))

    def append_contents(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._topics_of_turns  # noqa: B018  # as above
        self._send(self.topics["contents"], self._events.contents(columns))

    def sync(self) -> None:
        """Return when the brokers have all appended rows. Raises StoreError when they refused or did not answer."""
        with self._lock:
            rounds, self._round = self._rounds, Round()
            self._rounds = [*rounds, self._round]
        while any(one.waiting for one in rounds):
            self._producer.poll(POLL_S)  # a row counts as failed after DELIVERY_MS, so this ends
        with self._lock:
            self._rounds = [one for one in self._rounds if one not in rounds]
        failure = next((one.failure for one in rounds if one.failure), None)
        if failure is not None:
            raise StoreError(f"{self._name}: rows were not taken: {failure}")

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._read("predictions", after, limit)

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._read("labels", after, limit)

    def read_turns(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        return self._read("turns", after, limit)

    def read_contents(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        while True:
            rows, cursor = self._read("contents", after, limit)
            if rows.num_rows or cursor == after:
                return rows, cursor
            after = cursor  # all of them were erased

    def tail(self, rows: int) -> Cursor:
        with self._reading:
            return self._readers["predictions"].tail(rows)

    def count(self) -> Count:
        """Return how many messages the topics hold."""
        with self._reading:
            return Count(*(self._readers[kind].count() for kind in COLUMNS))

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return the predictions of an id. Kafka has no index: reads the whole topic, and decodes the id's rows."""
        with self._reading:
            return self._readers["predictions"].find(prediction_id)

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        with self._reading:
            return self._readers["labels"].find(prediction_id)

    def find_turns(self, prediction_id: str) -> list[dict[str, Any]]:
        with self._reading:
            return self._readers["turns"].find(prediction_id)

    def find_contents(self, prediction_id: str) -> list[dict[str, Any]]:
        with self._reading:
            return self._readers["contents"].find(prediction_id)

    def erase_contents(self, by: ErasedBy, value: str) -> int:
        """Send for each row a message of its key without a value. Reads the whole topic."""
        rows = [row for row in self._read("contents", START, None)[0].to_pylist() if row[by] == value]
        now = to_micros(self._clock.now()) // 1000
        self._send(self.topics["contents"], [Event(content_key(row), None, [], now) for row in rows])
        self.sync()
        return len(rows)

    def compact(self, *, grace_s: float, keep_s: float, contents_s: float | None = None) -> Compaction:
        """Do nothing: the topic's own retention.ms deletes old rows."""
        return Compaction(reason=f"{self._name}: the topic's own retention (retention.ms) drops old rows")

    def check(self) -> Sequence[Fault]:
        """Ask the brokers for the topics. The rows are not checked: keeping them whole is the brokers' task."""
        self.count()
        return []

    def close(self) -> None:
        """Wait until the brokers have all appended rows, and close the connections."""
        if "_producer" in self.__dict__:
            self.sync()
        with self._reading:
            for reader in self.__dict__.pop("_readers", {}).values():
                reader.close()

    @property
    def _name(self) -> str:
        return f"kafka://{self.servers}/{self.topics['predictions']}"

    @cached_property
    def _producer(self) -> Producer:
        self._make_topics("predictions", "labels")
        return open_producer(
            self.servers,
            options={
                "linger.ms": 2,
                "message.max.bytes": ROW_BYTES,
                "message.timeout.ms": DELIVERY_MS,
                "queue.buffering.max.messages": 2 * BUFFER_ROWS,
                "queue.buffering.max.kbytes": 4 * BUFFER_BYTES // 1024,
            },
        )

    @cached_property
    def _topics_of_turns(self) -> None:
        self._make_topics("turns", "contents")

    def _make_topics(self, *kinds: str) -> None:
        names, admin = {self.topics[kind]: 1 for kind in kinds}, open_admin(self.servers)
        settings = {self.topics["contents"]: {"cleanup.policy": "compact,delete"}}
        ask = partial(make_topics, admin, names, settings=settings, timeout_s=CONNECT_S)
        reachable("predictions", self.servers, ask)

    @cached_property
    def _readers(self) -> dict[str, TopicReader]:
        return {kind: TopicReader(self.servers, topic, kind, self._clock) for kind, topic in self.topics.items()}

    def _read(self, kind: str, after: Cursor, limit: int | None) -> tuple[pa.Table, Cursor]:
        with self._reading:
            return self._readers[kind].read(after, limit)

    def _send(self, topic: str, events: list[Event]) -> None:
        self._check_sizes(events)
        producer, size = self._producer, sum(len(event.value or b"") for event in events)
        producer.poll(0)
        with self._lock:
            if self._rows + len(events) > BUFFER_ROWS or self._bytes + size > BUFFER_BYTES:
                raise StoreError(
                    f"{self._name}: {self._rows} rows ({self._bytes >> 20} MiB) wait for the brokers, which is the "
                    "most; see whether they are up"
                )
            self._rows += len(events)
            self._bytes += size
            self._round.waiting += len(events)
            mine = self._round
        for n, event in enumerate(events):
            try:
                self._produce(producer, topic, event, mine)
            except (BufferError, KafkaException) as error:  # the producer cannot send any more
                for unsent in events[n:]:
                    self._done(mine, unsent, error)
                raise StoreError(f"{self._name}: cannot send a row: {error}") from None

    def _check_sizes(self, events: Sequence[Event]) -> None:
        """Raise StoreError for a row that is too large, before any row of its append is sent."""
        for event in events:
            if event.size > ROW_BYTES:
                raise StoreError(
                    f"{self._name}: the row of id '{event.key[:100].decode(errors='replace')}' takes {event.size} "
                    f"bytes as a message; the most is {ROW_BYTES}"
                )

    def _produce(self, producer: Producer, topic: str, event: Event, mine: Round) -> None:
        def done(error: KafkaError | None, _: Message) -> None:
            self._done(mine, event, error)

        producer.produce(
            topic,
            value=event.value,
            key=event.key,
            headers=event.headers,
            timestamp=event.timestamp,
            on_delivery=done,
        )

    def _done(self, mine: Round, event: Event, error: object | None) -> None:
        """Count a row as delivered, or as failed."""
        with self._lock:
            self._rows -= 1
            self._bytes -= len(event.value or b"")
            mine.waiting -= 1
            if error is not None:
                mine.failure = mine.failure or str(error)


def _parse(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    topic = parts.path.strip("/")
    if not parts.netloc or not topic or "/" in topic or parts.query:
        raise StoreError(f"predictions: '{url}' names no topic; expected kafka://host:port/topic")
    return parts.netloc, topic


_: type[Predictions] = KafkaLog
