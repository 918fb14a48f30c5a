"""HTTP/1.1 over a real socket: how connections end."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from trimtab.serving.http1.connection import GOODBYE_S, KEEP_ALIVE_S, STALLED_S, Connection
from trimtab.serving.http1.exchange import Scope
from unit.serving.http1.sockets import (
    GET,
    POST,
    Place,
    Receive,
    Send,
    echo,
    encrypting,
    reply,
    run,
    serving,
    trusting,
    until,
)


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


def test_the_application_hears_of_a_client_that_leaves_with_its_body_half_sent() -> None:
    async def test() -> None:
        heard: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            while not heard or heard[-1] != "http.disconnect":
                heard.append((await receive())["type"])

        async with serving(application) as place:
            client = await place.client()
            await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
            await until(lambda: heard == ["http.request"])
            client.writer.close()
            await until(lambda: heard[-1] == "http.disconnect" and not place.connections)

    run(test())


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
        client = trusting(tmp_path).wrap_socket(socket.create_connection(("127.0.0.1", port)))
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

        async def one(place: Place, sent: bytes, ready: Callable[[Connection], bool]) -> Connection:
            before = set(place.connections)
            client = await place.client()
            await client.send(sent)
            await until(lambda: bool(place.connections - before))
            (found,) = place.connections - before
            await until(lambda: ready(found))
            return found

        async with serving(application) as place:
            now = asyncio.get_running_loop().time
            idle = await one(place, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", lambda it: bool(it._target) and it._is_idle())
            head = await one(place, b"GET / HTT", lambda it: it._head_began is not None)
            early = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc"
            body = await one(place, early, lambda it: it._current is not None and it._current.answered)
            work = await one(place, b"GET /work HTTP/1.1\r\nhost: x\r\n\r\n", lambda it: it._task is not None)
            reader = await one(place, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n", lambda it: not it._writable)
            everyone = [idle, head, body, work, reader]
            assert [connection.overdue(now()) for connection in everyone] == [False] * 5
            stalled = now() + STALLED_S + 1
            assert [connection.overdue(stalled) for connection in everyone] == [False, True, True, False, True]
            assert idle.overdue(now() + KEEP_ALIVE_S + 1)
            two = b"GET /work HTTP/1.1\r\nhost: x\r\n\r\nGET / HTT"
            behind = await one(place, two, lambda it: it._task is not None and it._head_began is not None)
            assert not behind.overdue(now() + STALLED_S + 1)  # it is not the client who is late
            assert not work.overdue(now() + 10 * KEEP_ALIVE_S)
            assert behind._head_began is not None
            behind._head_began -= 10 * STALLED_S
            answer.set()
            await until(lambda: behind._task is None)
            assert [behind.overdue(now()), behind.overdue(now() + STALLED_S + 1)] == [False, True]

    run(test())


@pytest.mark.parametrize("sent", [b"GET / HTT", POST[:-1], POST + b"POST / HTTP/1.1\r\nhost"])
def test_a_client_whose_request_does_not_come_is_told_so(sent: bytes) -> None:
    heard: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await echo(scope, receive, send)
        except ConnectionResetError:
            heard.append("http.disconnect")

    async def test() -> None:
        async with serving(application) as place:
            client = await place.client()
            await client.send(sent)
            if sent.startswith(POST):
                assert (await client.answer())[0] == 200
            await until(lambda: any(waits(one) for one in place.connections))
            (connection,) = place.connections
            now = asyncio.get_running_loop().time()
            assert [connection.overdue(now), connection.overdue(now + STALLED_S + 1)] == [False, True]
            connection.expire()
            status, headers, body = await client.answer()
            assert (status, headers["connection"], await client.rest()) == (408, "close", b"")
            assert b"did not arrive in time" in body
            client.close()
            await until(lambda: not place.connections)

    run(test())
    assert heard == (["http.disconnect"] if sent == POST[:-1] else [])


def waits(connection: Connection) -> bool:
    """Return whether a request has come in part, and nothing else is under way."""
    turn = connection._current
    return connection._head_began is not None if turn is None else turn.listens


def test_a_client_is_not_late_while_the_application_does_not_listen() -> None:
    async def test() -> None:
        listen = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await listen.wait()
            await echo(scope, receive, send)

        async with serving(application) as place:
            client = await place.client()
            await client.send(POST[:-1])
            await until(lambda: any(one._task is not None for one in place.connections))
            (connection,) = place.connections
            now = asyncio.get_running_loop().time()
            assert not connection.overdue(now + 2 * STALLED_S)
            connection._active_at = now - 2 * STALLED_S  # so long it does not listen
            listen.set()
            await until(lambda: waits(connection))
            assert [connection.overdue(now), connection.overdue(now + STALLED_S + 1)] == [False, True]
            await client.send(POST[-1:])
            assert (await client.answer())[2] == b"POST /a? abc"

    run(test())


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(POST)
            await client.answer()
            (connection,) = place.connections
            connection.expire()
            assert await client.rest() == b""

    run(test())
