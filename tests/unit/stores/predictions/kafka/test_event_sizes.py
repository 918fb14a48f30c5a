"""A row that Kafka would not take is refused before any row of its append is on its way. Needs no broker."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException, Producer

from trimtab.errors import StoreError
from trimtab.stores.predictions.kafka.topic_events import VARINT, Event, Events, row_of
from trimtab.stores.predictions.kafka.topic_log import ROW_BYTES, KafkaLog
from trimtab.testing.predictions import label_rows, prediction_rows


@pytest.fixture
def producer() -> Producer:
    """A real producer that knows no broker: what it takes stays in its queue."""
    return Producer({"log_level": 0, "message.max.bytes": ROW_BYTES})


@pytest.fixture
def log(producer: Producer) -> KafkaLog:
    log = KafkaLog("kafka://127.0.0.1:1/predictions")
    log.__dict__["_producer"] = producer
    return log


def test_a_row_that_is_too_large_leaves_nothing_of_its_append_behind(log: KafkaLog, producer: Producer) -> None:
    rows = prediction_rows(["a", "b", "c"])
    rows["error"] = [None, None, "x" * ROW_BYTES]
    with pytest.raises(StoreError, match=r"row of id 'c' takes 100\d{4} bytes as a message; the most is 1000000"):
        log.append(rows)
    assert len(producer) == 0
    log.append(prediction_rows(["a", "b"]))
    log.append_labels(label_rows(["a"]))
    assert len(producer) == 3
    producer.purge()


def test_a_label_s_event_names_its_model() -> None:
    named, unnamed = Events("7").labels(label_rows(["a", "a"], model=["delay", None]))
    assert dict(named.headers)["ce_source"] == "/trimtab/7/models/delay/labels"
    assert dict(named.headers)["ce_inferenceservicename"] == "delay"
    assert dict(unnamed.headers)["ce_source"] == "/trimtab/7/labels"
    assert row_of(named.value or b"", "labels")["model"] == "delay"


@pytest.mark.parametrize("over", [0, 1])
def test_sizes_are_never_less_than_what_the_client_counts(producer: Producer, over: int) -> None:
    headers: list[tuple[str, str | bytes | None]] = [("ce_id", "a"), ("ce_type", b"label")]
    bare = Event(b"key", b"", headers, 0)
    event = bare._replace(value=bytes(ROW_BYTES - bare.size + over * (2 * VARINT * len(headers) + 1)))
    try:
        producer.produce("predictions", value=event.value, key=event.key, headers=headers)
    except KafkaException:
        assert event.size > ROW_BYTES
    else:
        assert event.size <= ROW_BYTES or over
    producer.purge()
