"""The prediction log in Kafka, against a broker that the test starts: the contract, the events, a broker that goes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kit.broker import WAIT_S, Broker, running
from trimtab.errors import StoreError
from trimtab.stores.catalog import open_predictions
from trimtab.stores.predictions.contract import START, Predictions
from trimtab.stores.predictions.kafka import topic_log
from trimtab.stores.predictions.kafka.topic_log import KafkaLog
from trimtab.testing.predictions import PredictionsConformance, label_rows, prediction_rows


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    yield from running()


class TestKafkaLog(PredictionsConformance):
    locks_names = False
    topics = (f"conformance-{number}" for number in count())

    @pytest.fixture(autouse=True)
    def _on_a_broker(self, broker: Broker) -> None:
        self._url = f"kafka://{broker.address}/{next(self.topics)}"

    def open(self, folder: Path) -> Predictions:
        return KafkaLog(self._url)


def test_the_catalog_opens_it_by_its_url(broker: Broker, tmp_path: Path) -> None:
    log = open_predictions(f"kafka://{broker.address}/by-url", tmp_path, writer="1", segment_rows=5, segment_age_s=9.0)
    log.append(prediction_rows(["a"]))
    log.close()
    assert isinstance(log, KafkaLog)
    assert log.read()[0]["prediction_id"].to_pylist() == ["a"]


@pytest.mark.parametrize("url", ["kafka://", "kafka://h:1", "kafka:///topic", "kafka://h:1/a/b", "kafka://h:1/a?b=1"])
def test_a_url_without_brokers_or_topic_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="expected kafka://host:port/topic"):
        KafkaLog(url)


def test_rows_are_cloud_events(broker: Broker) -> None:
    log = KafkaLog(f"kafka://{broker.address}/events", "7")
    log.append(prediction_rows(["a", "b"], role=["champion", "shadow"], features=[[0.5, float("nan")], None]))
    log.append_labels(label_rows(["a"]))
    log.sync()
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "x", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0) for topic in ("events", "events-labels")])
    messages = []
    for _ in range(200):
        messages += consumer.consume(10, 0.1)
        if len(messages) == 3:
            break
    consumer.close()
    found = {(m.topic(), m.key()): (dict(m.headers() or ()), msgspec.json.decode(m.value() or b"")) for m in messages}
    label = found["events-labels", b"a"][0]
    assert label["ce_source"] == b"/trimtab/7/models/delay/labels"
    assert label["ce_inferenceservicename"] == b"delay"
    headers, value = found["events", b"a"]
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"a",
        "ce_source": b"/trimtab/7/models/delay/versions/3",
        "ce_type": b"org.kubeflow.serving.inference.response",
        "ce_time": b"2023-11-14T22:13:20.500000Z",
        "content-type": b"application/json",
        "ce_inferenceservicename": b"delay",
        "ce_endpoint": b"default",
    }
    assert value["entities"] == {"carrier": "AA"}
    assert value["features"] == [0.5, None]
    assert value["event_time"] == "2023-11-14T22:13:20Z"
    assert found["events", b"b"][0]["ce_endpoint"] == b"shadow"
    assert found["events-labels", b"a"][0]["ce_type"] == b"trimtab.serving.label"
    assert str(log.read()[0]["features"].to_pylist()) == "[[0.5, nan], None]"
    log.close()


def test_several_partitions_are_merged_by_time_and_no_row_is_lost(broker: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.address})
    for made in admin.create_topics([NewTopic("spread", num_partitions=3)]).values():
        made.result(WAIT_S)
    log = KafkaLog(f"kafka://{broker.address}/spread")
    ids = [f"id-{n}" for n in range(40)]
    for n, name in enumerate(ids):
        log.append(prediction_rows([name], logged_at=[1_700_000_000_000_000 + 1000 * n]))
    log.sync()
    seen: list[str] = []
    table, cursor = log.read(START, limit=7)
    while table.num_rows:
        seen += table["prediction_id"].to_pylist()
        table, cursor = log.read(cursor, limit=7)
    log.close()
    assert seen == ids
    assert len(cursor.places) > 1


def test_a_broker_that_goes_is_told_by_sync_and_the_buffer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_log, "DELIVERY_MS", 1500)
    monkeypatch.setattr(topic_log, "BUFFER_ROWS", 5)
    broker = Broker()
    log = KafkaLog(f"kafka://{broker.address}/gone")
    log.append(prediction_rows(["a"]))
    log.sync()
    broker.stop()
    log.append(prediction_rows(["b", "c", "d"]))
    with pytest.raises(StoreError, match="wait for the brokers, which is the most"):
        log.append(prediction_rows(["e", "f", "g"]))
    with pytest.raises(StoreError, match="rows were not taken"):
        log.sync()
    log.sync()
    log.append(prediction_rows(["h"]))


def test_a_row_that_is_too_large_is_refused_and_the_log_goes_on(broker: Broker) -> None:
    log = KafkaLog(f"kafka://{broker.address}/large")
    with pytest.raises(StoreError, match=r"the row of id 'b' takes \d+ bytes as a message; the most is 1000000"):
        log.append(prediction_rows(["a", "b"], error=[None, "x" * 2_000_000]))
    log.append(prediction_rows(["c"]))
    log.sync()
    assert log.read()[0]["prediction_id"].to_pylist() == ["c"]
    log.close()


def test_no_broker_at_all_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_log, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StoreError, match=f"no use of the Kafka brokers at 127.0.0.1:{port}"):
        KafkaLog(f"kafka://127.0.0.1:{port}/topic").append(prediction_rows(["a"]))


def test_writing_loads_no_pyarrow(broker: Broker) -> None:
    program = f"""
import sys
from trimtab.stores.predictions.kafka.topic_log import KafkaLog
log = KafkaLog("kafka://{broker.address}/light")
log.append({prediction_rows(["a", "b"])!r})
log.close()
print([name for name in ("pyarrow", "pandas", "sqlalchemy", "pydantic") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("[]", "")
