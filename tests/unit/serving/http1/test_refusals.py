"""HTTP/1.1 over a real socket: what is refused, and what fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from trimtab.serving.http1.connection import MOST_HEAD, MOST_UNSEEN, MOST_WAITING
from trimtab.serving.http1.exchange import Scope
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
)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),  # the start of a TLS handshake
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx : y\r\n\r\n", 400),
        (b"GET a:b HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 505),  # HTTP/0.9
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * MOST_HEAD + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * MOST_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MOST_HEAD // 32), 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * MOST_UNSEEN, 431),  # a header that has no end
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * MOST_UNSEEN, 431),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;x=" + b"y" * MOST_UNSEEN, 431),
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
            assert await client.rest() == b""
            client.close()
            await until(lambda: not place.connections)

    run(test())


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKS = HEAD + b"transfer-encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        HEAD + b"content-length: 3, 3\r\n\r\nabc",
        HEAD + b"content-length: +3\r\n\r\nabc",
        HEAD + b"content-length: 0x3\r\n\r\nabc",
        HEAD + b"content-length: \r\n\r\nabc",
        HEAD + b"content-length: 18446744073709551617\r\n\r\na",
        HEAD + b"content-length : 3\r\n\r\nabc",
        HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"a: b\r\n c\r\n\r\n",
        HEAD + b"a: b\nc: d\r\n\r\n",
        HEAD + b"a: b\rc: d\r\n\r\n",
        HEAD + b"a: b\0c\r\n\r\n",
        HEAD + b"\n",
        HEAD.replace(b"\r\n", b"\n") + b"\n",
        HEAD.replace(b"\r\n", b"\r\n a: b\r\n", 1) + b"\r\n",
        CHUNKS + b"fffffffffffffffff\r\n",
        CHUNKS + b"0x1\r\na\r\n0\r\n\r\n",
        CHUNKS + b"-1\r\na\r\n0\r\n\r\n",
        CHUNKS + b"1\na\n0\n\n",
        CHUNKS + b"1;x\na\r\n0\r\n\r\n",
        CHUNKS + b"1\r\nab\r\n0\r\n\r\n",
        CHUNKS + b"0\r\ncontent-length: 3\r\n\r\n",
    ],
)
def test_what_others_may_read_otherwise_is_no_request_and_nothing_behind_it_is_one(request_: bytes) -> None:
    async def test() -> None:
        taken: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            taken.append(scope["path"])
            with suppress(ConnectionResetError):
                await echo(scope, receive, send)

        async with serving(application) as place:
            client = await place.client()
            await client.send(request_ + SMUGGLED)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"], await client.rest()) == (400, "close", b"")
            assert "/smuggled" not in taken

    run(test())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"transfer-encoding: identity\r\n", 501),
        (b"transfer-encoding: xchunked\r\n", 501),
        (b"transfer-encoding: gzip, chunked\r\n", 501),
        (b"transfer-encoding: , chunked\r\n", 501),
        (b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 501),
        (b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", 501),
        (b"transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n", 400),
        (b"host: x\r\n", 400),
        (b"Host: y\r\n", 400),
    ],
)
@pytest.mark.parametrize("upgrade", [b"", b"connection: upgrade\r\nupgrade: h2c\r\n"])
def test_a_second_host_and_other_codings_than_chunked_are_refused(head: bytes, status: int, upgrade: bytes) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(HEAD + upgrade + head + b"\r\n0\r\n\r\n" + SMUGGLED)
            answered, headers, _ = await client.answer()
            assert (answered, headers["connection"], await client.rest()) == (status, "close", b"")

    run(test())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x \t\r\n\r\n", 200),  # spaces behind a value are not of it
        (b"GET / HTTP/1.1\r\nhost:\r\n\r\n", 200),  # empty is a host by RFC 9110
        (b"GET / HTTP/1.1\r\nHost: gateway.example:8080\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),  # HTTP/1.0 does not know it
    ],
)
def test_a_request_names_one_host(request_: bytes, status: int) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(request_)
            assert (await client.answer())[0] == status

    run(test())


UPGRADE = b"host: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/2.0\r\n" + UPGRADE + b"\r\n", 505),
        (b"GET / HTTP/1.1\r\n" + UPGRADE.removeprefix(b"host: x\r\n") + b"\r\n", 400),
        (b"GET a:b HTTP/1.1\r\n" + UPGRADE + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + UPGRADE + b"x: " + b"y" * MOST_HEAD + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 1\r\ncontent-length: 1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\n" + UPGRADE + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 1\r\n\r\nanonsense\r\n\r\n", 200),
    ],
)
def test_a_refused_request_that_would_upgrade_gets_its_answer(request_: bytes, status: int) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(request_)
            answered, headers, _ = await client.answer()
            assert (answered, headers["connection"], await client.rest()) == (status, "close", b"")

    run(test())


def test_those_that_would_upgrade_are_answered_up_to_the_limit_of_what_may_wait() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            one = b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n"
            await client.send(one * (MOST_WAITING + 5))
            answers = [await client.answer() for _ in range(MOST_WAITING)]
            assert {status for status, _, _ in answers} == {200}
            while (last := answers[-1])[1].get("connection") != "close":
                answers.append(await client.answer())
            assert last[0] == 200
            assert await client.rest() == b""

    run(test())


def test_chunks_of_an_old_client_are_read_and_nothing_behind_them() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            old = CHUNKED.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nconnection: keep-alive\r\n")
            await client.send(old + SMUGGLED)
            status, headers, body = await client.answer()
            assert (status, headers["connection"], body) == (200, "close", b"POST /b?q=1 def")
            assert await client.rest() == b""

    run(test())


@pytest.mark.parametrize(
    ("target", "read"),
    [
        (b"http://other/a?b", b"/a?b"),
        (b"http://other", b"/?"),
        (b"//other/a", b"//other/a?"),
        (b"/a#b?c", b"/a?"),
        (b"*", b"*?"),
    ],
)
def test_a_target_is_read_as_a_path_whatever_its_form(target: bytes, read: bytes) -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(b"OPTIONS " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.answer())[2] == b"OPTIONS " + read + b" "

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
            broken = b"POST /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"
            await client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
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
            await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
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


def test_a_fault_of_the_application_closes_the_connection_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/fault":
                raise RuntimeError("a fault")
            await echo(scope, receive, send)

        async with serving(application) as place:
            client, other = await place.client(), await place.client()
            await client.send(b"GET /fault HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await client.rest() == b""
            await other.send(GET)
            assert (await other.answer())[0] == 200

    run(test())
    assert "GET /fault was not answered" in caplog.text
