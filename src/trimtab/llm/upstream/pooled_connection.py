"""One client connection, HTTP/1.1: sends a request, and gives the answer's status, headers and body as they arrive."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

import httptools

MOST_HEAD = 256 * 2**10
"""Most bytes of an answer before its body."""
MOST_UNREAD = 256 * 2**10
"""Bytes of a streamed body that wait to be read; then the connection is read no further."""
NO_BODY = (204, 304)


class Broken(Exception):
    """The connection ended, or what came is no HTTP. fresh: no byte of an answer had come."""

    def __init__(self, reason: str, *, fresh: bool = False) -> None:
        super().__init__(reason)
        self.fresh = fresh


class PooledConnection(asyncio.Protocol):
    """A connection that asks one thing at a time. Belongs to one event loop. httptools calls the methods `on_...`.

    deadline: by the loop's clock; a wait that passes it raises TimeoutError.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wanted: Literal["head", "part", "whole"] = "head"
        self._timer: asyncio.TimerHandle | None = None
        self._broken: Broken | None = None
        self._paused = False
        self._busy = False
        self.deadline = 0.0
        self.idle_since = 0.0
        self.requests = 0
        """How many were sent, the present one among them."""
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.has_head = False
        self.is_complete = False
        self._received = 0
        self._head_bytes = 0
        self._parts: list[bytes] = []
        self._unread = 0
        self._until_close = False
        self._keeps_alive = False

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and self._broken is None and not self._transport.is_closing()

    @property
    def may_stay(self) -> bool:
        """Whether another request can follow the one that was answered."""
        return self.is_open and self.is_complete and self._keeps_alive

    def send(self, *parts: bytes) -> None:
        """Send a request whole, in one write."""
        assert self._transport is not None
        self._reset()
        self._busy = True
        self.requests += 1
        self._transport.write(b"".join(parts))

    @property
    def is_sent(self) -> bool:
        """Whether the kernel has taken all of the request."""
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    async def head(self) -> int:
        """Wait for the status. Raises Broken, TimeoutError."""
        while not self.has_head:
            await self._wait("head")
        return self.status

    async def part(self) -> bytes:
        """Wait for more of the body; b"" at its end. Raises Broken, TimeoutError."""
        while not self._parts and not self.is_complete:
            await self._wait("part")
        return self._take()

    async def whole(self) -> bytes:
        """Wait for all of the body. Raises Broken, TimeoutError."""
        while not self.is_complete:
            await self._wait("whole")
        return self._take()

    def finish(self) -> None:
        """Note that the answer was taken, and when."""
        self._busy = False
        self.idle_since = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Hang up at once."""
        self.finish()
        if self._transport is not None:
            self._transport.abort()

    # callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self.is_complete:
            self._break(Broken("data came without a request"))
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break(Broken("it answers in another protocol"))
        except httptools.HttpParserError as error:
            self._break(Broken(f"its answer is no HTTP ({type(error).__name__})"))
        if not self.has_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD:
                self._break(Broken(f"the headers of its answer are longer than {MOST_HEAD} bytes"))
        self._wake()

    def eof_received(self) -> None:
        if self.has_head and self._until_close:
            self.is_complete = True
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.has_head and self._until_close and exc is None:
            self.is_complete = True
        if not self.is_complete:
            self._broken = self._broken or Broken("the connection ended", fresh=self._received == 0)
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        del self._parser  # breaks a reference cycle

    # callbacks of the parser

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise Broken("more came than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # trailers are passed over
            self.headers[name.lower()] = value.strip()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer
            self.headers = {}
            return
        self.has_head = True
        framed = b"content-length" in self.headers or b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        self._until_close = not framed and self.status not in NO_BODY

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._unread += len(part)
        if self._unread > MOST_UNREAD and self._wanted != "whole" and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_complete = True
            self._keeps_alive = not self._until_close and self._parser.should_keep_alive()

    # waiting

    def _take(self) -> bytes:
        parts, self._parts, self._unread = self._parts, [], 0
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _wait(self, wanted: Literal["head", "part", "whole"]) -> None:
        if self._broken is not None:
            raise self._broken
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self._wanted = wanted
        self._waiter = self._loop.create_future()
        if self._timer is None or self._timer.when() > self.deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self.deadline, self._look)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look(self) -> None:
        """Fail a wait whose deadline has passed; a later deadline is looked at then."""
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self.deadline:
            self._timer = self._loop.call_at(self.deadline, self._look)
        else:
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if (
            self._broken is not None
            or self.is_complete
            or (self._wanted == "head" and self.has_head)
            or (self._wanted == "part" and self._parts)
        ):
            waiter.set_result(None)

    def _break(self, why: Broken) -> None:
        self._broken = self._broken or why
        if self._transport is not None:
            self._transport.abort()
        self._wake()
