"""Reads the values of messages: JSON, Avro and Protobuf, with or without a schema registry.

With a registry a value begins with a zero byte and the four bytes of its schema's id (Confluent's wire format); in
Protobuf the path of the message within its file comes next.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab.definitions.kafka_source import KafkaSource
from trimtab.definitions.secrets import Secret, reveal
from trimtab.errors import DataError, DefinitionError, MissingExtra, StoreError, nearest

Decode = Callable[[bytes], dict[str, Any]]

FRAME_BYTES = 5
TIMESTAMP = "google.protobuf.Timestamp"


def decoder_of(source: KafkaSource, folder: Path) -> Decode | None:
    """Return the function that reads a value's fields; None for plain JSON.

    folder: the project folder. The function raises StoreError when the registry cannot be reached, and any other error
    for a value that it cannot read. Raises DefinitionError when the schema file cannot be used.
    """
    if source.format == "json":
        return None if source.schema_registry is None else lambda value: _json(_unframed(value))
    if source.format == "protobuf":
        return _protobuf(source, folder)
    return _avro(source, folder) if source.schema_registry is None else _avro_by_registry(source, folder)


def revealed(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings of a client with the values of secrets. Raises StageError when a secret is not set."""
    return {name: reveal(each, where) if isinstance(each, str | Secret) else each for name, each in settings.items()}


def _json(value: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(value)
    return found


def _unframed(value: bytes) -> bytes:
    if len(value) < FRAME_BYTES or value[0] != 0:
        raise DataError("does not begin with a schema id, as messages of a schema registry do")
    return value[FRAME_BYTES:]


def _avro(source: KafkaSource, folder: Path) -> Decode:
    try:
        import fastavro
    except ImportError as missing:
        raise MissingExtra("fastavro", "kafka") from missing
    text = _schema_file(source, folder).decode()
    try:
        schema = fastavro.parse_schema(json.loads(text))
    except Exception as error:  # of the library, or of what it was given
        raise DefinitionError(f"{source.where}: schema '{source.schema}' is no Avro schema: {error}") from None

    def decode(value: bytes) -> dict[str, Any]:
        stream = io.BytesIO(value)
        found: dict[str, Any] = fastavro.schemaless_reader(stream, schema, None)  # type: ignore[assignment]
        if stream.tell() != len(value):
            raise DataError(f"{len(value) - stream.tell()} bytes are left after the record")
        return found

    return decode


def _avro_by_registry(source: KafkaSource, folder: Path) -> Decode:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError
        from confluent_kafka.schema_registry.avro import AvroDeserializer
        from confluent_kafka.serialization import MessageField, SerializationContext
    except ImportError as missing:
        raise MissingExtra("confluent-kafka", "kafka") from missing
    given = source.schema_registry
    settings = given if isinstance(given, Mapping) else {"url": given or ""}
    client = SchemaRegistryClient.new_client(revealed(settings, source.where))
    read = AvroDeserializer(client, _schema_file(source, folder).decode() if source.schema else None)
    context, seen = SerializationContext(source.topic, MessageField.VALUE), set[int]()

    def decode(value: bytes) -> dict[str, Any]:
        _unframed(value)
        id_ = int.from_bytes(value[1:FRAME_BYTES])
        try:
            found: dict[str, Any] = read(value, context)
        except Exception:  # raised again, unless the schema is what is missing
            if id_ not in seen:
                expect_schema(id_)
            raise
        seen.add(id_)
        return found

    def expect_schema(id_: int) -> None:
        """Raise DataError if the registry has no such schema, StoreError if it does not answer."""
        try:
            client.get_schema(id_)
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                raise DataError(f"its schema {id_} is not in the registry") from None
            raise StoreError(f"{source.where}: the schema registry answers {error}") from error
        except Exception as error:  # of the HTTP library that the client comes with
            raise StoreError(f"{source.where}: the schema registry cannot be reached: {error}") from error

    return decode


def _protobuf(source: KafkaSource, folder: Path) -> Decode:
    try:
        from google.protobuf import descriptor_pool, message_factory
        from google.protobuf.descriptor_pb2 import FileDescriptorSet
        from google.protobuf.message import DecodeError
    except ImportError as missing:
        raise MissingExtra("protobuf", "kafka") from missing
    content, name, pool = _schema_file(source, folder), source.message or "", descriptor_pool.DescriptorPool()
    names: list[str] = []
    try:
        for file in FileDescriptorSet.FromString(content).file:
            pool.Add(file)
            names += [f"{file.package}.{each.name}".lstrip(".") for each in file.message_type]
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except KeyError:
        raise DefinitionError(
            f"{source.where}: '{source.schema}' has no message '{name}'.{nearest(name, names)}"
        ) from None
    except (DecodeError, TypeError) as error:
        raise DefinitionError(
            f"{source.where}: '{source.schema}' is no descriptor set, as `protoc --include_imports "
            f"--descriptor_set_out=FILE` writes it: {error}"
        ) from None

    def decode(value: bytes) -> dict[str, Any]:
        if source.schema_registry is not None:
            value = _after_path(_unframed(value))
        return _fields(kind.FromString(value))

    return decode


def _after_path(value: bytes) -> bytes:
    """Return a Protobuf value without the path of its message: a count and as many indexes, as zigzag varints."""
    count, place = _varint(value, 0)
    for _ in range(count >> 1):
        _, place = _varint(value, place)
    return value[place:]


def _varint(value: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = value[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def _fields(message: Any) -> dict[str, Any]:
    """Return the fields of a message; None for one that is not set and whose absence shows."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            found[field.name] = None
            continue
        value, is_map = getattr(message, field.name), _is_map(field)
        if is_map:
            found[field.name] = {str(key): _value(field, each) for key, each in value.items()}
        elif hasattr(value, "append") or hasattr(value, "add"):
            found[field.name] = [_value(field, each) for each in value]
        else:
            found[field.name] = _value(field, value)
    return found


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _value(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else str(value)
    if field.message_type is None or not hasattr(value, "DESCRIPTOR"):
        return value
    if value.DESCRIPTOR.full_name == TIMESTAMP:
        return value.seconds * 1_000_000 + value.nanos // 1_000
    return _fields(value)


def _schema_file(source: KafkaSource, folder: Path) -> bytes:
    path = folder / (source.schema or "")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DefinitionError(f"{source.where}: schema '{path}' cannot be read: {error.strerror}") from None
