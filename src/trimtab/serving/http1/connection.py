"""One HTTP/1.1 connection: reads requests with httptools, runs an ASGI application, writes its answers.

It supports only what the gateway needs: answers in one piece, and streamed ones, whose parts leave at once. A general
server spends more time on a small request than the model does (docs/decisions/0018). Pipelined requests are queued and
answered in order; a body that arrives faster than the application reads it waits in the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, MutableSet
from typing import cast

import httptools

from trimtab.serving.http1.exchange import CLOSE, CONTINUE, KEEP, DateHeader, Exchange, Gone, Message, Scope, answer
from trimtab.serving.http1.framing import Refusal, check_coding, check_host, is_last_of_old
from trimtab.serving.http1.targets import Targets

Asgi = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
"""An ASGI application. All parts of a streamed answer have the key `more_body`, False in the last one; a body without
it is a whole answer, whose length the application gives."""

MOST_HEAD = 64 * 2**10
"""Largest head of a request: bytes of the path and headers, plus PER_HEADER for each header, as HTTP/2 counts."""
PER_HEADER = 32
MOST_UNSEEN = 4 * MOST_HEAD
"""Most consecutive bytes without body data or the end of a request: the parser buffers an unfinished header."""
MOST_WAITING = 1000
"""Pipelined requests of one connection that are queued; the connection closes after these."""
KEEP_ALIVE_S = 75.0
"""Longer than the usual 60 s of clients and load balancers, so that these close an idle connection first."""
STALLED_S = 30.0
"""Longest time for the head of a request, and longest pause in receiving a body or sending an answer."""
GOODBYE_S = 2.0
"""How long a closing connection waits for the client to close its side; many idle clients never do."""
MOST_DISCARDED = 256 * 2**20
"""Most bytes that are discarded after an answer. Without discarding, a reset could destroy the answer."""
MOST_UNSENT, RESUMED_BELOW = 2**20, 2**18
"""Bytes of a streamed answer that wait for a slow reader; then `send` waits until fewer than RESUMED_BELOW do."""
PROBE_S = 0.1
"""Interval of the probes of a half-closed connection."""

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """One connection. Belongs to one event loop, and is in `connections` while it is open.

    encode_error: writes the JSON body of a refusal from its status and text.
    """

    def __init__(
        self,
        application: Asgi,
        loop: asyncio.AbstractEventLoop,
        connections: MutableSet[Connection],
        targets: Targets,
        date: DateHeader,
        encode_error: Callable[[int, str], bytes],
    ) -> None:
        self._application = application
        self._encode_error = encode_error
        self._loop = loop
        self._connections = connections
        self._targets = targets
        self._date = date
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._host: bytes | None = None
        self._head_began: float | None = None
        self._unseen = 0
        self._reading: Exchange | None = None
        """The request whose body is being received."""
        self._current: Exchange | None = None
        """The request that is being answered, or was answered before all of its body had arrived."""
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = True
        self._drained: asyncio.Future[None] | None = None
        """Done when a streamed answer may go on."""
        self._last = False
        """Whether no further request is accepted: the connection closes after the pending answers."""
        self._retiring = False
        """Whether the connection closes after the next answer that leaves none pending."""
        self._ended = False
        """Whether the client has closed its side."""
        self._probed = False
        """Whether a probe was sent since; a disconnected client answers it with a reset."""
        self._closing_at: float | None = None
        """When this side was closed; later data is discarded until the client closes its side."""
        self._patience = GOODBYE_S
        self._discarded = 0
        """Bytes discarded since the last accepted request."""
        self._active_at = loop.time()
        """When the client last sent or received something, by the loop's clock."""
        self._unsent = 0

    # callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        self._waiting.clear()
        self._reading = None
        now, task = self._current, self._task
        if now is not None and not now.gone and not now.leave() and task is not None and not task.cancelling():
            task.cancel()  # the application does not wait in `receive`, so this is how it learns of the disconnect
        self._go_on()
        del self._parser  # breaks a reference cycle, so that both are freed without the garbage collector

    def data_received(self, data: bytes) -> None:
        if self._last and self._reading is None:
            self._discard(len(data))
            return
        if self._current is None or not self._current.answered:  # data after an answer is no progress
            self._active_at = self._loop.time()
        self._unseen += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            if not isinstance(refusal, Refusal):
                raise
            self._refuse(*refusal.args)
        except httptools.HttpParserError as error:
            self._refuse(400, f"malformed HTTP request: {error}")
        else:
            if self._reading is not None and not self._reading.begun:
                self._take(self._reading)
            if self._unseen > MOST_UNSEEN:
                self._refuse(431, f"{MOST_UNSEEN} bytes came that end no header and no chunk's head")

    def eof_received(self) -> bool:
        """Return True if the connection stays open after the client closed its side, to answer pending requests."""
        again, self._last, self._ended = self._ended, True, True  # the loop calls this again when reading resumes
        self._abandon()
        stays = self._is_plain() and self._has_pending()  # TLS connections have no half-closed state
        if stays and not again:
            self._loop.call_later(PROBE_S, self._probe)
        return stays

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._go_on()
        self._next()

    def _go_on(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse data. The parser stops at an Upgrade header, which is not supported: parse again without it."""
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            # outside of the handler, so that an error below has its own context, which `data_received` reads
            version, method = self._parser.get_http_version().encode(), self._parser.get_method()
            lines = [b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade"]
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._target, version, b"".join(lines))
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)

    # callbacks of the parser

    def on_message_begin(self) -> None:
        self._target, self._headers, self._head_bytes, self._host = b"", [], 0, None
        self._head_began = self._loop.time()

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._count(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is None:  # trailers after a body are ignored
            name, value = name.lower(), value.rstrip()  # the parser keeps spaces behind a value
            if name == b"host":
                check_host(value, self._host, self._targets)
                self._host = value
            elif name == b"transfer-encoding":
                check_coding(value)
            self._headers.append((name, value))
        self._count(len(name) + len(value) + PER_HEADER)

    def on_headers_complete(self) -> None:
        self._head_began = None
        if self._last:
            return
        parser = self._parser
        method = parser.get_method()
        if parser.should_upgrade() and method != b"CONNECT":
            return  # `_feed` parses this request again
        try:
            path, raw_path, query = self._targets.split(self._target)
        except httptools.HttpParserInvalidURLError:
            raise Refusal(400, "malformed HTTP request: its target is no path") from None
        if method == b"CONNECT":
            raise Refusal(400, "CONNECT is not supported")
        if len(self._waiting) >= MOST_WAITING:
            raise Refusal(429, f"{MOST_WAITING} requests wait before this one")
        version = parser.get_http_version()
        if version != "1.1":
            self._last = is_last_of_old(version, self._headers) or self._last
        elif self._host is None:
            raise Refusal(400, "the header Host is missing; HTTP/1.1 asks for one")
        scope: Scope = {
            "type": "http",
            "http_version": version,
            "method": method.decode(),
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
        }
        stays = KEEP if version == "1.0" else b""
        self._reading = Exchange(self, scope, stays if parser.should_keep_alive() else CLOSE)

    def on_body(self, part: bytes) -> None:
        self._unseen = 0
        reading = self._reading
        if reading is None:
            return
        if reading.answered:  # the application no longer reads it
            self._discard(len(part))
        elif reading.take(part):
            self._pause()

    def on_message_complete(self) -> None:
        self._unseen = self._discarded = 0
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        exchange.complete()
        if not exchange.begun:
            self._take(exchange)
        elif exchange is self._current and self._task is None:
            self._leave(exchange)  # it was answered before all of its body had arrived

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD:
            raise Refusal(431, f"the path and the headers are longer than {MOST_HEAD} bytes")

    # the queue of requests

    def _take(self, exchange: Exchange) -> None:
        """Answer a request now, or queue it behind earlier ones."""
        exchange.begun = True
        if self._current is None and self._writable:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            self._pause()

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._task = self._loop.create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._application(exchange.scope, exchange.receive, exchange.send)
        except Gone:
            pass  # the client has disconnected
        except Exception:  # the application answers its own errors, so this is a bug in it
            logger.exception("%s %s was not answered", exchange.scope["method"], exchange.scope["path"])
        finally:
            self._task = None
            if not exchange.answered and not exchange.gone:
                self.abort()
            elif exchange.is_complete or exchange.gone or exchange.unwanted:
                self._leave(exchange)
            else:
                self._read_on()  # and discard the rest of its body: unread data would cause a reset

    def _leave(self, exchange: Exchange) -> None:
        """After an answer: close, or answer the next request."""
        self._current = None
        if not exchange.is_complete or (self._last and self._is_idle()):
            self._end()
        elif exchange.after is CLOSE and not self._retiring:
            self.close()  # as the client asked; it sends no more
        elif exchange.after is CLOSE:
            self._end()
        else:
            self._next()

    def _next(self) -> None:
        if self._current is not None or not self._writable:
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            if self._head_began is not None:  # the time until now was the gateway's
                self._head_began = self._loop.time()
            self._read_on()

    def _is_idle(self) -> bool:
        return self._current is None and self._reading is None and not self._waiting

    def _has_pending(self) -> bool:
        """Return True if a complete request is still unanswered."""
        return bool(self._waiting) or (self._current is not None and not self._current.gone)

    def _refuse(self, status: int, text: str) -> None:
        """Refuse malformed data after the pending answers, and close."""
        self._last = True
        self._abandon()
        if self._has_pending():
            self._read_on()  # later data is discarded: left in the kernel, it would turn the close into a reset
            return
        if self._current is not None and self._current.streams and not self._current.answered:
            self.abort()  # its answer has begun, and only its end would be missing
            return
        if self._current is None or not self._current.answered:
            body = self._encode_error(status, text)
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            self.write(answer(status, head, self.date + CLOSE, body))
        self._patience = STALLED_S
        self._end()

    def _abandon(self) -> None:
        """Drop the request whose body is being received."""
        reading, self._reading = self._reading, None
        if reading is None:
            return
        reading.leave()
        if self._waiting and self._waiting[-1] is reading:
            self._waiting.pop()

    # closing

    def _end(self) -> None:
        """Close this side once all is written, and the connection once the client has closed its side.

        If a connection is closed while its client still sends, the kernel resets it, and the client may lose its
        answer. TLS has a closing handshake of its own, during which the transport discards received data.
        """
        self._abandon()
        self._head_began = None
        transport = self._transport
        if transport is None or transport.is_closing() or self._closing_at is not None:
            return
        if self._ended or not self._is_plain():
            self.close()
            return
        self._last = True
        self._closing_at = self._active_at = self._loop.time()
        self._patience = GOODBYE_S
        transport.write_eof()
        transport.resume_reading()

    def _discard(self, size: int) -> None:
        """Count discarded bytes; close the connection at MOST_DISCARDED."""
        if self._closing_at is not None:
            self._active_at = self._loop.time()
        self._discarded += size
        if self._discarded > MOST_DISCARDED:
            self.close()

    def _probe(self) -> None:
        """Probe a half-closed connection with `100 Continue` to tell half-close from disconnect.

        A waiting client ignores the interim answer; a disconnected one causes a reset.
        """
        transport, current = self._transport, self._current
        if transport is None or transport.is_closing() or self._is_idle():
            return
        if transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
            return
        probes = current is not None and current.scope["http_version"] != "1.0" and not current.streams
        if not self._probed and probes:
            self._probed = True
            self.write(CONTINUE)
        self._loop.call_later(PROBE_S, self._probe)

    def _is_plain(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    # methods for exchanges and for the server

    @property
    def last(self) -> bool:
        """Whether the connection closes after the answer to the current request."""
        return (self._last or self._retiring) and not self._waiting

    @property
    def date(self) -> bytes:
        """The Date header."""
        return self._date.line(self._loop.time())

    def write(self, data: bytes) -> None:
        """Send data, unless the client has disconnected or this side is closed."""
        if self._transport is not None and self._closing_at is None:
            self._active_at = self._loop.time()
            self._transport.write(data)

    def begin_stream(self) -> None:
        """Let MOST_UNSENT bytes wait for the client."""
        if self._transport is not None:
            self._transport.set_write_buffer_limits(MOST_UNSENT, RESUMED_BELOW)

    async def drained(self) -> None:
        """Wait while more than MOST_UNSENT bytes are unsent, until fewer than RESUMED_BELOW are or the client is gone.

        No-op for a client that reads in time.
        """
        while not self._writable and self._transport is not None:
            self._drained = self._loop.create_future()
            await self._drained

    def resume(self) -> None:
        """Resume reading: the application now waits for the client."""
        self._active_at = self._loop.time()
        self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def overdue(self, now: float) -> bool:
        """Return True if the client has exceeded a time limit. now: by the loop's clock."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._active_at = unsent, now
            if self._closing_at is not None:
                self._closing_at = now
        if self._head_began is not None and self._current is None and not self._waiting:
            return now - self._head_began > STALLED_S
        if self._task is not None and not unsent and (self._current is None or not self._current.listens):
            return False  # the application has its own time limit
        if unsent or not self._is_idle():
            return now - self._active_at > STALLED_S
        if self._closing_at is not None and now - self._closing_at > STALLED_S:
            return True
        return now - self._active_at > (self._patience if self._last else KEEP_ALIVE_S)

    def expire(self) -> None:
        """Close an overdue connection, with a 408 if a request has arrived in part."""
        half = self._head_began is not None or (self._reading is not None and not self._reading.answered)
        if not half or self._unsent or self._waiting or self._closing_at is not None:
            self.abort()
        else:
            self._refuse(408, "the request did not arrive in time")

    def retire(self) -> None:
        """Close after the next answer, which says `Connection: close`."""
        self._retiring = True

    def finish(self) -> None:
        """Accept no further request, and close after the pending answers."""
        self._last = True
        self._patience = GOODBYE_S
        if self._closing_at is not None:
            return
        if self._is_idle():
            self.close()
        elif self._reading is None:
            self._read_on()  # and discard later data, as after a refusal

    def cancel(self) -> None:
        """Cancel the current request without an answer, and close."""
        if self._task is not None:
            self._task.cancel()
        self.abort()

    def close(self) -> None:
        """Close once all is written."""
        self._last = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._last = True
        if self._transport is not None:
            self._transport.abort()
