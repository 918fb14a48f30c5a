"""The HTTP/1.1 connection compared with h11, which reads the same bytes as a server and our answers as a client.

Both must find the same requests. The connection may refuse more than h11 does: see STRICTER. It refuses all that h11
refuses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import h11
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trimtab.clock import SystemClock
from trimtab.serving.endpoints import encode_error
from trimtab.serving.http1.connection import Connection
from trimtab.serving.http1.exchange import DateHeader, Scope
from trimtab.serving.http1.targets import Targets
from unit.serving.http1.sockets import Receive, Send, reply, whole

PLAIN = b"host: x\r\n"
STRICTER = {
    "a Content-Length that comes twice": PLAIN + b"content-length: 2\r\ncontent-length: 2\r\n\r\nab",
    "a list of equal lengths": PLAIN + b"content-length: 2, 2\r\n\r\nab",
    "a length and chunks": PLAIN + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "lines that end with LF alone": PLAIN.replace(b"\r\n", b"\n") + b"\n",
    "a header folded over two lines": PLAIN + b"a: b\r\n c\r\n\r\n",
    "a Host that is no host": b"host: a/b\r\n\r\n",
    "a length among the trailers": PLAIN + b"transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 2\r\n\r\n",
}
"""What the connection refuses although h11 takes it: a proxy in front may read it in another way."""


METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH")
"""The connection's parser knows the registered methods; h11 takes any word."""
LAXER = re.compile(rb"(?:\r|(?<!\r\n\r)\n|\n\r\n\r\n)(?:%b)|(?:%b)  |  HTTP" % ((b"|".join(METHODS),) * 2))
"""What the connection takes although h11 refuses it: ends of lines before a request, and two spaces around its target.
RFC 9112 (2.2 and 3) allows both."""


@dataclass
class Taken:
    """A request as a server found it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""


@dataclass
class Reading:
    """What a server made of a stream of bytes."""

    requests: list[Taken] = field(default_factory=list)
    is_refused: bool = False
    """Whether what comes behind the requests is refused. Known of h11 alone: the connection answers a refusal only
    when no other answer is due."""
    is_closed: bool = False
    is_midway: bool = False
    """Whether a part of another request came."""
    sent: bytes = b""


def read_with_h11(pieces: Sequence[bytes]) -> Reading:
    """Return what h11 makes of the bytes, with an answer to each request before the next one is read."""
    server, reading = h11.Connection(h11.SERVER), Reading()
    try:
        for piece in pieces:
            server.receive_data(piece)
            while (event := server.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Request):
                    request, body = event, b""
                    if request.method not in METHODS:
                        reading.is_refused = True
                        return reading
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    reading.requests.append(Taken(request.method, request.target, alike(request.headers), body))
                    server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                    server.send(h11.EndOfMessage())
                    if server.our_state is not h11.MUST_CLOSE:
                        server.start_next_cycle()
                    elif is_kept_alive(request):
                        rest, server = server.trailing_data[0], h11.Connection(h11.SERVER)
                        if rest:  # no bytes would be the end of the client's side
                            server.receive_data(rest)
                    else:
                        reading.is_closed = True
                        return reading
    except h11.RemoteProtocolError:
        reading.is_refused = True
    reading.is_midway = server.their_state is not h11.IDLE or server.trailing_data[0] != b""
    return reading


def is_kept_alive(request: h11.Request) -> bool:
    """Return whether the connection keeps a client of HTTP/1.0, which h11 does not."""
    headers = dict(request.headers)
    asks = request.http_version == b"1.0" and headers.get(b"connection") == b"keep-alive"
    return asks and b"transfer-encoding" not in headers


def alike(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers as both have them: h11 writes codings small, and the connection drops `upgrade`."""
    written = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers]
    return [(name, value) for name, value in written if name != b"upgrade"]


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_paused = self.is_ended = self.is_closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def write_eof(self) -> None:
        self.is_ended = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_ended = self.is_closed = True

    abort = close


def read_with_ours(pieces: Sequence[bytes]) -> Reading:
    """Return what the connection makes of the bytes. Each request is answered with its own body."""
    reading, wire = Reading(), Wire()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        with suppress(ConnectionResetError):  # its body does not come whole
            body = await whole(receive)
            reading.requests.append(Taken(scope["method"].encode(), target, alike(scope["headers"]), body))
            await reply(send, body)

    async def converse() -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(application, loop, set(), Targets(), DateHeader(SystemClock()), encode_error)
        connection.connection_made(wire)
        for piece in pieces:
            await settle()
            if not wire.is_closed:
                connection.data_received(piece)
        await settle()
        connection.connection_lost(None)
        await settle()

    async def settle() -> None:
        unchanged = 0
        while unchanged < 5 or (wire.is_paused and unchanged < 1_000):
            before = len(reading.requests), wire.sent
            await asyncio.sleep(0)
            unchanged = unchanged + 1 if before == (len(reading.requests), wire.sent) else 0

    asyncio.run(converse())
    reading.sent, reading.is_closed = wire.sent, wire.is_ended
    return reading


def check_answers(reading: Reading) -> None:
    """Read what the connection sent with h11 as a client: an answer to each request, then a refusal or nothing."""
    rest = reading.sent
    for taken in [*reading.requests, None]:
        if not rest:
            assert taken is None
            return
        client = h11.Connection(h11.CLIENT)
        method = b"GET" if taken is None else taken.method
        client.send(h11.Request(method=method, target=b"/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(rest)
        response = client.next_event()
        while isinstance(response, h11.InformationalResponse):
            response = client.next_event()
        if taken is None and response is h11.NEED_DATA:
            return  # it was asked for a body, which has not come
        assert isinstance(response, h11.Response)
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        if taken is None:
            assert response.status_code >= 400
            assert (b"connection", b"close") in list(response.headers)
            assert reading.is_closed
        else:
            assert (response.status_code, body) == (200, b"" if method == b"HEAD" else taken.body)
        rest = client.trailing_data[0]
    assert not rest


def compare(pieces: Sequence[bytes], *, may_refuse: bool) -> None:
    """Compare both servers. may_refuse: whether the connection may refuse what h11 takes."""
    theirs, ours = read_with_h11(pieces), read_with_ours(pieces)
    check_answers(ours)
    both = min(len(ours.requests), len(theirs.requests))
    assert ours.requests[:both] == theirs.requests[:both]
    assert len(ours.requests) == both
    if len(theirs.requests) > both:
        assert may_refuse
        assert ours.is_closed
    elif theirs.is_refused or theirs.is_closed:
        assert ours.is_closed
    elif ours.is_closed:
        assert may_refuse or theirs.is_midway  # h11 looks at whole lines, the connection at each byte


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0189!#$%&'*+-.^_`|~", min_size=1, max_size=12)
TEXT = st.text("abcxyzABC0189 \t!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~\xe9", max_size=20).map(str.strip)
SPACE = st.sampled_from(("", " ", "  ", "\t"))
KNOWN = {"host", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "proxy-connection"}
HEADER = st.tuples(TOKEN.filter(lambda name: name.lower() not in KNOWN), st.just(":"), SPACE, TEXT, SPACE)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Return a body in chunks, with extensions and trailers."""
    parts, place = [], 0
    while place < len(body):
        size = draw(st.integers(1, len(body) - place))
        extension = draw(st.sampled_from((b"", b";a", b";a=b", b';a="b"')))
        digits = draw(st.sampled_from((b"%x", b"%X", b"0%x")))
        parts.append(digits % size + extension + b"\r\n" + body[place : place + size] + b"\r\n")
        place += size
    trailers = draw(st.sampled_from((b"", b"x: y\r\n", b"host: z\r\n")))
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request that is well formed, or one with a flaw in its head."""
    method = draw(st.sampled_from(METHODS))
    target = draw(st.sampled_from((b"/", b"/a", b"/v2/models/m/infer", b"/a%20b", b"/a?b=c&d", b"//a", b"/a;b=1,2")))
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.0")))
    lines = ["".join(parts).encode("latin-1") for parts in draw(st.lists(HEADER, max_size=4))]
    lines += draw(st.just([b"host: x"]) | st.sampled_from(HOSTS))
    lines += draw(st.just([]) | st.sampled_from(MANNERS))
    body = draw(st.binary(max_size=40))
    framing = draw(st.sampled_from(("none", "none", "length", "chunks", "flawed")))
    if framing == "none":
        body = b""
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks":
        lines.append(draw(st.sampled_from((b"transfer-encoding: chunked", b"Transfer-Encoding:Chunked "))))
        body = draw(chunked(body))
    else:
        lines.append(draw(st.sampled_from(FLAWED)))
    return b"\r\n".join([b"%b %b HTTP/%b" % (method, target, version), *draw(st.permutations(lines)), b"", body])


HOSTS: tuple[list[bytes], ...] = (
    [b"Host: x"],
    [b"host:x:8080"],
    [b"HOST: [::1] "],
    [b"host:"],
    [],
    [b"host: x", b"host: x"],
)
MANNERS = (
    [b"Connection: close"],
    [b"connection: keep-alive"],
    [b"connection: x, Close"],
    [b"connection: upgrade", b"upgrade: h2c"],
    [b"expect: 100-continue"],
)
FLAWED = (
    b"content-length: x",
    b"content-length: -1",
    b"content-length: +1",
    b"content-length: 1 1",
    b"content-length: 1, 2",
    b"content-length: 9",
    b"content-length: 1",
    b"transfer-encoding: gzip",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: chunked",
    b"x : y",
    b": y",
    b"x",
    b"x: \x00",
)


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """Return the bytes in pieces."""
    places = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(places) if start < end]


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return some pipelined requests in pieces."""
    return draw(cut(b"".join(draw(st.lists(requests(), min_size=1, max_size=4)))))


@settings(max_examples=80, deadline=None)
@given(streams())
def test_both_find_the_same_requests(pieces: list[bytes]) -> None:
    compare(pieces, may_refuse=False)


@st.composite
def damaged(draw: st.DrawFn) -> list[bytes]:
    """Return pipelined requests with some bytes put in, taken out or changed."""
    stream = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(stream)))
        stream[place : place + draw(st.integers(0, 2))] = draw(st.sampled_from(ODD))
    stream += b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n"
    assume(LAXER.search(stream) is None)
    return draw(cut(bytes(stream)))


ODD = (b"", b" ", b"\t", b"\r", b"\n", b"\0", b":", b";", b",", b"0", b"a", b"\x0b", b"\x7f", b"\xff")


@settings(max_examples=80, deadline=None)
@given(damaged())
def test_of_damaged_requests_none_is_taken_that_h11_refuses_or_reads_in_another_way(pieces: list[bytes]) -> None:
    compare(pieces, may_refuse=True)


@pytest.mark.parametrize("name", STRICTER)
def test_the_connection_is_stricter(name: str) -> None:
    request = b"POST / HTTP/1.1\r\n" + STRICTER[name]
    theirs, ours = read_with_h11([request]), read_with_ours([request])
    check_answers(ours)
    assert (len(theirs.requests), theirs.is_refused) == (1, False)
    assert (len(ours.requests), ours.is_closed) == (0, True)
