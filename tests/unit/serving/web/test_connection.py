"""HTTP/1.1 over a real socket: turns, bodies, what is refused, and how connections end."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.clock import SystemClock
from trimtab.serving.web.connection import (
    GOODBYE_S,
    KEEP_ALIVE_S,
    MOST_HEAD,
    MOST_UNSEEN,
    MOST_WAITING,
    STALLED_S,
    Asgi,
    Connection,
    Targets,
)
from trimtab.serving.web.exchange import MOST_BUFFERED, Message, Scope

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def reply(send: Send, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with method, path and body."""
    body = await whole(receive)
    await reply(send, b"%b %b?%b %b" % (scope["method"].encode(), scope["raw_path"], scope["query_string"], body))


class Client:
    """Raw bytes to and from a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:-2])
        size = int(headers.get("content-length", 0))
        return int(head[0].split()[1]), headers, await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        return await self.reader.read()


class Place:
    """A server on a free port of this machine."""

    def __init__(self, application: Asgi, tls: ssl.SSLContext | None) -> None:
        self.connections: set[Connection] = set()
        self._application = application
        self._tls = tls
        self._targets = Targets()
        self._clients: list[Client] = []

    def connect(self) -> Connection:
        return Connection(self._application, asyncio.get_running_loop(), self.connections, self._targets)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def open(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self.connect, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        for client in self._clients:
            client.writer.close()
        for connection in list(self.connections):
            connection.cancel()


@asynccontextmanager
async def serving(application: Asgi, tls: ssl.SSLContext | None = None) -> AsyncIterator[Place]:
    place = Place(application, tls)
    await place.open()
    try:
        yield place
    finally:
        place.close()
        await asyncio.sleep(0)


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 20)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def encrypting(folder: Path) -> ssl.SSLContext:
    """Return a context with a certificate that signs itself, which the folder then has."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    today = SystemClock().now()
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, today - timedelta(1), today + timedelta(1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    (folder / "certificate").write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context


POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
CHUNKED = b"POST /b?q=1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"
GET = b"GET /c%2Fd HTTP/1.1\r\nhost: x\r\n\r\n"


def test_requests_of_one_connection_are_answered_in_their_order() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(POST + CHUNKED + GET)
            bodies = [(await client.answer())[2] for _ in range(3)]
            assert bodies == [b"POST /a? abc", b"POST /b?q=1 def", b"GET /c%2Fd? "]
            await client.send(POST)  # the connection stays open
            assert (await client.answer())[0] == 200

    run(test())


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, len(POST + CHUNKED + GET) - 1), max_size=8))
def test_however_the_bytes_are_cut_the_answers_are_the_same(cuts: list[int]) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream, places = POST + CHUNKED + GET, sorted({0, *cuts})
            for start, end in zip(places, [*places[1:], None], strict=True):
                await client.send(stream[start:end])
                await asyncio.sleep(0)
            bodies = [(await client.answer())[2] for _ in range(3)]
            assert bodies == [b"POST /a? abc", b"POST /b?q=1 def", b"GET /c%2Fd? "]

    run(test())


def test_a_slow_answer_holds_back_those_behind_it_and_nobody_else() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                await release.wait()
            await reply(send, scope["path"].encode())

        async with serving(application) as place:
            client, other = await place.client(), await place.client()
            await client.send(b"GET /slow HTTP/1.1\r\n\r\n" + b"GET /next HTTP/1.1\r\n\r\n" * 3)
            await other.send(b"GET /other HTTP/1.1\r\n\r\n")
            assert (await other.answer())[2] == b"/other"
            release.set()
            assert [(await client.answer())[2] for _ in range(4)] == [b"/slow", *[b"/next"] * 3]

    run(test())


def test_of_too_many_requests_at_once_the_first_are_answered_and_the_connection_is_closed() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await until(lambda: bool(place.connections))
            (connection,) = place.connections
            connection.data_received(GET * (MOST_WAITING + 1))
            for _ in range(MOST_WAITING + 1):
                assert "connection" not in (await client.answer())[1]
            connection.data_received(GET * 3 * MOST_WAITING)
            says = [(await client.answer())[1].get("connection") for _ in range(MOST_WAITING + 1)]
            assert says == [None] * MOST_WAITING + ["close"]
            assert await client.rest() == b""

    run(test())


def test_a_large_body_waits_in_the_kernel_until_it_is_read() -> None:
    async def test() -> None:
        begin, held = asyncio.Event(), []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await begin.wait()
            held.append(len((await receive())["body"]))
            await reply(send, b"%d" % (held[0] + len(await whole(receive))))

        async with serving(application) as place:
            client = await place.client()
            size = 40 * 2**20
            client.writer.write(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
            await asyncio.sleep(0.05)
            begin.set()
            assert (await client.answer())[2] == b"%d" % size
            assert held[0] < 4 * MOST_BUFFERED

    run(test())


def test_a_body_behind_a_slow_request_is_read_when_its_turn_comes() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            size = 4 * MOST_BUFFERED
            client.writer.write(POST + b"POST /big HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size + bytes(size) + GET)
            assert [len((await client.answer())[2]) for _ in range(3)] == [12, len(b"POST /big? ") + size, 12]

    run(test())


@pytest.mark.parametrize(
    ("version", "header", "says", "stays"),
    [
        ("1.1", "", None, True),
        ("1.1", "connection: close\r\n", "close", False),
        ("1.0", "", "close", False),
        ("1.0", "connection: keep-alive\r\n", "keep-alive", True),
        ("1.1", "connection: upgrade\r\nupgrade: h2c\r\n", None, True),
        ("1.0", "connection: upgrade\r\nupgrade: h2c\r\n", "close", False),
    ],
)
def test_what_becomes_of_the_connection_is_said_and_done(
    version: str, header: str, says: str | None, stays: bool
) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(f"GET / HTTP/{version}\r\n{header}\r\n".encode())
            status, headers, _ = await client.answer()
            assert (status, headers.get("connection")) == (200, says)
            if stays:
                await client.send(GET)
                assert (await client.answer())[0] == 200
            else:
                assert await client.rest() == b""

    run(test())


def test_a_request_that_would_like_another_protocol_is_taken_with_its_body() -> None:
    upgrade = b" HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
    post, chunked = POST.replace(b" HTTP/1.1\r\n", upgrade), CHUNKED.replace(b" HTTP/1.1\r\n", upgrade)

    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            for stream in ((post, chunked, POST), (post[:-2], post[-2:] + chunked[:-9], chunked[-9:] + POST)):
                for part in stream:
                    await client.send(part)
                    await asyncio.sleep(0.01)
                bodies = [(await client.answer())[2] for _ in range(3)]
                assert bodies == [b"POST /a? abc", b"POST /b?q=1 def", b"POST /a? abc"]
            client.writer.write(post * 500)
            for _ in range(500):
                assert (await client.answer())[2] == b"POST /a? abc"

    run(test())


def test_a_client_that_ended_its_side_gets_the_answers_to_what_came_whole() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await echo(scope, receive, send)

        async with serving(application) as place:
            clients = []
            for sent in (POST, POST * 3, POST + POST[:-1], POST[:-1], b""):
                clients.append(await place.client())
                await clients[-1].send(sent)
                clients[-1].writer.write_eof()
            assert [await client.rest() for client in clients[3:]] == [b"", b""]
            await asyncio.sleep(0.02)
            release.set()
            for client, answers in zip(clients, (1, 3, 1), strict=False):
                assert [(await client.answer())[2] for _ in range(answers)] == [b"POST /a? abc"] * answers
                assert await client.rest() == b""
            await until(lambda: not place.connections)

    run(test())


def test_an_answer_to_head_has_no_body() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(b"HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n")
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
            assert (b"content-length: 8" in head, body) == (True, b"")

    run(test())


def test_a_client_that_asks_whether_to_go_on_is_told_when_its_body_is_wanted() -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/no":
                await reply(send, b"", 401)
            else:
                await echo(scope, receive, send)

        async with serving(application) as place:
            client, other = await place.client(), await place.client()
            await client.send(b"POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            for part in (b"a", b"b", b"c"):  # and told once
                await client.send(part)
                await asyncio.sleep(0.01)
            assert (await client.answer())[2] == b"POST /a? abc"
            await client.send(b"POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\na")
            await asyncio.sleep(0.01)
            await client.send(b"bc")  # who does not wait to be told is not told
            assert (await client.answer())[:1] == (200,)
            await other.send(b"POST /no HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
            status, headers, _ = await other.answer()
            assert (status, headers["connection"], await other.rest()) == (401, "close", b"")

    run(test())


def test_what_is_left_of_a_body_is_thrown_away_behind_its_answer() -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/early":
                await reply(send, b"no", 401)
            else:
                await echo(scope, receive, send)

        async with serving(application) as place:
            client = await place.client()
            await client.send(b"POST /early HTTP/1.1\r\ncontent-length: 900000\r\n\r\n")
            assert (await client.answer())[0] == 401
            await client.send(bytes(900_000) + POST)
            assert (await client.answer())[2] == b"POST /a? abc"
            closing = await place.client()
            size = 4 * 2**20
            closing.writer.write(b"POST /early HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
            await closing.send(bytes(size))
            status, headers, _ = await closing.answer()
            assert (status, headers["connection"], await closing.rest()) == (401, "close", b"")
            broken = await place.client()
            await broken.send(b"POST /early HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
            assert (await broken.answer())[0] == 401
            await broken.send(b"zz\r\n")
            assert await broken.rest() == b""

    run(test())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),  # somebody speaks TLS
        (b"GET / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx : y\r\n\r\n", 400),
        (b"GET a:b HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * MOST_HEAD + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * MOST_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MOST_HEAD // 32), 431),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * MOST_UNSEEN, 431),  # a header that has no end
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * MOST_UNSEEN, 431),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;x=" + b"y" * MOST_UNSEEN, 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(request_: bytes, status: int) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            client.writer.write(request_)
            answered, headers, body = await client.answer()
            assert (answered, headers["connection"], headers["content-type"]) == (status, "close", "application/json")
            assert body.startswith(b'{"error":"')
            await until(lambda: not place.connections)

    run(test())


def test_requests_before_a_malformed_one_are_answered() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(POST + CHUNKED + b"nonsense\r\n\r\n" + POST)
            status, headers, body = await client.answer()
            assert (status, "connection" in headers, body) == (200, False, b"POST /a? abc")
            status, headers, body = await client.answer()
            assert (status, headers["connection"], body) == (200, "close", b"POST /b?q=1 def")
            assert await client.rest() == b""

    run(test())


def test_what_comes_behind_a_malformed_request_costs_no_answer() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await reply(send, bytes(2**20))

        async with serving(application) as place:
            client = await place.client()
            await client.send(GET + GET + b"nonsense\r\n\r\n")  # the second pauses reading
            await until(lambda: any(one._last for one in place.connections))
            await client.send(bytes(1_000))
            await asyncio.sleep(0.02)
            release.set()
            assert [len((await client.answer())[2]) for _ in range(2)] == [2**20] * 2
            assert await client.rest() == b""  # and no reset, which may take the end of an answer with it

    run(test())


def test_what_is_written_behind_the_end_is_nothing() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await until(lambda: bool(place.connections))
            (connection,) = place.connections
            connection.abort()
            connection.write(b"late")
            connection.cancel()
            assert not connection.overdue(0)
            with suppress(ConnectionResetError):
                assert await client.rest() == b""
            await until(lambda: not place.connections)

    run(test())


def test_a_body_that_turns_out_malformed_while_it_waits_holds_nothing_up() -> None:
    async def test() -> None:
        started: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            started.append(scope["path"])
            if scope["path"] == "/large":
                await reply(send, bytes(8 * 2**20))
            else:
                await echo(scope, receive, send)

        async with serving(application) as place:
            client = await place.client()
            broken = b"POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"
            await client.send(b"GET /large HTTP/1.1\r\n\r\n")
            await until(lambda: any(not one._writable for one in place.connections))
            (connection,) = place.connections
            connection.data_received(broken)  # as when it comes before reading is paused
            connection.data_received(b"zz\r\n")
            assert len((await client.answer())[2]) == 8 * 2**20
            assert (await client.answer())[0] == 400
            assert (await client.rest(), started) == (b"", ["/large"])

    run(test())


def test_a_refusal_is_sent_whole_though_the_application_ends_without_an_answer() -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            with suppress(ConnectionResetError):
                await echo(scope, receive, send)

        async with serving(application) as place:
            client = await place.client()
            await client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
            await asyncio.sleep(0.01)
            await client.send(b"zz\r\n")
            assert (await client.answer())[0] == 400
            assert await client.rest() == b""

    run(test())


def test_an_answer_that_cannot_be_written_closes_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await reply(send, b"", 299)

        async with serving(application) as place:
            client = await place.client()
            await client.send(GET + GET)
            assert await client.rest() == b""

    run(test())
    assert "was not answered" in caplog.text


def test_trailers_are_no_headers() -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await whole(receive)
            await reply(send, b",".join(name for name, _ in scope["headers"]))

        async with serving(application) as place:
            client = await place.client()
            await client.send(CHUNKED.removesuffix(b"\r\n") + b"authorization: Bearer x\r\n\r\n")
            assert (await client.answer())[2] == b"host,transfer-encoding"

    run(test())


def test_the_application_hears_of_a_client_that_leaves_with_its_body_half_sent() -> None:
    async def test() -> None:
        heard: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            while not heard or heard[-1] != "http.disconnect":
                heard.append((await receive())["type"])

        async with serving(application) as place:
            client = await place.client()
            await client.send(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")
            await until(lambda: heard == ["http.request"])
            client.writer.close()
            await until(lambda: heard[-1] == "http.disconnect" and not place.connections)

    run(test())


def test_a_fault_of_the_application_closes_the_connection_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/fault":
                raise RuntimeError("a fault")
            await echo(scope, receive, send)

        async with serving(application) as place:
            client, other = await place.client(), await place.client()
            await client.send(b"GET /fault HTTP/1.1\r\n\r\n")
            assert await client.rest() == b""
            await other.send(GET)
            assert (await other.answer())[0] == 200

    run(test())
    assert "GET /fault was not answered" in caplog.text


def test_of_a_client_that_left_nothing_is_kept() -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            with suppress(ConnectionResetError):
                await echo(scope, receive, send)

        async with serving(application) as place:
            for sent in (b"", GET, POST[:-1], POST + b"GET / HTT"):
                client = await place.client()
                await client.send(sent)
                await until(lambda: bool(place.connections))
                await asyncio.sleep(0.01)
                left = [weakref.ref(connection) for connection in place.connections]
                client.writer.close()
                await until(lambda: not place.connections)
                await asyncio.sleep(0.01)
                assert [found() for found in left] == [None] * len(left)

    gc.disable()
    try:
        run(test())
    finally:
        gc.enable()


def test_draining_answers_what_was_read_and_takes_no_more() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await echo(scope, receive, send)

        async with serving(application) as place:
            idle, busy, half = [await place.client() for _ in range(3)]
            await busy.send(POST + POST)
            await half.send(POST[:-1])
            await until(
                lambda: len(place.connections) == 3 and sum(not one._is_idle() for one in place.connections) == 2
            )
            for connection in list(place.connections):
                connection.finish()
            assert await idle.rest() == b""
            await busy.send(GET)  # too late
            await half.send(POST[-1:])
            release.set()
            assert (await busy.answer())[1].get("connection") is None
            for client in (busy, half):
                status, headers, body = await client.answer()
                assert (status, headers["connection"], body) == (200, "close", b"POST /a? abc")
                assert await client.rest() == b""

    run(test())


def test_a_client_that_does_not_confirm_the_end_of_tls_is_not_waited_for(tmp_path: Path) -> None:
    def talk(port: int) -> ssl.SSLSocket:
        trust = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
        trust.check_hostname = False
        client = trust.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        client.sendall(GET + POST)
        heard = b""
        while not heard.endswith(b"abc"):
            heard += client.recv(1000)
        return client

    async def test() -> None:
        async with serving(echo, encrypting(tmp_path)) as place:
            with await asyncio.to_thread(talk, place.port):
                (connection,) = place.connections
                connection.finish()
                await asyncio.sleep(0.02)
                now = asyncio.get_running_loop().time()
                assert list(place.connections) == [connection]
                assert [connection.overdue(now), connection.overdue(now + GOODBYE_S + 1)] == [False, True]
                connection.abort()
                await until(lambda: not place.connections)

    run(test())


def test_clients_that_keep_a_connection_waiting_are_overdue() -> None:
    async def test() -> None:
        answer = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/work":
                await answer.wait()
            if scope["path"] == "/early":
                await reply(send, b"no", 401)
            else:
                await reply(send, bytes(64 * 2**20 if scope["path"] == "/large" else 1))

        async def one(place: Place, sent: bytes) -> Connection:
            before = set(place.connections)
            client = await place.client()
            await client.send(sent)
            await until(lambda: bool(place.connections - before))
            await asyncio.sleep(0.02)
            (found,) = place.connections - before
            return found

        async with serving(application) as place:
            now = asyncio.get_running_loop().time
            idle = await one(place, b"GET / HTTP/1.1\r\n\r\n")
            head = await one(place, b"GET / HTT")
            body = await one(place, b"POST /early HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")
            work = await one(place, b"GET /work HTTP/1.1\r\n\r\n")
            reader = await one(place, b"GET /large HTTP/1.1\r\n\r\n")
            everyone = [idle, head, body, work, reader]
            assert [connection.overdue(now()) for connection in everyone] == [False] * 5
            stalled = now() + STALLED_S + 1
            assert [connection.overdue(stalled) for connection in everyone] == [False, True, True, False, True]
            assert idle.overdue(now() + KEEP_ALIVE_S + 1)
            behind = await one(place, b"GET /work HTTP/1.1\r\n\r\nGET / HTT")
            assert not behind.overdue(now() + STALLED_S + 1)  # it is not the client who is late
            assert not work.overdue(now() + 10 * KEEP_ALIVE_S)
            assert behind._head_began is not None
            behind._head_began -= 10 * STALLED_S
            answer.set()
            await until(lambda: behind._task is None)
            assert [behind.overdue(now()), behind.overdue(now() + STALLED_S + 1)] == [False, True]

    run(test())


def test_paths_are_decoded_and_remembered_only_when_they_are_short() -> None:
    targets = Targets()
    assert targets.split(b"/a%20b?x=%20") == ("/a b", b"/a%20b", b"x=%20")
    assert targets.split(b"http://host/p") == ("/p", b"/p", b"")
    for n in range(2_000):
        targets.split(b"/%d" % n)
        targets.split(b"/%d?q" % n)
    assert len(targets._known) <= 512
    known: dict[bytes, Any] = dict(targets._known)
    targets.split(b"/" + b"x" * 300)
    assert targets._known == known
