"""A small client that keeps every answer with its prediction ids.

It runs in a thread of its own, with its own event loop. It sends requests by entity key at an even rate over all
connections.
"""

from __future__ import annotations

import asyncio
import gc
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import uvloop

from benchmarks.serving.servers import LOCALHOST

TIMEOUT_S = 10.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Parameters(msgspec.Struct):
    role: str
    revision: int
    prediction_ids: list[str]


class _Body(msgspec.Struct):
    model_version: str
    parameters: _Parameters


class Acknowledged(NamedTuple):
    """One prediction that a client got."""

    id: str
    entity: int
    role: str
    version: int
    revision: int


@dataclass
class Seen:
    """The answers of all clients."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Of requests that got another answer than 200, or none."""
    unreachable: int = 0
    """Attempts to connect that failed."""
    took_ms: list[float] = field(default_factory=list)
    """From the time at which a request was due to its answer, so that stalls of the server count."""

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies, 0 without any."""
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Clients:
    """A context: load while it is open. `seen` may be looked at meanwhile."""

    def __init__(
        self,
        port: int,
        request: Callable[[int], bytes],
        *,
        entities: int,
        connections: int = 16,
        per_second: float,
        keep: bool = True,
        seed: int = 0,
    ) -> None:
        """request: the bytes to send for an entity's number. keep: whether to keep what was acknowledged."""
        self.seen = Seen()
        self._port = port
        self._request = request
        self._entities = entities
        self._connections = connections
        self._pause_s = connections / per_second
        self._keep = keep
        self._chance = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clients")
        self._decode = msgspec.json.Decoder(_Body).decode

    def __enter__(self) -> Clients:
        gc.disable()  # a walk over all answers that are kept would take a second, and look like the server's
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        gc.enable()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*[self._one(number) for number in range(self._connections)])

    async def _one(self, number: int) -> None:
        due = time.perf_counter() + self._pause_s * number / self._connections
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._ended.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if streams is None:
                try:
                    streams = await asyncio.open_connection(LOCALHOST, self._port)
                except OSError:
                    self.seen.unreachable += 1
                    await asyncio.sleep(0.02)  # the server is away: do not turn in circles
                    continue
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    ended = await self._send(*streams)
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
                self.seen.failures.append(f"{type(error).__name__}: {error}")
                ended = True
            if ended and streams is not None:
                streams[1].close()
                streams = None
            now = time.perf_counter()
            self.seen.took_ms.append(1e3 * (now - due))
            due = max(due + self._pause_s, now - 1.0)  # at most one second of arrears is caught up
        if streams is not None:
            streams[1].close()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request and read its answer; return whether the connection is to be closed."""
        entity = self._chance.randrange(self._entities)
        writer.write(self._request(entity))
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length.group(1)) if length else 0)
        if not head.startswith(b"HTTP/1.1 200"):
            self.seen.failures.append(f"{head[9:12].decode()}: {body[:200].decode(errors='replace')}")
        elif self._keep:
            found = self._decode(body)
            said = found.parameters
            self.seen.acknowledged.append(
                Acknowledged(said.prediction_ids[0], entity, said.role, int(found.model_version), said.revision)
            )
        return b"connection: close" in head.lower()
