"""One HTTP request and its answer, as an ASGI application sees them. Made by connection, a turn each."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Protocol

from trimtab.clock import Clock

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]

MOST_BUFFERED = 256 * 2**10
"""Bytes of a body that wait to be read before the client is made to wait."""
CLOSE, KEEP = b"connection: close\r\n", b"connection: keep-alive\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class Left(ConnectionResetError):
    """The client is gone: nothing can be sent to it."""


class DateHeader:
    """The header Date (RFC 9110, 6.6.1), formatted once a second. All connections of a worker share one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._line = b""
        self._until = float("-inf")

    def line(self, now: float) -> bytes:
        """Return the header with its line break. now: seconds of a monotonic clock, such as the event loop's."""
        if now >= self._until:
            date = self._clock.now()
            self._line = f"date: {format_datetime(date, usegmt=True)}\r\n".encode()
            self._until = now + 1.0 - date.microsecond / 1e6
        return self._line


class Writer(Protocol):
    """The connection, as a request needs it."""

    @property
    def last(self) -> bool:
        """Whether the connection closes behind the answer to the request whose turn it is."""
        ...

    @property
    def date(self) -> bytes:
        """The Date header."""
        ...

    def write(self, data: bytes) -> None:
        """Write, unless the client is gone."""
        ...

    def resume(self) -> None:
        """Read on, since the application waits for the client from now on."""
        ...


class Exchange:
    """A request, of which the body may still come. after: the header that says what becomes of the connection."""

    __slots__ = (
        "_body",
        "_buffered",
        "_connection",
        "_continued",
        "_start",
        "_told",
        "_waiter",
        "after",
        "answered",
        "begun",
        "gone",
        "is_complete",
        "scope",
    )

    def __init__(self, connection: Writer, scope: Scope, after: bytes) -> None:
        self.scope = scope
        self.after = after
        self.begun = self.is_complete = self.answered = False
        self._connection = connection
        self._body: list[bytes] = []
        self._buffered = 0
        self.gone = False
        self._continued = False
        self._told = False
        """Whether the application knows the end of the body."""
        self._start: Message = {}
        self._waiter: asyncio.Future[None] | None = None

    def take(self, part: bytes) -> bool:
        """Take a part of the body; tell whether the client should wait before it sends more."""
        self._continued = True  # it comes unasked
        self._body.append(part)
        self._buffered += len(part)
        self._wake()
        return self._buffered > MOST_BUFFERED

    def complete(self) -> None:
        """Note that all of the body has come."""
        self.is_complete = True
        self._wake()

    def leave(self) -> bool:
        """Note that the client is gone; tell whether the application hears of it, waiting in `receive`."""
        self.gone = True
        self._wake()
        return self._waiter is not None and (self._told or not self.is_complete)

    async def receive(self) -> Message:
        """Return what has come of the body since the last call; behind its end wait until the client is gone."""
        if not self._body and self.unwanted:
            self._continued = True
            self._connection.write(CONTINUE)
        while not self._body and not self.gone and (not self.is_complete or self._told):
            self._waiter = asyncio.get_running_loop().create_future()
            self._connection.resume()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._told or (self.gone and not self.is_complete):
            return {"type": "http.disconnect"}
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        self._told = self.is_complete
        return {"type": "http.request", "body": body, "more_body": not self.is_complete}

    async def send(self, message: Message) -> None:
        """Take the head of the answer, then write it together with the body. Raises Left."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body.clear()
        if self._connection.last or self.unwanted:
            self.after = CLOSE
        if self.gone:
            raise Left("the client is gone")
        body = b"" if self.scope["method"] == "HEAD" else message["body"]
        end = self._connection.date + self.after
        self._connection.write(answer(self._start["status"], self._start["headers"], end, body))
        self.answered = True

    @property
    def listens(self) -> bool:
        """Whether the application waits for more of the body."""
        return self._waiter is not None and not self.is_complete

    @property
    def unwanted(self) -> bool:
        """Whether the client still waits to be asked for its body."""
        return not self.is_complete and not self._continued and self._expects()

    def _expects(self) -> bool:
        if self.scope["http_version"] == "1.0":
            return False  # it would take the interim answer for the last one
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.scope["headers"])

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def answer(status: int, headers: Sequence[tuple[bytes, bytes]], end: bytes, body: bytes) -> bytes:
    """Return a whole answer as it goes over the wire. end: further headers, as lines."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([_STATUS[status], *lines, end, b"\r\n", body])
