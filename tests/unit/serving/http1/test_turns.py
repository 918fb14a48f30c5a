"""HTTP/1.1 over a real socket: turns and bodies."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.http1.connection import MOST_WAITING
from trimtab.serving.http1.exchange import MOST_BUFFERED, Scope
from unit.serving.http1.sockets import (
    CHUNKED,
    GET,
    POST,
    Receive,
    Send,
    echo,
    reply,
    run,
    serving,
    until,
    whole,
)


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


def test_a_slow_answer_holds_back_those_behind_it_and_no_other_connection() -> None:
    async def test() -> None:
        release = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                await release.wait()
            await reply(send, scope["path"].encode())

        async with serving(application) as place:
            client, other = await place.client(), await place.client()
            await client.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n" + b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
            await other.send(b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n")
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


def test_a_client_that_does_not_read_is_not_answered_on() -> None:
    requests, size = 300, 2**20

    async def test() -> None:
        begun = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            begun.append(scope["path"])
            await reply(send, bytes(size))

        async with serving(application) as place:
            client = await place.client()
            await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * requests)
            await until(lambda: any(not one._writable for one in place.connections))
            (connection,) = place.connections
            assert connection._transport is not None
            assert connection._transport.get_write_buffer_size() <= size + 1_000
            assert len(begun) < requests // 2  # what the buffers of the system hold
            for _ in range(requests):
                assert len((await client.answer())[2]) == size

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
            client.writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
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
            client.writer.write(
                POST + b"POST /big HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + bytes(size) + GET
            )
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
            await client.send(f"GET / HTTP/{version}\r\nhost: x\r\n{header}\r\n".encode())
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


def test_an_answer_to_head_has_no_body() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
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
            await client.send(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            for part in (b"a", b"b", b"c"):  # and told once
                await client.send(part)
                await asyncio.sleep(0.01)
            assert (await client.answer())[2] == b"POST /a? abc"
            await client.send(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\na")
            await asyncio.sleep(0.01)
            await client.send(b"bc")  # who does not wait to be told is not told
            assert (await client.answer())[:1] == (200,)
            await other.send(b"POST /no HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
            status, headers, _ = await other.answer()
            assert (status, headers["connection"], await other.rest()) == (401, "close", b"")

    run(test())


def test_a_client_that_has_no_body_or_an_old_one_is_not_told_to_go_on() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client, old = await place.client(), await place.client()
            for length in (b"", b"content-length: 0\r\n"):
                await client.send(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n" + length + b"\r\n")
                assert (await client.answer())[2] == b"POST /a? "
            await old.send(b"POST /a HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
            await until(lambda: any(one._current is not None and one._current.listens for one in place.connections))
            await old.send(b"abc")
            assert (await old.answer())[::2] == (200, b"POST /a? abc")
            assert (client.interim, old.interim) == (0, 0)

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
            await client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n")
            assert (await client.answer())[0] == 401
            await client.send(bytes(900_000) + POST)
            assert (await client.answer())[2] == b"POST /a? abc"
            closing = await place.client()
            size = 4 * 2**20
            closing.writer.write(
                b"POST /early HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size
            )
            await closing.send(bytes(size))
            status, headers, _ = await closing.answer()
            assert (status, headers["connection"], await closing.rest()) == (401, "close", b"")
            broken = await place.client()
            await broken.send(b"POST /early HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            assert (await broken.answer())[0] == 401
            await broken.send(b"zz\r\n")
            assert await broken.rest() == b""

    run(test())


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
