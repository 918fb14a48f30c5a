"""A topic against a real broker: each message once, whatever becomes of consumer, partitions, topic and broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kit.broker import Broker, running
from trimtab.data.connectors import kafka
from trimtab.data.connectors.contract import Access
from trimtab.data.connectors.kafka import KafkaConnector, TopicStream
from trimtab.data.connectors.message_rows import Message
from trimtab.data.connectors.micro_batches import BrokerAway, MicroBatch, StreamState
from trimtab.definitions.kafka_source import KafkaSource
from trimtab.errors import DataError, StoreError
from trimtab.stores.kafka_clients import describe, open_admin

TOPICS = (f"topic-{n}" for n in count())


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    yield from running()


@pytest.fixture
def topic(broker: Broker) -> str:
    name = next(TOPICS)
    broker.make(name, partitions=2)
    return name


def connector(broker: Broker, topic: str, tmp_path: Path, *, embedded: bool = False, **more: Any) -> KafkaConnector:
    servers = None if embedded else broker.address
    source = KafkaSource("payments", topic, servers, timestamp="at", **({"batch_time": "100ms"} | more))
    return KafkaConnector(source, Access(tmp_path, tmp_path, broker.address, embedded=embedded))


def pulled(found: KafkaConnector, state: str | None = None) -> tuple[list[Message], str | None, list[MicroBatch]]:
    batches = list(found.pulls(state))
    messages = [message for batch in batches for message in batch.messages]
    return messages, batches[-1].state if batches else state, batches


def values(*numbers: int) -> list[bytes | None]:
    return [json.dumps({"id": n}).encode() for n in numbers]


def ids(messages: list[Message]) -> list[int]:
    return [json.loads(message.value or b"{}")["id"] for message in messages]


def state_of(text: str | None) -> StreamState:
    assert text is not None
    return msgspec.json.decode(text, type=StreamState)


def test_each_message_comes_once_and_in_the_order_of_its_partition(broker: Broker, topic: str, tmp_path: Path) -> None:
    broker.send(topic, values(*range(10)), 0)
    broker.send(topic, values(*range(100, 105)), 1)
    found = connector(broker, topic, tmp_path, batch_rows=4)
    messages, state, batches = pulled(found)
    assert [n for n in ids(messages) if n < 100] == list(range(10))
    assert [n for n in ids(messages) if n >= 100] == list(range(100, 105))
    assert max(len(batch.messages) for batch in batches) <= 4
    assert (state_of(state).offsets, state_of(state).messages) == ({0: 10, 1: 5}, {0: 10, 1: 5})
    middle = batches[1]
    rest, end, _ = pulled(found, middle.state)
    first = [message for batch in batches[:2] for message in batch.messages]
    assert sorted(ids([*first, *rest])) == sorted(ids(messages))
    assert end == state
    assert pulled(found, state)[2] == []
    broker.send(topic, values(10), 0)
    assert ids(pulled(found, state)[0]) == [10]


def test_bytes_bound_a_batch(broker: Broker, topic: str, tmp_path: Path) -> None:
    broker.send(topic, [json.dumps({"id": n, "text": "x" * 30_000}).encode() for n in range(400)])
    batches = pulled(connector(broker, topic, tmp_path, batch_bytes="1 MB"))[2]
    assert len(batches) > 1
    assert sum(len(batch.messages) for batch in batches) == 400


def test_key_headers_timestamp_and_tombstones(broker: Broker, topic: str, tmp_path: Path) -> None:
    metadata = {"card": "key", "sent": "timestamp", "trace": "header:trace", "part": "partition", "place": "offset"}
    broker.send(topic, [b"{}", None], key=b"c1", timestamp=1_700_000_000_123, headers=[("trace", b"t")])
    broker.send(topic, [b"{}"], key=b"\xff")
    skipped = connector(broker, topic, tmp_path, metadata=metadata)
    messages, state, _ = pulled(skipped)
    assert messages[0].metadata == {"card": "c1", "sent": 1_700_000_000_123_000, "trace": "t", "part": 0, "place": 0}
    assert [message.number for message in messages] == [0, 2]
    assert messages[1].metadata["card"] == "\\xff"
    assert messages[1].metadata["trace"] is None
    assert state_of(state).messages == {0: 3}
    rows = pulled(connector(broker, topic, tmp_path, metadata=metadata, tombstones="row"))[0]
    assert [message.value for message in rows] == [b"{}", None, b"{}"]


def test_markers_of_transactions_take_offsets_and_give_no_message(broker: Broker, topic: str, tmp_path: Path) -> None:
    producer = broker.producer(**{"transactional.id": topic})
    producer.init_transactions(20)
    for number in (1, 2):
        producer.begin_transaction()
        producer.produce(topic, values(number)[0], partition=0)
        producer.commit_transaction(20)
    found = connector(broker, topic, tmp_path)
    messages, state, _ = pulled(found)
    assert [message.number for message in messages] == [0, 2]
    assert (state_of(state).offsets[0], state_of(state).messages[0]) == (3, 2)
    assert pulled(found, state)[2] == []
    # this broker does not hide messages of aborted transactions; those that do are asked to
    assert found.settings()["isolation.level"] == "read_committed"
    assert connector(broker, topic, tmp_path, options={"isolation.level": "read_uncommitted"}).settings() != {}


def test_a_partition_that_comes_later_is_read_from_its_beginning(
    broker: Broker, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.send(topic, values(1))
    found = connector(broker, topic, tmp_path)
    whole = describe(open_admin(broker.address), topic)
    assert whole is not None
    with monkeypatch.context() as before:
        before.setattr(kafka, "describe", lambda *_, **__: replace(whole, partitions=(0,)))  # one is not there yet
        stream = found.follow(None)
        first = stream.take(wait_s=5, until_end=True)
    assert first is not None
    assert ids(first.messages) == [1]
    broker.send(topic, values(2), 1)
    seen: list[int] = []
    for _ in range(100):
        batch = stream.take(wait_s=0.2, until_end=True)
        seen += ids(batch.messages) if batch is not None else []
        if seen:
            break
    stream.close()
    assert seen == [2]


def test_latest_begins_with_the_messages_that_come_now(broker: Broker, topic: str, tmp_path: Path) -> None:
    for number in (1, 2):  # a batch each, since this broker takes the beginning of the newest batch for the end
        broker.send(topic, values(number))
    found = connector(broker, topic, tmp_path, start="latest")
    with found.follow(None) as stream:
        while not stream.caught_up:
            assert stream.take(wait_s=0.2) is None
        broker.send(topic, values(3))
        batch = next(batch for _ in range(100) if (batch := stream.take(wait_s=0.2)) is not None)
    assert ids(batch.messages) == [3]
    broker.send(topic, values(4), 1)
    assert ids(pulled(found, batch.state)[0]) == [4]


def test_a_topic_that_was_made_anew_stops_the_stream_or_begins_an_epoch(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    broker.send(topic, values(1, 2, 3))
    _, state, _ = pulled(connector(broker, topic, tmp_path))
    broker.delete(topic)
    with pytest.raises(BrokerAway, match="has no topic"):
        pulled(connector(broker, topic, tmp_path), state)
    broker.make(topic, partitions=2)
    broker.send(topic, values(4, 5, 6, 7))
    with pytest.raises(StoreError, match=r"the topic was made anew: its id was .* data_loss='record'"):
        pulled(connector(broker, topic, tmp_path), state)
    for more in ({"data_loss": "record"}, {"embedded": True}):
        messages, after, _ = pulled(connector(broker, topic, tmp_path, **more), state)
        assert ids(messages) == [4, 5, 6, 7]
        found = state_of(after)
        assert (found.epoch, found.lost, found.offsets, found.messages) == (1, 1, {0: 4}, {0: 7})
        assert "made anew" in found.losses[0].reason


def test_messages_that_retention_removed_stop_the_stream_or_are_a_recorded_loss(
    broker: Broker, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.send(topic, values(0, 1))
    state = pulled(connector(broker, topic, tmp_path))[1]
    broker.send(topic, values(2, 3, 4))
    monkeypatch.setattr(TopicStream, "_ends", lambda *_: (4, 5))  # this broker removes nothing itself
    with pytest.raises(StoreError, match=r"\[0\]: 2 messages were removed by the topic's retention .*'record'"):
        pulled(connector(broker, topic, tmp_path), state)
    messages, after, batches = pulled(connector(broker, topic, tmp_path, data_loss="record"), state)
    assert ids(messages) == [4]
    (loss,) = state_of(after).losses
    assert (loss.partition, loss.first, loss.last, loss.epoch, state_of(after).lost) == (0, 2, 3, 0, 1)
    assert pulled(connector(broker, topic, tmp_path, data_loss="record"), batches[-1].state)[0] == []


def test_a_partition_that_ends_before_what_was_read_goes_on_at_its_end(
    broker: Broker, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.send(topic, values(0, 1))
    state = state_of(pulled(connector(broker, topic, tmp_path))[1])
    ahead = msgspec.json.encode(msgspec.structs.replace(state, offsets={0: 7})).decode()
    found = connector(broker, topic, tmp_path, data_loss="record")
    with found.follow(ahead) as stream:
        assert isinstance(stream, TopicStream)
        stream._out_of_range.add(0)  # as the client says of brokers that refuse such an offset; this one says nothing
        monkeypatch.setattr(TopicStream, "_ends", lambda *_: (0, 2))
        batch = stream.take(wait_s=1.0, until_end=True)
        assert batch is not None
        loss = state_of(batch.state).losses[0]
        assert (loss.first, loss.last, state_of(batch.state).offsets[0]) == (2, 6, 2)
        broker.send(topic, values(2))
        batch = stream.take(wait_s=5.0, until_end=True)
        assert batch is not None
        assert ids(batch.messages) == [2]


def test_messages_of_another_topic_are_dropped_if_it_is_made_anew_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(running())
    first.make("payments", 1)
    first.send("payments", values(1, 2))
    found = connector(first, "payments", tmp_path, embedded=True)
    with found.follow(None) as stream:
        collect = TopicStream._collect
        messages, *_ = collect(stream, 5.0, True)  # read, and not handed out yet
        assert ids(messages) == [1, 2]
        first.stop()
        again = Broker(first.port)
        again.make("payments", 1)
        again.send("payments", values(7, 8, 9))
        collected = iter([(messages, {0: 2}, {0: 2})])
        monkeypatch.setattr(TopicStream, "_collect", lambda *given: next(collected, None) or collect(*given))
        batch = stream.take(wait_s=5.0, until_end=True)
    assert batch is not None
    rest = [*ids(batch.messages), *ids(pulled(found, batch.state)[0])]
    again.stop()
    assert rest == [7, 8, 9]


def test_a_broker_that_is_gone_is_a_temporary_error(tmp_path: Path) -> None:
    for broker in running():
        broker.make("gone", 1)
        found = connector(broker, "gone", tmp_path)
        broker.stop()
        with pytest.raises(BrokerAway, match=f"no answer of brokers at {broker.address}"):
            pulled(found)


def test_a_state_of_another_topic_is_refused(broker: Broker, topic: str, tmp_path: Path) -> None:
    state = msgspec.json.encode(StreamState(topic="other")).decode()
    with pytest.raises(DataError, match=f"was filled from the topic 'other', not from '{topic}'"):
        pulled(connector(broker, topic, tmp_path), state)
