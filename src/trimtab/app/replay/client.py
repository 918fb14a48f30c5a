"""HTTP client of a replay: posts JSON over some keep-alive connections, with one request under way on each.

Each request is one write, and httptools parses the answers: a replay sends hundreds of thousands of single rows to a
gateway on the same machine, where http.client would take four times the processor time of this.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import httptools
import msgspec

from trimtab.clock import Clock

TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.1
TRIES = 5
"""How often a request is sent again whose connection broke; its id makes the answer the same request's."""
BLOCK = 65_536


class Answer(msgspec.Struct, frozen=True):
    """Status and body of one answer; status 0 when none came."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return self.status == 200


NO_ANSWER = Answer(0, b"no answer")


class Client:
    """Posts JSON to one server. Not shared between threads."""

    def __init__(self, url: str, clock: Clock, *, connections: int = 16) -> None:
        parts = urlsplit(url)
        address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._host = parts.netloc.encode()
        self._clock = clock
        self._connections = [_Connection(address) for _ in range(connections)]

    def post_all(self, path: str, bodies: Sequence[bytes]) -> list[Answer]:
        """Post each body to a path; return the answers in order."""
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: " % (
            path.encode(),
            self._host,
        )
        answers: list[Answer] = []
        for first in range(0, len(bodies), len(self._connections)):
            wave = [
                b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies[first : first + len(self._connections)]
            ]
            connections = self._connections[: len(wave)]
            sent = [connection.send(message) for connection, message in zip(connections, wave, strict=True)]
            for connection, message, is_sent in zip(connections, wave, sent, strict=True):
                answer = connection.receive() if is_sent else None
                answers.append(answer or self._again(connection, message))
        return answers

    def post(self, path: str, body: bytes) -> Answer:
        """Post one body."""
        return self.post_all(path, [body])[0]

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    def _again(self, connection: _Connection, message: bytes) -> Answer:
        for attempt in range(TRIES):
            self._clock.sleep(PAUSE_SECONDS * (attempt + 1))
            if connection.send(message) and (answer := connection.receive()):
                return answer
        return NO_ANSWER


class _Connection:
    """One connection, opened when a request is sent and none is open. httptools calls the methods `on_...`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def send(self, message: bytes) -> bool:
        """Send a request; return False, and close the connection, when that fails."""
        self._body, self._is_complete = b"", False
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, TIMEOUT_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._parser = httptools.HttpResponseParser(self)
            self._socket.sendall(message)
        except OSError:
            self.close()
            return False
        return True

    def receive(self) -> Answer | None:
        """Return the answer; return None, and close the connection, when it does not come whole."""
        assert self._socket is not None
        try:
            while not self._is_complete:
                received = self._socket.recv(BLOCK)
                if not received:
                    raise ConnectionResetError
                self._parser.feed_data(received)
            return Answer(self._parser.get_status_code(), self._body)
        except (OSError, httptools.HttpParserError):
            self.close()
            return None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        self._is_complete = True
