"""A lean HTTP client for traffic from this machine: some keep-alive connections, one request under way on each.

Replays send hundreds of thousands of requests beside the server on the same two cores; a general client
would take more of them than the server does.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from trimtab.clock import Clock

TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.1
TRIES = 5
"""A request whose connection breaks is sent again; its id makes the answer the same request's."""
BLOCK = 65_536
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"


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
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._host = parts.netloc.encode()
        self._clock = clock
        self._sockets: list[socket.socket | None] = [None] * connections

    def post_all(self, path: str, bodies: Sequence[bytes]) -> list[Answer]:
        """Post each body to a path; return the answers in order."""
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: " % (
            path.encode(),
            self._host,
        )
        answers: list[Answer] = []
        for first in range(0, len(bodies), len(self._sockets)):
            wave = [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies[first : first + len(self._sockets)]]
            sent = [self._send(n, message) for n, message in enumerate(wave)]
            for n, message in enumerate(wave):
                answer = self._receive(n) if sent[n] else None
                answers.append(answer or self._again(n, message))
        return answers

    def post(self, path: str, body: bytes) -> Answer:
        """Post one body."""
        return self.post_all(path, [body])[0]

    def close(self) -> None:
        """Close all connections."""
        for n in range(len(self._sockets)):
            self._drop(n)

    def _again(self, n: int, message: bytes) -> Answer:
        for attempt in range(TRIES):
            self._drop(n)
            self._clock.sleep(PAUSE_SECONDS * (attempt + 1))
            if self._send(n, message) and (answer := self._receive(n)):
                return answer
        return NO_ANSWER

    def _send(self, n: int, message: bytes) -> bool:
        try:
            connection = self._sockets[n]
            if connection is None:
                connection = socket.create_connection(self._address, TIMEOUT_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets[n] = connection
            connection.sendall(message)
        except OSError:
            self._drop(n)
            return False
        return True

    def _receive(self, n: int) -> Answer | None:
        connection = self._sockets[n]
        if connection is None:
            return None
        try:
            content = connection.recv(BLOCK)
            while (end := content.find(END_OF_HEAD)) < 0:
                content += _more(connection)
            head = content[:end].lower()
            start = head.index(LENGTH) + len(LENGTH)
            length = int(head[start:].split(b"\r\n", 1)[0])
            body = content[end + len(END_OF_HEAD) :]
            while len(body) < length:
                body += _more(connection)
            return Answer(int(head.split(b" ", 2)[1]), body)
        except (OSError, ValueError):
            self._drop(n)
            return None

    def _drop(self, n: int) -> None:
        connection, self._sockets[n] = self._sockets[n], None
        if connection is not None:
            connection.close()


def _more(connection: socket.socket) -> bytes:
    found = connection.recv(BLOCK)
    if not found:
        raise ConnectionResetError
    return found
