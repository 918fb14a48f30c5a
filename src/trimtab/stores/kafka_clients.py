"""Opens clients of Kafka brokers with one set of settings, and reads the facts of a topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trimtab.errors import MissingExtra, StoreError

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic
except ImportError as missing:
    raise MissingExtra("confluent-kafka", "kafka") from missing

T = TypeVar("T")

CONNECT_S = 10.0
"""How long a broker may take to answer a question about its topics."""
QUIET = {"log_level": 2}
"""librdkafka writes only critical messages to standard error; errors come as exceptions and events."""
UNKNOWN_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers describe it.

    id: changes when a topic of the same name is made again; None from brokers older than Kafka 2.8.
    """

    name: str
    id: str | None
    partitions: tuple[int, ...]


def open_consumer(
    servers: str,
    *,
    group: str = "trimtab",
    options: Mapping[str, Any] | None = None,
    error_cb: Callable[[KafkaError], None] | None = None,
) -> Consumer:
    """Return a consumer that is assigned its partitions, and commits nothing by itself.

    group: a name that brokers ask for; no group is joined. options: settings of librdkafka, over the defaults.
    """
    settings = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        **({"error_cb": error_cb} if error_cb is not None else {}),
    }
    return Consumer(_settings(servers, settings, options))


def open_producer(servers: str, *, options: Mapping[str, Any] | None = None) -> Producer:
    """Return a producer whose messages count as sent when all in-sync replicas have them, each once."""
    return Producer(_settings(servers, {"acks": "all", "enable.idempotence": True}, options))


def open_admin(servers: str, *, options: Mapping[str, Any] | None = None) -> AdminClient:
    """Return a client for questions about topics."""
    return AdminClient(_settings(servers, {}, options))


def describe(admin: AdminClient, name: str, *, timeout_s: float = CONNECT_S) -> Topic | None:
    """Return a topic, or None when the brokers have none of this name. Raises KafkaException."""
    try:
        found = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_s)[name].result(2 * timeout_s)
    except KafkaException as error:
        if error.args[0].code() in UNKNOWN_TOPIC:
            return None
        if error.args[0].code() != KafkaError._UNSUPPORTED_FEATURE:
            raise
        topics = admin.list_topics(timeout=timeout_s).topics
        return Topic(name, None, tuple(sorted(topics[name].partitions))) if name in topics else None
    id_ = str(found.topic_id) if found.topic_id is not None else None
    return Topic(name, id_ or None, tuple(sorted(each.id for each in found.partitions)))


def make_topics(
    admin: AdminClient,
    topics: Mapping[str, int],
    *,
    settings: Mapping[str, dict[str, str]] | None = None,
    timeout_s: float = CONNECT_S,
) -> None:
    """Make the topics that are missing. topics: number of partitions by name. Raises KafkaException.

    settings: by name, where the brokers' own do not do.
    """
    known = admin.list_topics(timeout=timeout_s).topics
    missing = [
        NewTopic(name, num_partitions=count, config=(settings or {}).get(name, {}))
        for name, count in topics.items()
        if name not in known
    ]
    for made in admin.create_topics(missing).values() if missing else ():
        try:
            made.result(timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def reachable(what: str, servers: str, ask: Callable[[], T]) -> T:
    """Return the answer of brokers. Raises StoreError naming them when they give none."""
    try:
        return ask()
    except KafkaException as error:
        raise StoreError(f"{what}: no use of the Kafka brokers at {servers}: {text_of(error)}") from None


def text_of(error: KafkaException | KafkaError) -> str:
    """Return an error of librdkafka in words."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    return f"{inner.str()} ({inner.name()})" if isinstance(inner, KafkaError) else str(inner)


def known(value: T | None) -> T:
    """Return what a delivered message always has."""
    assert value is not None
    return value


def _settings(servers: str, ours: Mapping[str, Any], options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**QUIET, **ours, **(options or {}), "bootstrap.servers": servers}
