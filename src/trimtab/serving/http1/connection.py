"""One HTTP/1.1 connection: reads requests with httptools, runs an ASGI application, writes each answer in one piece.

Made by server. A general server spends more on a small request than the model does, so this one knows what it serves:
an application that answers every request with one body (docs/decisions/0018). Requests that come before the one before
them is answered wait their turn; a body that comes faster than it is read waits in the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, MutableSet
from typing import cast

import httptools

from trimtab.serving.http1.exchange import CLOSE, CONTINUE, KEEP, DateHeader, Exchange, Left, Message, Scope, answer
from trimtab.serving.http1.targets import Targets

Asgi = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
"""An ASGI application that answers with one `http.response.body`."""

MOST_HEAD = 64 * 2**10
"""Bytes of a path and headers, and PER_HEADER for each header, as HTTP/2 counts them."""
PER_HEADER = 32
MOST_UNSEEN = 4 * MOST_HEAD
"""Bytes in a row that are neither of a body nor end a request: the parser keeps a header until its end."""
FRAMING = frozenset((b"host", b"transfer-encoding"))
"""Headers whose values are checked when they come; each may come once."""
MOST_WAITING = 1000
"""Requests of one client that wait for their turn, as many as come at once; what it sends behind them is not taken."""
KEEP_ALIVE_S = 75.0
"""Longer than the usual 60 s of clients and load balancers, so that it is they who close an idle connection."""
STALLED_S = 30.0
"""So long a client may take for the head of a request, and neither send more of a body nor take more of an answer."""
GOODBYE_S = 2.0
"""So long a closed connection waits for the client to confirm its end, as TLS has it; many idle clients do not look."""
MOST_THROWN = 256 * 2**20
"""Bytes that are thrown away behind an answer, so that a client which still sends does not lose it to a reset."""
ASK_S = 0.1
"""Between two looks whether a client that ended its side still waits for its answer."""

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """One client. Lives on one event loop, in `connections` while it is open.

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
        """The request whose body is coming."""
        self._turn: Exchange | None = None
        """The request that is being answered, or whose body still comes although it was."""
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = True
        self._last = False
        """Whether no further request is taken: the connection closes behind the answers that are due."""
        self._retiring = False
        """Whether the connection closes behind the next answer after which none is due."""
        self._ended = False
        """Whether the client has ended its side."""
        self._asked = False
        """Whether it was sent something since, which a client that is gone answers with a reset."""
        self._parting: float | None = None
        """When we ended our side; what comes since is thrown away until the client ends its own."""
        self._patience = GOODBYE_S
        self._thrown = 0
        """Bytes thrown away since the last request that was taken."""
        self._heard = loop.time()
        """When the client last sent or took something, as the loop's clock has it."""
        self._unsent = 0

    # called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        self._waiting.clear()
        self._reading = None
        turn, task = self._turn, self._task
        if turn is not None and not turn.gone and not turn.leave() and task is not None and not task.cancelling():
            task.cancel()  # it does not listen, and nobody is left to answer
        del self._parser  # it holds the connection: otherwise both would wait for the garbage collector

    def data_received(self, data: bytes) -> None:
        if self._last and self._reading is None:
            self._throw_away(len(data))
            return
        if self._turn is None or not self._turn.answered:  # what comes behind an answer keeps nobody waiting
            self._heard = self._loop.time()
        self._unseen += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            refusal = error.__context__
            if not isinstance(refusal, _Refusal):
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
        """Answer what came before the client ended its side; tell whether the connection stays open for that."""
        again, self._last, self._ended = self._ended, True, True  # it is read again when reading goes on
        self._abandon()
        stays = self._is_plain() and self._is_due()  # TLS has no such half
        if stays and not again:
            self._loop.call_later(ASK_S, self._ask)
        return stays

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._next()

    def _feed(self, data: bytes | memoryview) -> None:
        """Read on. That a client would like another protocol is nothing to us, but to the parser the end of HTTP."""
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
            # outside of the handler: an error below must have its own context, in which a refusal is looked for
            version, method = self._parser.get_http_version().encode(), self._parser.get_method()
            lines = [b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade"]
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._target, version, b"".join(lines))
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(head)

    # called by the parser

    def on_message_begin(self) -> None:
        self._target, self._headers, self._head_bytes, self._host = b"", [], 0, None
        self._head_began = self._loop.time()

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._count(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is None:  # trailers behind a body mean nothing here
            name, value = name.lower(), value.rstrip()  # the parser keeps spaces behind a value
            if name in FRAMING:
                self._check_framing(name, value)
            self._headers.append((name, value))
        self._count(len(name) + len(value) + PER_HEADER)

    def on_headers_complete(self) -> None:
        self._head_began = None
        if self._last:
            return
        parser = self._parser
        method = parser.get_method()
        if parser.should_upgrade() and method != b"CONNECT":
            return  # it comes again
        try:
            path, raw_path, query = self._targets.split(self._target)
        except httptools.HttpParserInvalidURLError:
            raise _Refusal(400, "malformed HTTP request: its target is no path") from None
        if method == b"CONNECT":
            raise _Refusal(400, "no connections to others are made here")
        if len(self._waiting) >= MOST_WAITING:
            raise _Refusal(429, f"{MOST_WAITING} requests wait before this one")
        version = parser.get_http_version()
        if version != "1.1":
            self._read_old(version)
        elif self._host is None:
            raise _Refusal(400, "the header Host is missing; HTTP/1.1 asks for one")
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

    def _check_framing(self, name: bytes, value: bytes) -> None:
        """Refuse a second Host, one that names no host, and transfer encodings but `chunked` (RFC 9112, 3.2 and 6.1).

        The parser itself refuses a second `chunked` and a second Content-Length.
        """
        if name == b"host":
            if self._host is not None:
                raise _Refusal(400, "the header Host came twice; expected one")
            if not self._targets.is_host(value):
                raise _Refusal(400, f"the header Host is '{value.decode('latin-1'):.100}'; expected NAME or NAME:PORT")
            self._host = value
            return
        if value.lower() != b"chunked":
            text = value.decode("latin-1")
            raise _Refusal(501, f"transfer encoding '{text:.100}' is not served; expected chunked, or Content-Encoding")

    def _read_old(self, version: str) -> None:
        """Take a request of HTTP/1.0, and no other. Chunks, unknown to it, end the connection (RFC 9112, 6.1)."""
        if version != "1.0":
            raise _Refusal(505, f"HTTP/{version} is not spoken here; expected HTTP/1.1")
        if any(name == b"transfer-encoding" for name, _ in self._headers):
            self._last = True

    def on_body(self, part: bytes) -> None:
        self._unseen = 0
        reading = self._reading
        if reading is None:
            return
        if reading.answered:  # nobody reads it
            self._throw_away(len(part))
        elif reading.take(part):
            self._pause()

    def on_message_complete(self) -> None:
        self._unseen = self._thrown = 0
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        exchange.complete()
        if not exchange.begun:
            self._take(exchange)
        elif exchange is self._turn and self._task is None:
            self._leave(exchange)  # it was answered before all of it had come

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD:
            raise _Refusal(431, f"the path and the headers are longer than {MOST_HEAD} bytes")

    # taking turns

    def _take(self, exchange: Exchange) -> None:
        """Answer a request now, or when those before it are answered."""
        exchange.begun = True
        if self._turn is None and self._writable:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            self._pause()

    def _begin(self, exchange: Exchange) -> None:
        self._turn = exchange
        self._task = self._loop.create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._application(exchange.scope, exchange.receive, exchange.send)
        except Left:
            pass  # nobody is left to answer
        except Exception:  # the application answers its own errors; this is a fault of it
            logger.exception("%s %s was not answered", exchange.scope["method"], exchange.scope["path"])
        finally:
            self._task = None
            if not exchange.answered and not exchange.gone:
                self.abort()
            elif exchange.is_complete or exchange.gone or exchange.unwanted:
                self._leave(exchange)
            else:
                self._read_on()  # and throw the rest of its body away, or its sender would see a reset

    def _leave(self, exchange: Exchange) -> None:
        """Close behind an answer, or go on to the next request."""
        self._turn = None
        if not exchange.is_complete or (self._last and self._is_idle()):
            self._part()
        elif exchange.after is CLOSE and not self._retiring:
            self.close()  # as the client asked: it sends no more
        elif exchange.after is CLOSE:
            self._part()
        else:
            self._next()

    def _next(self) -> None:
        if self._turn is not None or not self._writable:
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            if self._head_began is not None:  # until now it was we who kept the client waiting
                self._head_began = self._loop.time()
            self._read_on()

    def _is_idle(self) -> bool:
        return self._turn is None and self._reading is None and not self._waiting

    def _is_due(self) -> bool:
        """Return whether a request that came whole is to be answered."""
        return bool(self._waiting) or (self._turn is not None and not self._turn.gone)

    def _refuse(self, status: int, text: str) -> None:
        """Answer what is no request, when nothing is due before it, and close."""
        self._last = True
        self._abandon()
        if self._is_due():
            self._read_on()  # what comes now is thrown away; left in the kernel it would make of the close a reset
            return
        if self._turn is None or not self._turn.answered:
            body = self._encode_error(status, text)
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            self.write(answer(status, head, self.date + CLOSE, body))
        self._patience = STALLED_S
        self._part()

    def _abandon(self) -> None:
        """Give up the request whose body was coming."""
        reading, self._reading = self._reading, None
        if reading is None:
            return
        reading.leave()
        if self._waiting and self._waiting[-1] is reading:
            self._waiting.pop()

    # ending

    def _part(self) -> None:
        """End our side when all is written, and close when the client has ended its own.

        A connection that is closed while its client still sends is reset by the kernel, and the client may lose its
        answer. TLS has a farewell of its own, during which the transport throws away what comes.
        """
        self._abandon()
        self._head_began = None
        transport = self._transport
        if transport is None or transport.is_closing() or self._parting is not None:
            return
        if self._ended or not self._is_plain():
            self.close()
            return
        self._last = True
        self._parting = self._heard = self._loop.time()
        self._patience = GOODBYE_S
        transport.write_eof()
        transport.resume_reading()

    def _throw_away(self, size: int) -> None:
        """Count what nobody reads; close when it is too much."""
        if self._parting is not None:
            self._heard = self._loop.time()
        self._thrown += size
        if self._thrown > MOST_THROWN:
            self.close()

    def _ask(self) -> None:
        """Find out whether a client that ended its side is gone altogether: both look the same.

        An interim answer does no harm to one that waits, and one that is gone sends a reset.
        """
        transport, turn = self._transport, self._turn
        if transport is None or transport.is_closing() or self._is_idle():
            return
        if transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
            return
        if not self._asked and turn is not None and turn.scope["http_version"] != "1.0":
            self._asked = True
            self.write(CONTINUE)
        self._loop.call_later(ASK_S, self._ask)

    def _is_plain(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    # called by exchanges and by the server

    @property
    def last(self) -> bool:
        """Whether the connection closes behind the answer to the request whose turn it is."""
        return (self._last or self._retiring) and not self._waiting

    @property
    def date(self) -> bytes:
        """The Date header."""
        return self._date.line(self._loop.time())

    def write(self, data: bytes) -> None:
        """Write, unless the client is gone or has its last answer."""
        if self._transport is not None and self._parting is None:
            self._heard = self._loop.time()
            self._transport.write(data)

    def resume(self) -> None:
        """Read on, since the application waits for the client from now on."""
        self._heard = self._loop.time()
        self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def overdue(self, now: float) -> bool:
        """Return whether the client has kept the connection waiting for too long. now: as the loop's clock has it."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._heard = unsent, now
            if self._parting is not None:
                self._parting = now
        if self._head_began is not None and self._turn is None and not self._waiting:
            return now - self._head_began > STALLED_S
        if self._task is not None and not unsent and (self._turn is None or not self._turn.listens):
            return False  # the application has a limit of its own
        if unsent or not self._is_idle():
            return now - self._heard > STALLED_S
        if self._parting is not None and now - self._parting > STALLED_S:
            return True
        return now - self._heard > (self._patience if self._last else KEEP_ALIVE_S)

    def expire(self) -> None:
        """Close what is overdue; a client whose request does not come is told so."""
        half = self._head_began is not None or (self._reading is not None and not self._reading.answered)
        if not half or self._unsent or self._waiting or self._parting is not None:
            self.abort()
        else:
            self._refuse(408, "the request did not come whole in time")

    def retire(self) -> None:
        """Close behind the next answer, which tells the client so."""
        self._retiring = True

    def finish(self) -> None:
        """Take no further request, and close behind the answers that are due."""
        self._last = True
        self._patience = GOODBYE_S
        if self._parting is not None:
            return
        if self._is_idle():
            self.close()
        elif self._reading is None:
            self._read_on()  # and throw away what comes, as after a refusal

    def cancel(self) -> None:
        """End what is under way without an answer, and close."""
        if self._task is not None:
            self._task.cancel()
        self.abort()

    def close(self) -> None:
        """Close when all is written."""
        self._last = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._last = True
        if self._transport is not None:
            self._transport.abort()


class _Refusal(Exception):
    """A request that cannot be read: status and text."""
