"""Avro and Protobuf, with a schema file and with a registry."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from trimtab.data.connectors.message_formats import Decode, decoder_of
from trimtab.definitions.kafka_source import KafkaSource
from trimtab.errors import DataError, DefinitionError, StoreError

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "card", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
PAYMENT = {"id": 7, "card": "a", "at": AT}


def decoder(folder: Path, **more: Any) -> Decode:
    found = decoder_of(KafkaSource("payments", "topic", timestamp="at", **more), folder)
    assert found is not None
    return found


def avro(value: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(AVRO), value)
    return stream.getvalue()


def test_avro_by_a_schema_file(tmp_path: Path) -> None:
    (tmp_path / "payment.avsc").write_text(json.dumps(AVRO))
    decode = decoder(tmp_path, format="avro", schema="payment.avsc")
    assert decode(avro(PAYMENT)) == PAYMENT
    with pytest.raises(DataError, match="1 bytes are left"):
        decode(avro(PAYMENT) + b"x")
    with pytest.raises(Exception):  # noqa: B017  # the library's own errors, which refuse the message
        decode(b"\x01")


@pytest.mark.parametrize(("text", "words"), [(None, "cannot be read"), ("{}", "no Avro schema"), ("no", "no Avro")])
def test_a_schema_file_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "payment.avsc").write_text(text)
    with pytest.raises(DefinitionError, match=f"schema '.*payment.avsc' .*{words}"):
        decoder(tmp_path, format="avro", schema="payment.avsc")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> SchemaRegistryClient:
    found = SchemaRegistryClient.new_client({"url": "mock://payments"})  # each client of this kind has its own schemas
    monkeypatch.setattr(SchemaRegistryClient, "new_client", lambda _: found)
    return found


def test_avro_by_a_registry_knows_each_schema_by_its_id(tmp_path: Path, registry: SchemaRegistryClient) -> None:
    older = {**AVRO, "fields": AVRO["fields"][:1]}
    context = SerializationContext("topic", MessageField.VALUE)
    written = [
        AvroSerializer(registry, json.dumps(schema))(value, context)
        for schema, value in ((older, {"id": 1}), (AVRO, PAYMENT))
    ]
    decode = decoder(tmp_path, format="avro", schema_registry="mock://payments")
    assert [decode(value or b"") for value in written] == [{"id": 1}, PAYMENT]
    with pytest.raises(DataError, match="does not begin with a schema id"):
        decode(avro(PAYMENT))
    with pytest.raises(DataError, match="its schema 99 is not in the registry"):
        decode(b"\x00" + (99).to_bytes(4) + avro(PAYMENT))


def test_a_registry_that_does_not_answer_is_no_fault_of_the_message(tmp_path: Path) -> None:
    decode = decoder(tmp_path, format="avro", schema_registry={"url": "http://127.0.0.1:9", "max.retries": 0})
    with pytest.raises(StoreError, match="KafkaSource 'payments': the schema registry cannot be reached"):
        decode(b"\x00\x00\x00\x00\x01" + avro(PAYMENT))


def test_json_of_a_registry_begins_with_the_id_of_its_schema(tmp_path: Path) -> None:
    decode = decoder(tmp_path, schema_registry="mock://payments")
    assert decode(b'\x00\x00\x00\x00\x01{"id": 1}') == {"id": 1}


def protobuf(folder: Path) -> Any:
    """Write the descriptor set of shop.Payment, and return its class."""
    kinds = FieldDescriptorProto
    file = FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    item = file.message_type.add(name="Item")
    item.field.add(name="sku", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    payment = file.message_type.add(name="Payment")
    payment.field.add(name="id", number=1, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    payment.field.add(name="ok", number=2, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    time = ".google.protobuf.Timestamp"
    payment.field.add(name="at", number=3, type=kinds.TYPE_MESSAGE, type_name=time, label=kinds.LABEL_OPTIONAL)
    payment.field.add(name="first", number=4, type=kinds.TYPE_MESSAGE, type_name=".shop.Item", label=1)
    payment.field.add(name="items", number=5, type=kinds.TYPE_MESSAGE, type_name=".shop.Item", label=3)
    payment.field.add(name="codes", number=6, type=kinds.TYPE_INT32, label=3)
    files = FileDescriptorSet()
    stamp = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    files.file.extend([stamp, file])
    (folder / "shop.desc").write_bytes(files.SerializeToString())
    pool = descriptor_pool.DescriptorPool()
    for each in files.file:
        pool.Add(each)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Payment"))


def test_protobuf_by_a_descriptor_set(tmp_path: Path) -> None:
    kind = protobuf(tmp_path)
    one = kind(id=7, codes=[1, 2])
    one.at.FromDatetime(AT)
    one.items.add(sku="a")
    decode = decoder(tmp_path, format="protobuf", schema="shop.desc", message="shop.Payment")
    expected = {
        "id": 7,
        "ok": False,
        "at": int(AT.timestamp() * 1e6),
        "first": None,
        "items": [{"sku": "a"}],
        "codes": [1, 2],
    }
    assert decode(one.SerializeToString()) == expected
    framed = decoder(
        tmp_path, format="protobuf", schema="shop.desc", message="shop.Payment", schema_registry="mock://payments"
    )
    assert framed(b"\x00\x00\x00\x00\x01\x00" + one.SerializeToString()) == expected  # the first message of its file
    assert framed(b"\x00\x00\x00\x00\x01\x02\x02" + one.SerializeToString()) == expected  # the path [1]
    with pytest.raises(Exception):  # noqa: B017  # the library's own errors, which refuse the message
        decode(b"\xff\xff")


def test_a_message_that_the_descriptor_set_lacks_is_named(tmp_path: Path) -> None:
    protobuf(tmp_path)
    with pytest.raises(DefinitionError, match=r"'shop.desc' has no message 'shop.Paymnt'. Did you mean 'shop.Payment'"):
        decoder(tmp_path, format="protobuf", schema="shop.desc", message="shop.Paymnt")
    (tmp_path / "shop.desc").write_bytes(b"syntax = proto3")
    with pytest.raises(DefinitionError, match="is no descriptor set"):
        decoder(tmp_path, format="protobuf", schema="shop.desc", message="shop.Payment")


def test_a_schema_without_use_is_not_read(registry: SchemaRegistryClient, tmp_path: Path) -> None:
    assert decoder_of(KafkaSource("payments", "topic", timestamp="at"), tmp_path) is None
    assert registry.register_schema("topic-value", Schema(json.dumps(AVRO), "AVRO")) > 0
