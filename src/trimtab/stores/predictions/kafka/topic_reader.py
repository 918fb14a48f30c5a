"""Reads a topic of the log, from one offset a partition.

There is no consumer group: the place of a reader is its cursor. A read ends at the end that each partition had when it
began, or at the limit. Several partitions are merged by the timestamps of their messages; messages beyond the limit are
read again by the next read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from trimtab.clock import Clock
from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.kafka_clients import known as _known
from trimtab.stores.kafka_clients import open_consumer
from trimtab.stores.predictions.arrow_rows import schema_of
from trimtab.stores.predictions.contract import Cursor
from trimtab.stores.predictions.kafka.topic_events import row_of

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

log = logging.getLogger(__name__)

AT_ONCE = 10_000
WAIT_S = 0.2
SILENCE = timedelta(seconds=30)
"""A read that gets no message for so long has failed."""


class TopicReader:
    """Reads one topic. Not shared between threads."""

    def __init__(self, servers: str, topic: str, kind: str, clock: Clock) -> None:
        self._topic = topic
        self._kind = kind
        self._clock = clock
        oldest = {"auto.offset.reset": "earliest"}  # if the broker has deleted the offset: the oldest row
        self._consumer = open_consumer(servers, options=oldest)
        self._erased: dict[bytes, int] = {}
        """Keys of contents -> offset of the message that erases what came before."""
        self._searched: dict[int, int] = {}
        """Partition -> offset up to which such messages were looked for."""

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def read(self, after: Cursor, limit: int | None) -> tuple[pa.Table, Cursor]:
        """Return rows after a cursor and the cursor behind them."""
        self._find_erased()
        places = {int(part): offset for part, _, offset in after.places}
        found = sorted(self._messages(places, limit), key=lambda m: (m.timestamp()[1], m.partition(), m.offset()))
        rows: list[dict[str, Any]] = []
        for message in found[:limit]:
            places[_known(message.partition())] = _known(message.offset()) + 1
            rows += self._rows(message)
        cursor = Cursor(tuple((str(part), 0, offset) for part, offset in sorted(places.items())))
        return pa.Table.from_pylist(rows, schema=schema_of(self._kind)), cursor

    def tail(self, rows: int) -> Cursor:
        """Return a cursor behind which each partition's newest `rows` rows come, or all where it has less."""
        ends = self._ends()
        return Cursor(tuple((str(part), 0, max(low, high - rows)) for part, (low, high) in sorted(ends.items())))

    def count(self) -> int:
        """Return how many messages can be read."""
        return sum(high - low for low, high in self._ends().values())

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return the rows of an id, in the order of their partition."""
        self._find_erased()
        key = prediction_id.encode()
        mine = (message for message in self._messages({}, None) if (message.key() or b"").startswith(key))
        rows = [row for message in mine for row in self._rows(message) if row["prediction_id"] == prediction_id]
        found: list[dict[str, Any]] = pa.Table.from_pylist(rows, schema=schema_of(self._kind)).to_pylist()
        return found

    def _find_erased(self) -> None:
        """Look for messages that erase contents, behind the place that was searched before."""
        if self._kind != "contents":
            return
        for message in self._messages(self._searched, None):
            part, offset = _known(message.partition()), _known(message.offset())
            self._searched[part] = offset + 1
            if message.value() is None:
                self._erased[_known(message.key())] = offset

    def _rows(self, message: Message) -> list[dict[str, Any]]:
        """Return the row of a message, or no row, with an error in the log of the process, where it holds none."""
        if self._kind == "contents" and (
            message.value() is None or _known(message.offset()) < self._erased.get(_known(message.key()), 0)
        ):
            return []
        try:
            return [row_of(_known(message.value()), self._kind)]
        except (msgspec.DecodeError, TypeError) as error:
            place = f"{self._topic}[{message.partition()}] at offset {message.offset()}"
            log.error("%s: no row of the prediction log, left out: %s", place, error)
            return []

    def _messages(self, places: dict[int, int], limit: int | None) -> Iterator[Message]:
        """Yield messages of each partition from its place to its end, or to the limit."""
        try:
            partitions = self._partitions()
            starts = [TopicPartition(self._topic, part, places.get(part, OFFSET_BEGINNING)) for part in partitions]
            self._consumer.assign(starts)
            yield from self._until_the_end(partitions, limit)
            self._consumer.unassign()
        except KafkaException as error:
            raise StoreError(f"kafka: cannot read the topic '{self._topic}': {error}") from None

    def _until_the_end(self, partitions: list[int], limit: int | None) -> Iterator[Message]:
        left = dict.fromkeys(partitions, AT_ONCE**2 if limit is None else limit)
        quiet_until = self._clock.now() + SILENCE
        while left:
            messages = self._consumer.consume(AT_ONCE if limit is None else min(limit, AT_ONCE), WAIT_S)
            if messages:
                quiet_until = self._clock.now() + SILENCE
            elif self._clock.now() > quiet_until:
                raise StoreError(f"kafka: the brokers of the topic '{self._topic}' have said nothing for {SILENCE}")
            for message in messages:
                part, error = _known(message.partition()), message.error()
                if part not in left:
                    continue
                if error is None:
                    yield message
                    left[part] -= 1
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None or not left[part]:
                    del left[part]

    def _ends(self) -> dict[int, tuple[int, int]]:
        """Return the oldest offset of each partition and the one behind its newest message."""
        found = {}
        try:
            for part in self._partitions():
                place = TopicPartition(self._topic, part)
                found[part] = _known(self._consumer.get_watermark_offsets(place, timeout=SILENCE.total_seconds()))
        except KafkaException as error:
            raise StoreError(f"kafka: cannot read the topic '{self._topic}': {error}") from None
        for message in self._messages({part: high for part, (_, high) in found.items()}, None):
            part = _known(message.partition())  # beyond the end that the broker gave: some give the start of a batch
            low, high = found[part]
            found[part] = low, max(high, _known(message.offset()) + 1)
        return found

    def _partitions(self) -> list[int]:
        topics = self._consumer.list_topics(self._topic, timeout=SILENCE.total_seconds()).topics
        return sorted(topics[self._topic].partitions) if self._topic in topics else []
