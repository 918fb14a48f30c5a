"""Rows that clients pushed to the gateway, from the spool of their source: requests become messages of a stream.

The segments of the spool are the partitions of the stream, and the state says where in each of them the rows of the
table end. What is in the table is forgotten in the spool when the next state is known to be in the table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import msgspec

from trimtab.clock import Clock, SystemClock
from trimtab.data.connectors.contract import Access
from trimtab.data.connectors.message_rows import Message
from trimtab.data.connectors.micro_batches import MicroBatch, StreamConnector, StreamState
from trimtab.data.connectors.spool_reader import Spool
from trimtab.definitions.push_source import PushSource
from trimtab.errors import StoreError, Temporary
from trimtab.stores.catalog import spool_folder

BATCH_ROWS = 20_000
"""Rows of a micro-batch, unless one request has more."""
LOOK_S = 0.05
"""Pause between two looks at an empty spool."""


class PushConnector(StreamConnector):
    """The rows of one push source."""

    def __init__(self, source: PushSource, access: Access, clock: Clock | None = None) -> None:
        self.metadata = {}
        self._source = source
        self._folder = spool_folder(access.root, source.name)
        self._clock = clock or SystemClock()

    def prepare(self) -> None:
        """Nothing has to be made: the gateway makes the spool."""

    def follow(self, state: str | None) -> PushStream:
        """Return the rows after a state."""
        return PushStream(self._source.name, Spool(self._folder), state, self._clock)

    def pulls(self, state: str | None) -> Iterator[MicroBatch]:
        """Yield the rows after a state, up to those that there are now."""
        with self.follow(state) as stream:
            while (batch := stream.take(wait_s=0, until_end=True)) is not None:
                yield batch

    def check(self) -> str:
        """Return how much waits in the spool."""
        return f"{Spool(self._folder).waiting({}):,} bytes in the spool"


class PushStream:
    """The rows of a spool from a state on. Not shared between threads."""

    def __init__(self, source: str, spool: Spool, state: str | None, clock: Clock) -> None:
        """state: that of the table; what it has is forgotten in the spool."""
        self._source, self._spool, self._clock = source, spool, clock
        given = StreamState(topic=source) if state is None else msgspec.json.decode(state, type=StreamState)
        self._rows = given.messages.get(0, 0)
        with _told(source):
            self._ends = spool.settle(given.offsets)
        self.caught_up = False

    def take(self, *, wait_s: float, until_end: bool = False) -> MicroBatch | None:
        """Return the next micro-batch, or None if no request comes within `wait_s`."""
        while True:
            with _told(self._source):
                batch = self._take()
            if batch is not None or (self.caught_up and (until_end or wait_s <= 0)):
                return batch
            self._clock.sleep(min(wait_s, LOOK_S))
            wait_s -= LOOK_S

    def landed(self) -> None:
        """Forget in the spool what was taken: it is in the table."""
        with _told(self._source):
            self._ends = self._spool.settle(self._ends)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _take(self) -> MicroBatch | None:
        messages: list[Message] = []
        oldest: int | None = None
        self.caught_up = True
        for segment, end, request in self._spool.read(self._ends):
            place, first = f"{self._source}[{segment}]", self._ends.get(segment, 0)
            messages += [Message(place, first + n, row) for n, row in enumerate(request.rows)]
            self._ends = {**self._ends, segment: end}
            if request.rows and oldest is None:
                oldest = request.at
            if len(messages) >= BATCH_ROWS:
                self.caught_up = False
                break
        if not messages:
            return None
        self._rows += len(messages)
        state = StreamState(topic=self._source, offsets=self._ends, messages={0: self._rows})
        label = f"{self._source}: {len(messages):,} pushed rows"
        return MicroBatch(
            messages,
            msgspec.json.encode(state).decode(),
            label,
            oldest_ms=None if oldest is None else oldest // 1000,
        )


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Turn errors of the disk into SpoolFailed."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise SpoolFailed(f"PushSource '{source}': its spool cannot be read: {error}") from error


class SpoolFailed(StoreError, Temporary):
    """The spool cannot be read now."""
