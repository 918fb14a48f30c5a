"""One HTTP request and its answer, as an ASGI application sees them."""

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
"""Bytes of a body that are buffered before reading from the client pauses."""
CLOSE, KEEP = b"connection: close\r\n", b"connection: keep-alive\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_STATUS = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class Gone(ConnectionResetError):
    """The client has disconnected: nothing can be sent to it."""


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
    """The part of a connection that a request uses."""

    @property
    def last(self) -> bool:
        """Whether the connection closes after the answer to the current request."""
        ...

    @property
    def date(self) -> bytes:
        """The Date header."""
        ...

    def write(self, data: bytes) -> None:
        """Send data, unless the client has disconnected."""
        ...

    def resume(self) -> None:
        """Resume reading: the application now waits for the client."""
        ...

    def begin_stream(self) -> None:
        """Let more unsent bytes wait before `drained` does."""
        ...

    async def drained(self) -> None:
        """Wait while too many bytes are unsent, until the client has read some or is gone."""
        ...


class Exchange:
    """A request, whose body may still arrive. after: the header line `Connection` of its answer."""

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
        "streams",
    )

    def __init__(self, connection: Writer, scope: Scope, after: bytes) -> None:
        self.scope = scope
        self.after = after
        self.begun = self.is_complete = self.answered = False
        self.streams = False
        """Whether the head of an answer was sent whose body follows in parts."""
        self._connection = connection
        self._body: list[bytes] = []
        self._buffered = 0
        self.gone = False
        self._continued = False
        self._told = False
        """Whether the application has received the end of the body."""
        self._start: Message = {}
        self._waiter: asyncio.Future[None] | None = None

    def take(self, part: bytes) -> bool:
        """Add a part of the body; return True if reading from the client should pause."""
        self._continued = True  # the client did not wait for `100 Continue`
        self._body.append(part)
        self._buffered += len(part)
        self._wake()
        return self._buffered > MOST_BUFFERED

    def complete(self) -> None:
        """Mark the body as complete."""
        self.is_complete = True
        self._wake()

    def leave(self) -> bool:
        """Mark the client as disconnected; return True if the application waits in `receive`, which tells it."""
        self.gone = True
        self._wake()
        return self._waiter is not None and (self._told or not self.is_complete)

    async def receive(self) -> Message:
        """Return the body received since the last call; after its end, wait until the client disconnects."""
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
        """Keep the head of the answer, then send it together with the body, or with its first part. Raises Gone.

        A part is one chunk of its own (RFC 9112, 7.1), and one write. HTTP/1.0 knows no chunks: there the end of the
        connection is the end of the body.
        """
        if message["type"] == "http.response.start":
            self._start = message
            return
        if "more_body" in message:
            await self._send_part(message["body"], message["more_body"])
            return
        self._body.clear()
        if self._connection.last or self.unwanted:
            self.after = CLOSE
        if self.gone:
            raise Gone("the client has disconnected")
        body = b"" if self.scope["method"] == "HEAD" else message["body"]
        end = self._connection.date + self.after
        self._connection.write(answer(self._start["status"], self._start["headers"], end, body))
        self.answered = True

    async def _send_part(self, part: bytes, more: bool) -> None:
        if self.gone:
            raise Gone("the client has disconnected")
        chunks = self.scope["http_version"] != "1.0"
        written = b""
        if self.scope["method"] != "HEAD":
            written = b"%x\r\n%b\r\n" % (len(part), part) if part and chunks else part
            written += LAST_CHUNK if chunks and not more else b""
        if not self.streams:
            self._body.clear()
            if self._connection.last or self.unwanted or not chunks:
                self.after = CLOSE
            self.streams = True
            self._connection.begin_stream()
            end = self._connection.date + (CHUNKED if chunks else b"") + self.after
            written = answer(self._start["status"], self._start["headers"], end, written)
        if written:
            self._connection.write(written)
        if not more:
            self.answered = True
            return
        await self._connection.drained()
        if self.gone:
            raise Gone("the client has disconnected")

    @property
    def listens(self) -> bool:
        """Whether the application waits for more of the body."""
        return self._waiter is not None and not self.is_complete

    @property
    def unwanted(self) -> bool:
        """Whether the client still waits for `100 Continue` before it sends the body."""
        return not self.is_complete and not self._continued and self._expects()

    def _expects(self) -> bool:
        if self.scope["http_version"] == "1.0":
            return False  # HTTP/1.0 knows no interim answers
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.scope["headers"])

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def answer(status: int, headers: Sequence[tuple[bytes, bytes]], end: bytes, body: bytes) -> bytes:
    """Return a complete answer in bytes. end: further header lines."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([_STATUS[status], *lines, end, b"\r\n", body])
