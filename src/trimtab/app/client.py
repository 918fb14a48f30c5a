"""A small HTTP client for traffic from this machine: keep-alive connections, one a thread."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from trimtab.clock import Clock

TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.05
TRIES = 3
"""A request whose connection breaks is sent again; its id makes the answer the same request's."""

HEADERS = {"Content-Type": "application/json"}


class Answer(msgspec.Struct, frozen=True):
    """Status and body of one answer; status 0 when none came."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return self.status == 200


class Client:
    """Sends requests to one server over several connections at once."""

    def __init__(self, url: str, clock: Clock, *, connections: int = 4) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._clock = clock
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix="client")
        self._connections = connections

    def post_all(self, requests: Iterable[tuple[str, bytes]]) -> list[Answer]:
        """Send (path, body) pairs, spread over the connections; return the answers in order."""
        pairs = list(requests)
        shares = [pairs[n :: self._connections] for n in range(self._connections)]
        answers: list[Answer] = [Answer(0, b"")] * len(pairs)
        for n, done in enumerate(self._pool.map(self._post_share, shares)):
            answers[n :: self._connections] = done
        return answers

    def post(self, path: str, body: bytes) -> Answer:
        """Send one request from this thread."""
        for attempt in range(TRIES):
            connection = self._connection()
            try:
                connection.request("POST", path, body, HEADERS)
                response = connection.getresponse()
                return Answer(response.status, response.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                self._clock.sleep(PAUSE_SECONDS * (attempt + 1))
        return Answer(0, b"no answer")

    def close(self) -> None:
        """Close all connections."""
        self._pool.shutdown()

    def _post_share(self, share: list[tuple[str, bytes]]) -> list[Answer]:
        return [self.post(path, body) for path, body in share]

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_SECONDS)
            self._local.connection = connection
        return connection
