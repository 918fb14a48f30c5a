"""Sources whose rows are the messages of a Kafka topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from trimtab.definitions.arguments import check_text, duration
from trimtab.definitions.secrets import Secret
from trimtab.definitions.sources import Source
from trimtab.errors import DefinitionError, nearest
from trimtab.units import bytes_

MessageFormat = Literal["json", "avro", "protobuf"]
Setting = str | int | float | bool | Secret
METADATA = ("key", "timestamp", "partition", "offset")
HEADER = "header:"
OURS = {
    "bootstrap.servers": "servers",
    "enable.auto.commit": None,
    "enable.auto.offset.store": None,
    "enable.partition.eof": None,
    "auto.offset.reset": "data_loss",
}
"""Settings of librdkafka that the connector sets, with the argument that takes their place."""


@dataclass(frozen=True)
class KafkaSource(Source):
    """Rows in the messages of a topic of Kafka, or of any broker that speaks its protocol: one row a message.

    `trimtab up` and `trimtab stream` land them in micro-batches, each message once: the offsets are in the same commit
    as the rows.

    Args:
        name, timestamp, known_at, key, dtypes, time_unit, date_format, time_zone, description, owner, tags, pii: as in
            `Source`.
        topic: the topic.
        servers: brokers, "host:port" or several. None: those of `stream` in the environment of trimtab.yaml; without
            it a broker of this machine, which `trimtab up` starts and which keeps messages in memory only.
        format: of the values. json: one object a message; avro: by `schema`, or by the schema registry; protobuf: by
            `schema` and `message`.
        schema: file in the project folder. Of Avro, the schema as JSON (.avsc); of Protobuf, a descriptor set, as
            `protoc --include_imports --descriptor_set_out=FILE` writes it.
        message: full name of the Protobuf message, such as "shop.Order".
        schema_registry: URL of a schema registry, or settings of its client such as {"url": ...,
            "basic.auth.user.info": tt.secret("REGISTRY_LOGIN")}. Messages then begin with the id of their schema.
        metadata: columns that a message gives outside of its value: {"sent_at": "timestamp", "card": "key",
            "trace": "header:traceparent"}; also "partition" and "offset".
        tombstones: what becomes of messages without a value. skip: they are counted; row: a row of `metadata` alone.
        start: where a source begins that has no rows yet, at the "earliest" or the "latest" message.
        data_loss: what happens when messages are gone that were not read, because of the topic's retention or because
            the topic was made anew. refuse: the stream stops with an error; record: it goes on at the oldest message,
            and the loss is recorded with the rows.
        batch_rows, batch_bytes, batch_time: a micro-batch ends at so many messages, so many bytes of values, or so
            long after its first message, whichever comes first.
        options: further settings of librdkafka, such as {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
            "sasl.username": "app", "sasl.password": tt.secret("KAFKA_PASSWORD")}. Only messages of committed
            transactions are read unless "isolation.level" says otherwise.

    Raises:
        DefinitionError: an argument is wrong.

    >>> import trimtab as tt
    >>> tt.KafkaSource("payments", "card-payments", timestamp="paid_at", metadata={"card": "key"}).origin
    'card-payments'
    """

    topic: str
    servers: str | Sequence[str] | None = None
    format: MessageFormat = field(default="json", kw_only=True)
    schema: str | None = field(default=None, kw_only=True)
    message: str | None = field(default=None, kw_only=True)
    schema_registry: str | Mapping[str, Setting] | None = field(default=None, hash=False, kw_only=True)
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False, kw_only=True)
    tombstones: Literal["skip", "row"] = field(default="skip", kw_only=True)
    start: Literal["earliest", "latest"] = field(default="earliest", kw_only=True)
    data_loss: Literal["refuse", "record"] = field(default="refuse", kw_only=True)
    batch_rows: int = field(default=20_000, kw_only=True)
    batch_bytes: str = field(default="16 MB", kw_only=True)
    batch_time: str = field(default="1s", kw_only=True)
    options: Mapping[str, Setting] = field(default_factory=dict, hash=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(f"{self.where}: topic", self.topic, "payments")
        if self.servers is not None and not isinstance(self.servers, str):
            object.__setattr__(self, "servers", ",".join(self.servers))
        if self.servers is not None:
            check_text(f"{self.where}: servers", self.servers, "kafka-1:9092,kafka-2:9092")
        for name, kinds in (
            ("format", get_args(MessageFormat)),
            ("tombstones", ("skip", "row")),
            ("start", ("earliest", "latest")),
            ("data_loss", ("refuse", "record")),
        ):
            if (value := getattr(self, name)) not in kinds:
                raise DefinitionError(f"{self.where}: {name} is {value!r}; expected one of {', '.join(kinds)}")
        self._check_format()
        self._check_metadata()
        self._check_options()
        if isinstance(self.batch_rows, bool) or not isinstance(self.batch_rows, int) or self.batch_rows < 1:
            raise DefinitionError(f"{self.where}: batch_rows is {self.batch_rows!r}; expected a whole number from 1")
        duration(f"{self.where}: batch_time", self.batch_time)
        try:
            bytes_(self.batch_bytes)
        except (ValueError, TypeError) as error:
            raise DefinitionError(f"{self.where}: batch_bytes is {self.batch_bytes!r}: {error}") from None

    @property
    def origin(self) -> str:
        """The topic."""
        return self.topic

    @property
    def batch_micros(self) -> int:
        """Longest time of a micro-batch, in microseconds."""
        return duration(f"{self.where}: batch_time", self.batch_time)

    @property
    def batch_size(self) -> int:
        """Most bytes of values in a micro-batch."""
        return bytes_(self.batch_bytes)

    def _check_format(self) -> None:
        where = self.where
        if self.format == "json" and self.schema is not None:
            raise DefinitionError(f"{where}: schema is for Avro and Protobuf; types of JSON are set by dtypes")
        if self.format == "avro" and self.schema is None and self.schema_registry is None:
            raise DefinitionError(f"{where}: Avro needs a schema: schema='payment.avsc', or schema_registry=URL")
        if self.format == "protobuf" and (self.schema is None or self.message is None):
            raise DefinitionError(
                f"{where}: Protobuf needs a descriptor set and a message: schema='shop.desc', message='shop.Order'"
            )
        if self.format != "protobuf" and self.message is not None:
            raise DefinitionError(f"{where}: message is for Protobuf; the format is {self.format}")
        if isinstance(self.schema_registry, Mapping) and "url" not in self.schema_registry:
            raise DefinitionError(f"{where}: schema_registry has no 'url'; expected {{'url': 'https://...', ...}}")

    def _check_metadata(self) -> None:
        if not isinstance(self.metadata, Mapping):
            raise DefinitionError(f"{self.where}: metadata is {self.metadata!r}; expected such as {{'card': 'key'}}")
        for column, what in self.metadata.items():
            check_text(f"{self.where}: metadata: a column", column, "sent_at")
            if what in METADATA or (isinstance(what, str) and what.startswith(HEADER) and what != HEADER):
                continue
            raise DefinitionError(
                f"{self.where}: metadata: '{column}' is {what!r}; expected one of {', '.join(METADATA)} or "
                f"header:NAME.{nearest(str(what), METADATA)}"
            )

    def _check_options(self) -> None:
        if not isinstance(self.options, Mapping):
            raise DefinitionError(f"{self.where}: options is {self.options!r}; expected settings of librdkafka by name")
        for name, value in self.options.items():
            if name in OURS:
                instead = f"; set {OURS[name]}" if OURS[name] else ""
                raise DefinitionError(f"{self.where}: options: '{name}' is set by the connector{instead}")
            if not isinstance(value, str | int | float | bool | Secret):
                raise DefinitionError(f"{self.where}: options: '{name}' is {value!r}; expected text, number or secret")
            if "password" in name and not isinstance(value, Secret) and "${" not in str(value):
                raise DefinitionError(
                    f"{self.where}: options: '{name}' stands in the definitions; expected tt.secret('KAFKA_PASSWORD')"
                )
