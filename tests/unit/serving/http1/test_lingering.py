"""HTTP/1.1 over a real socket: a client that still sends when it is answered reads its answer whole."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from kit.waiting import PATIENCE_S
from trimtab.serving.http1 import connection as connection_module
from trimtab.serving.http1.connection import GOODBYE_S, MOST_HEAD, STALLED_S
from trimtab.serving.http1.exchange import Scope
from unit.serving.http1.sockets import (
    GET,
    POST,
    Place,
    Receive,
    Send,
    encrypting,
    reply,
    run,
    serving,
    trusting,
    until,
    whole,
)

MANY = 24 * 2**20
"""Bytes of a body that no buffer of the system holds."""
EARLY = b"POST /early HTTP/1.1\r\nhost: x\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] != "/early":
        await whole(receive)
    await reply(send, b"x" * 5_000, 413)


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many bytes are thrown away at most: fewer here, so that the tests are quick."""
    monkeypatch.setattr(connection_module, "MOST_DISCARDED", 2 * MANY)
    return 2 * MANY


class Stubborn:
    """A client that sends all that it has before it reads, as many programs do."""

    def __init__(self, port: int, trust: Path | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        if trust is not None:
            self.socket = trusting(trust).wrap_socket(self.socket)

    def talk(self, request: bytes) -> bytes:
        self.socket.sendall(request)
        return self.read()

    def read(self) -> bytes:
        heard = b""
        while part := self.socket.recv(65_536):
            heard += part
        return heard

    def send_for_ever(self) -> int:
        """Return how many bytes were taken before the connection broke."""
        sent = 0
        with suppress(ConnectionError):
            while True:
                sent += self.socket.send(bytes(2**20))
        return sent


REFUSED = {
    "head too long": (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * (MOST_HEAD + MANY), 431),
    "malformed": (b"GET / HTTP/1.1\r\nhost: x\r\nx : y\r\n\r\n" + bytes(MANY), 400),
    "malformed chunk": (POST.replace(b"content-length: 3", b"transfer-encoding: chunked") + bytes(MANY), 400),
    "early and closing": (EARLY + b"connection: close\r\ncontent-length: %d\r\n\r\n" % MANY + bytes(MANY), 413),
    "behind its last request": (POST.replace(b"host: x", b"host: x\r\nconnection: close") + bytes(MANY), 413),
}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_a_client_that_sends_on_reads_its_answer_whole(case: str, encrypted: bool, tmp_path: Path) -> None:
    request, status = REFUSED[case]

    async def test() -> None:
        tls = encrypting(tmp_path) if encrypted else None
        async with serving(application, tls) as place:
            client = await asyncio.to_thread(Stubborn, place.port, tmp_path if encrypted else None)
            with client.socket:
                heard = await asyncio.to_thread(client.talk, request)
            head, _, body = heard.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b"content-length: %d" % len(body) in head
            assert b"connection: close" in head
            await until(lambda: not place.connections)

    run(test())


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_sends_an_unwanted_body_gets_its_answer(encrypted: bool, tmp_path: Path) -> None:
    def talk(port: int) -> bytes:
        client = Stubborn(port, tmp_path if encrypted else None)
        with client.socket:
            client.socket.sendall(EARLY + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % MANY)
            first = client.socket.recv(12)
            return first + client.talk(bytes(MANY))

    async def test() -> None:
        async with serving(application, encrypting(tmp_path) if encrypted else None) as place:
            heard = await asyncio.to_thread(talk, place.port)
            assert heard.startswith(b"HTTP/1.1 413 ")
            assert heard.endswith(b"\r\nconnection: close\r\n\r\n" + b"x" * 5_000)

    run(test())


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        EARLY + b"content-length: %d\r\n\r\n" % 2**40,
        EARLY + b"transfer-encoding: chunked\r\n\r\nffffffffff\r\n",
    ],
)
def test_what_is_thrown_away_has_an_end(request_: bytes, most: int) -> None:
    def talk(port: int) -> int:
        client = Stubborn(port)
        with client.socket:
            client.socket.sendall(request_)
            assert client.socket.recv(12).startswith(b"HTTP/1.1 4")
            return client.send_for_ever()

    async def test() -> None:
        async with serving(application) as place:
            taken = await asyncio.to_thread(talk, place.port)
            assert most <= taken < 2 * most  # buffers of both sides hold some more
            await until(lambda: not place.connections)

    run(test())


def test_each_request_of_a_connection_has_that_much_of_its_own(most: int) -> None:
    async def test() -> None:
        async with serving(application) as place:
            client = await place.client()
            size = most // 2 + 1
            for _ in range(2):
                client.writer.write(EARLY + b"content-length: %d\r\n\r\n" % size + bytes(size))
                assert (await client.answer())[0] == 413
            await client.send(POST)
            assert (await client.answer())[0] == 413

    run(test())


async def refused(place: Place) -> tuple[Stubborn, float]:
    """Return a client that was refused and has not ended its side, and the time."""
    client = await asyncio.to_thread(Stubborn, place.port)
    client.socket.sendall(b"nonsense\r\n\r\n")
    assert b"400 Bad Request" in await asyncio.to_thread(client.read)  # to its end: our side is closed
    return client, asyncio.get_running_loop().time()


def test_a_client_that_does_not_end_its_side_is_not_waited_for_long() -> None:
    async def test() -> None:
        async with serving(application) as place:
            client, now = await refused(place)
            (connection,) = place.connections
            assert [connection.overdue(now), connection.overdue(now + GOODBYE_S + 1)] == [False, True]
            thrown = connection._discarded
            client.socket.sendall(b"more")  # who still sends is waited for, but not for ever
            await until(lambda: connection._discarded > thrown)
            connection._active_at = now + 2 * STALLED_S
            assert connection.overdue(now + 2 * STALLED_S)
            client.socket.close()
            await until(lambda: not place.connections)

    run(test())


def test_a_drain_lets_a_client_read_why_it_was_refused() -> None:
    async def test() -> None:
        async with serving(application) as place:
            client, _ = await refused(place)
            (connection,) = place.connections
            connection.finish()
            assert list(place.connections) == [connection]
            client.socket.sendall(GET)  # no reset
            assert client.socket.recv(1) == b""
            client.socket.close()
            await until(lambda: not place.connections)

    run(test())


def test_a_slow_reader_takes_the_end_of_its_last_answer() -> None:
    size = 32 * 2**20

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, bytes(size))

    async def test() -> None:
        async with serving(large) as place:
            client = await place.client()
            await client.send(GET + b"nonsense\r\n\r\n")
            await until(lambda: any(one._closing_at is not None for one in place.connections))
            (connection,) = place.connections
            now = asyncio.get_running_loop().time()
            assert not connection.overdue(now)
            assert connection._unsent
            later = now + STALLED_S - 1
            assert not connection.overdue(later)
            assert len((await client.answer())[2]) == size
            assert await client.rest() == b""
            assert not connection.overdue(later + STALLED_S)  # it has taken something since
            client.close()
            await until(lambda: not place.connections)

    run(test())
