"""Sources of topics: their arguments, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import trimtab as tt
from trimtab.errors import DefinitionError


def source(**more: Any) -> tt.KafkaSource:
    return tt.KafkaSource("payments", "topic", timestamp="at", **more)


def test_several_servers_are_one_text_and_limits_have_units() -> None:
    found = source(servers=["a:1", "b:2"], batch_time="200ms", batch_bytes="1 MB")
    assert (found.servers, found.batch_micros, found.batch_size) == ("a:1,b:2", 200_000, 1_000_000)
    assert found.reads_same_rows(source())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"format": "xml"}, "format is 'xml'; expected one of json, avro, protobuf"),
        ({"format": "avro"}, "Avro needs a schema"),
        ({"format": "protobuf", "schema": "a.desc"}, "Protobuf needs a descriptor set and a message"),
        ({"schema": "a.avsc"}, "schema is for Avro and Protobuf"),
        ({"message": "a.B"}, "message is for Protobuf"),
        ({"schema_registry": {"login": "x"}}, "schema_registry has no 'url'"),
        ({"metadata": {"card": "kee"}}, "'card' is 'kee'; .* Did you mean 'key'"),
        ({"metadata": {"card": "header:"}}, "'card' is 'header:'"),
        ({"options": {"auto.offset.reset": "latest"}}, "'auto.offset.reset' is set by the connector; set data_loss"),
        ({"options": {"sasl.password": "secret"}}, r"expected tt.secret\('KAFKA_PASSWORD'\)"),
        ({"options": {"ssl.ca.location": None}}, "expected text, number or secret"),
        ({"tombstones": "drop"}, "tombstones is 'drop'"),
        ({"start": "newest"}, "start is 'newest'; expected one of earliest, latest"),
        ({"data_loss": "ignore"}, "data_loss is 'ignore'; expected one of refuse, record"),
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"batch_time": "soon"}, "batch_time: 'soon' is not a duration"),
        ({"batch_bytes": "many"}, "batch_bytes is 'many'"),
        ({"servers": ""}, "servers is ''"),
    ],
)
def test_wrong_arguments_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=rf"^KafkaSource 'payments': {words}|KafkaSource 'payments': .*{words}"):
        source(**more)


def test_a_secret_is_no_part_of_the_definition() -> None:
    found = source(options={"sasl.password": tt.secret("KAFKA_PASSWORD")})
    assert "KAFKA_PASSWORD" in str(found.options["sasl.password"])
