"""Messages of a Kafka topic in micro-batches, each message once.

The state is one offset a partition, and it is committed with the rows of the table. The consumer assigns itself all
partitions from it; the offset of its consumer group is written for people who look at the broker, and never read.

A topic's id says whether it is still the topic that was read. It is asked for before each micro-batch is handed out:
messages of a topic that was made anew meanwhile, as by a broker that keeps topics in memory, are dropped, and the
stream begins at the oldest message of the new topic in a new epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from trimtab.clock import Clock, SystemClock
from trimtab.data.connectors.contract import Access
from trimtab.data.connectors.message_formats import decoder_of, revealed
from trimtab.data.connectors.message_rows import METADATA_TYPES, Message
from trimtab.data.connectors.micro_batches import BrokerAway, Loss, MicroBatch, StreamConnector, StreamState
from trimtab.definitions.kafka_source import HEADER, KafkaSource
from trimtab.errors import DataError, StoreError
from trimtab.stores.kafka_clients import (
    Topic,
    describe,
    known,
    make_topics,
    open_admin,
    open_consumer,
    reachable,
    text_of,
)
from trimtab.units import MICROS

log = logging.getLogger(__name__)

AT_ONCE = 5_000
"""Messages taken from the client at a time."""
FIRST_BYTES = 10_000.0
"""Size of a message that is assumed before one has come."""
POLL_S = 0.05
ASK_S = 5.0
"""How long a broker may take to describe the topic."""
LOOK_S = 1.0
"""Time between two looks at the topic while no message comes: it may have new partitions, or be another one."""
SILENCE_S = 30.0
"""In `pulls`: with no message and no end of a partition for so long, the brokers do not answer."""
KEPT_LOSSES = 20
LOCAL_PARTITIONS = 4
"""Of a topic on this machine's broker."""
DEFAULTS = {
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",  # a removed offset must not be passed over without a word
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    "queued.max.messages.kbytes": 32_768,
}


class KafkaConnector(StreamConnector):
    """The messages of a source's topic."""

    def __init__(self, source: KafkaSource, access: Access, clock: Clock | None = None) -> None:
        self.source = source
        self.decode = decoder_of(source, access.folder)
        servers = source.servers or access.stream
        if servers is None:
            raise BrokerAway(
                f"{source.where}: no broker runs; expected servers=, `stream` in the environment of trimtab.yaml, or "
                "the broker of this machine, which `trimtab up` and `trimtab stream` start"
            )
        self.servers = str(servers)
        self.metadata = {name: METADATA_TYPES.get(what, pa.string()) for name, what in source.metadata.items()}
        local = source.servers is None and access.embedded
        self._is_local = local
        self.records_losses = local or source.data_loss == "record"
        self._clock = clock or SystemClock()

    def prepare(self) -> None:
        """Make the topic, if it is one of this machine's broker. Raises StoreError."""
        if self._is_local:
            admin, topics = open_admin(self.servers), {self.source.topic: LOCAL_PARTITIONS}
            reachable(self.source.where, self.servers, lambda: make_topics(admin, topics))

    def follow(self, state: str | None) -> TopicStream:
        """Return the messages after a state, for as long as the caller asks."""
        return TopicStream(self, state, self._clock)

    def pulls(self, state: str | None) -> Iterator[MicroBatch]:
        """Yield the messages after a state up to those that the topic has now. Raises StoreError."""
        with self.follow(state) as stream:
            quiet = 0.0
            while not stream.caught_up or quiet == 0.0:
                batch = stream.take(wait_s=LOOK_S, until_end=True)
                quiet = 0.0 if batch is not None else quiet + LOOK_S
                if batch is not None:
                    yield batch
                if quiet >= SILENCE_S:
                    raise BrokerAway(f"{self.source.where}: the brokers have sent nothing for {SILENCE_S:g} s")

    def check(self) -> str:
        """Return how many partitions the topic has. Raises StoreError."""
        with self.follow(None) as stream:
            return f"topic '{self.source.topic}' with {len(stream.partitions)} partitions at {self.servers}"

    def settings(self) -> dict[str, Any]:
        """Return the settings of librdkafka, with the values of secrets."""
        return {**DEFAULTS, **revealed(self.source.options, self.source.where)}


class TopicStream:
    """Reads one topic from a state on. Not shared between threads; close it, or use it in a `with`."""

    def __init__(self, connector: KafkaConnector, state: str | None, clock: Clock) -> None:
        self._source, self._connector, self._clock = connector.source, connector, clock
        self._state = self._read(state)
        options = connector.settings()
        consumers = ("isolation.level", "auto.offset.reset", "queued.max.messages.kbytes")
        self._admin = open_admin(
            connector.servers, options={name: value for name, value in options.items() if name not in consumers}
        )
        self._consumer = open_consumer(
            connector.servers, group=f"trimtab-{self._source.name}", options=options, error_cb=self._note_trouble
        )
        self._trouble = ""
        self._looked: float = 0.0
        self._at_end: set[int] = set()
        self._out_of_range: set[int] = set()
        self._fresh_loss = False
        self._oldest: int | None = None
        self._average = FIRST_BYTES
        self.partitions: tuple[int, ...] = ()
        self._topic: Topic | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TopicStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    @property
    def caught_up(self) -> bool:
        """True if each partition was read to its end since its last message."""
        return self._at_end >= set(self.partitions)

    def take(self, *, wait_s: float, until_end: bool = False) -> MicroBatch | None:
        """Return the next micro-batch, or None if no message comes within `wait_s`.

        until_end: the batch also ends where all partitions do, without waiting for more.

        Raises BrokerAway when the brokers do not answer; messages that were read are then read again. Raises StoreError
        when messages are gone and the source does not record losses.
        """
        messages, offsets, counts = self._collect(wait_s, until_end)
        now = self._clock.now().timestamp()
        if not offsets and not self._fresh_loss and now - self._looked < LOOK_S and not self._out_of_range:
            return None
        self._looked = now
        if not self._is_same() or self._out_of_range:
            self._open()  # what was collected is dropped: it may be of another topic
            return self.take(wait_s=0.0, until_end=True) if self._fresh_loss else None
        if not offsets and not self._fresh_loss:
            return None
        self._fresh_loss = False
        totals = {p: self._state.messages.get(p, 0) + count for p, count in counts.items()}
        before = self._state
        self._state = msgspec.structs.replace(
            before,
            offsets=dict(sorted({**before.offsets, **offsets}.items())),
            messages=dict(sorted({**before.messages, **totals}.items())),
        )
        return MicroBatch(messages, self._text(), self._label(before, offsets, counts), self._lag(), self._oldest)

    def landed(self) -> None:
        """Tell the brokers where the rows of the table end, for people who look at the consumer group."""
        try:
            places = [TopicPartition(self._source.topic, p, offset) for p, offset in self._state.offsets.items()]
            if places:
                self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as error:  # it is only shown
            log.debug("%s: the group's offsets were not written: %s", self._source.where, error)

    def _collect(self, wait_s: float, until_end: bool) -> tuple[list[Message], dict[int, int], dict[int, int]]:
        """Return messages until the limits of a micro-batch, the offsets after them, and their number by partition."""
        source, consumer = self._source, self._consumer
        messages: list[Message] = []
        offsets: dict[int, int] = {}
        counts: dict[int, int] = {}
        places = {p: f"{source.topic}[{p}]" for p in self.partitions}
        skips, size, limit = source.tombstones == "skip", 0, source.batch_size
        metadata = _metadata_reader(source)
        first, now, oldest = None, self._clock.now().timestamp(), None
        until = now + wait_s
        while True:
            taken = sum(counts.values())
            end = until if first is None else first + source.batch_micros / MICROS["s"]
            if taken >= source.batch_rows or size >= limit or now >= end or self._out_of_range:
                break
            if first is not None and until_end and self.caught_up:
                break
            fitting = int((limit - size) / self._average) + 1
            most = min(AT_ONCE, source.batch_rows - taken, fitting)
            for found in consumer.consume(most, max(0.0, min(POLL_S, end - now))):
                error, partition = found.error(), known(found.partition())
                if error is not None:
                    self._event(error, partition, found.offset(), counts)
                    continue
                offset, value = known(found.offset()), found.value()
                kind, millis = found.timestamp()
                if kind and (oldest is None or millis < oldest):
                    oldest = millis
                offsets[partition] = offset + 1
                counts[partition] = counts.get(partition, 0) + 1
                self._at_end.discard(partition)
                if value is None and skips:
                    continue
                size += len(value or b"")
                messages.append(Message(places[partition], offset, value, metadata(found)))
            now = self._clock.now().timestamp()
            if messages:
                self._average = max(1.0, size / len(messages))
            if first is None and counts:
                first = now
        self._oldest = oldest
        return messages, offsets, counts

    def _event(self, error: KafkaError, partition: int, offset: int | None, counts: dict[int, int]) -> None:
        """Take in what the client says of a partition. Raises StoreError when it cannot go on."""
        if error.code() == KafkaError._PARTITION_EOF:
            self._at_end.add(partition)
            if self._source.start == "latest" and partition not in counts and offset is not None and offset >= 0:
                offsets = {partition: offset, **self._state.offsets}  # where it begins, also for the next process
                self._state = msgspec.structs.replace(self._state, offsets=offsets)
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
            self._out_of_range.add(partition)
            return
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
            raise BrokerAway(f"{self._source.where}: the topic '{self._source.topic}' is gone")
        if error.retriable() or not error.fatal():
            self._note_trouble(error)
            return
        raise StoreError(f"{self._source.where}: {text_of(error)}")

    def _open(self) -> None:
        """Assign all partitions, each at its offset of the state, and find what is gone."""
        topic = self._ask()
        if topic is None:
            raise BrokerAway(f"{self._source.where}: {self._connector.servers} has no topic '{self._source.topic}' yet")
        state = self._state
        if state.topic_id is not None and topic.id is not None and topic.id != state.topic_id:
            reason = f"the topic was made anew: its id was {state.topic_id}, and is {topic.id}"
            state = self._lose(state, Loss(epoch=state.epoch + 1, partition=None, reason=reason))
            state = msgspec.structs.replace(state, epoch=state.epoch + 1, offsets={})
        elif state.topic_id is None and state.offsets and topic.id is not None:
            log.warning("%s: the state has no id of its topic; it is taken to be this one", self._source.where)
        state = msgspec.structs.replace(state, topic_id=topic.id)
        for partition in sorted(state.offsets):
            state = self._whole(state, partition)
        self._state, self.partitions, self._topic = state, topic.partitions, topic
        self._at_end, self._out_of_range, self._trouble = set(), set(), ""
        begin = OFFSET_END if self._source.start == "latest" and not state.messages else OFFSET_BEGINNING
        self._consumer.assign([TopicPartition(topic.name, p, state.offsets.get(p, begin)) for p in topic.partitions])
        self._looked = self._clock.now().timestamp()

    def _whole(self, state: StreamState, partition: int) -> StreamState:
        """Return the state after what a partition has lost."""
        offset = state.offsets[partition]
        low, high = self._ends(partition)
        if offset < low:
            reason = f"{low - offset:,} messages were removed by the topic's retention before they were read"
            loss = Loss(epoch=state.epoch, partition=partition, first=offset, last=low - 1, reason=reason)
        elif partition in self._out_of_range and offset > high:
            reason = f"the partition ends at {high}, before {offset}, up to which it was read"
            loss, low = Loss(epoch=state.epoch, partition=partition, first=high, last=offset - 1, reason=reason), high
        else:
            return state
        state = self._lose(state, loss)
        return msgspec.structs.replace(state, offsets={**state.offsets, partition: low})

    def _ends(self, partition: int) -> tuple[int, int]:
        """Return the oldest offset of a partition, and the one behind its newest message. Raises BrokerAway."""
        try:
            place = TopicPartition(self._source.topic, partition)
            return known(self._consumer.get_watermark_offsets(place, timeout=ASK_S))
        except KafkaException as error:
            raise BrokerAway(f"{self._source.where}: {text_of(error)}") from None

    def _lose(self, state: StreamState, loss: Loss) -> StreamState:
        """Return a state with a loss. Raises StoreError if the source does not record losses."""
        place = self._source.topic if loss.partition is None else f"{self._source.topic}[{loss.partition}]"
        if not self._connector.records_losses:
            raise StoreError(
                f"{self._source.where}: {place}: {loss.reason}. Nothing more is read, since rows would be missing "
                "without a word. To go on at the oldest message, and to record the loss: data_loss='record'"
            )
        log.warning("%s: %s: %s", self._source.where, place, loss.reason)
        self._fresh_loss = True
        return msgspec.structs.replace(state, losses=(*state.losses, loss)[-KEPT_LOSSES:], lost=state.lost + 1)

    def _is_same(self) -> bool:
        """Return True if the topic is still the one that was opened. Raises BrokerAway when no broker answers."""
        topic = self._ask()
        if topic is None:
            raise BrokerAway(f"{self._source.where}: the topic '{self._source.topic}' is gone")
        return topic == self._topic

    def _ask(self) -> Topic | None:
        try:
            return describe(self._admin, self._source.topic, timeout_s=ASK_S)
        except KafkaException as error:
            trouble = f" ({self._trouble})" if self._trouble else ""
            raise BrokerAway(
                f"{self._source.where}: no answer of brokers at {self._connector.servers}: {text_of(error)}{trouble}"
            ) from None

    def _note_trouble(self, error: KafkaError) -> None:
        self._trouble = text_of(error)

    def _read(self, text: str | None) -> StreamState:
        topic = self._source.topic
        if text is None:
            return StreamState(topic=topic)
        try:
            state = msgspec.json.decode(text, type=StreamState)
        except msgspec.DecodeError as error:
            raise DataError(f"{self._source.where}: the state of its table is not of a topic: {error}") from None
        if state.topic != topic:
            raise DataError(
                f"{self._source.where}: its table was filled from the topic '{state.topic}', not from '{topic}'; give "
                "the source of another topic another name"
            )
        return state

    def _text(self) -> str:
        return msgspec.json.encode(self._state).decode()

    def _label(self, before: StreamState, offsets: dict[int, int], counts: dict[int, int]) -> str:
        parts = [f"[{p}] ..{offsets[p] - 1} ({count})" for p, count in sorted(counts.items())]
        epoch = f" epoch {self._state.epoch}" if self._state.epoch else ""
        return f"{self._source.topic}{epoch}: {', '.join(parts) if parts else 'no messages'}"

    def _lag(self) -> int | None:
        total = 0
        for partition in self.partitions:
            place = TopicPartition(self._source.topic, partition)
            _, high = known(self._consumer.get_watermark_offsets(place, cached=True))
            if high < 0:
                return None
            total += max(0, high - self._state.offsets.get(partition, 0))
        return total


def _metadata_reader(source: KafkaSource) -> Any:
    """Return a function that takes a message of the client, and gives the metadata columns."""
    if not source.metadata:
        nothing: dict[str, Any] = {}
        return lambda _: nothing
    wanted = source.metadata

    def read(found: Any) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        headers = None
        for column, what in wanted.items():
            if what == "key":
                columns[column] = _text_of(found.key())
            elif what == "timestamp":
                kind, millis = found.timestamp()
                columns[column] = millis * 1_000 if kind else None
            elif what == "partition":
                columns[column] = found.partition()
            elif what == "offset":
                columns[column] = found.offset()
            else:
                headers = dict(found.headers() or ()) if headers is None else headers
                columns[column] = _text_of(headers.get(what.removeprefix(HEADER)))
        return columns

    return read


def _text_of(value: bytes | str | None) -> str | None:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
