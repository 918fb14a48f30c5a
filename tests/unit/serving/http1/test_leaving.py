"""HTTP/1.1 over a real socket: clients that leave while their request is under way, and those that only seem to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pytest

from kit.waiting import PATIENCE_S
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.http1 import connection as connection_module
from trimtab.serving.http1.exchange import CONTINUE, Exchange, Scope
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.observing import GONE, Observer
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from unit.serving.http1.sockets import (
    GET,
    POST,
    Client,
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
    whole,
)

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Leave = Callable[[Client], None]
LEAVES = pytest.mark.parametrize("leave", [Client.close, Client.reset])


class Busy:
    """An application that works on requests until it is let go, and does not listen to their clients."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        body = await whole(receive)
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled.append(scope["path"])
            raise
        self.ended.append(scope["path"])
        await reply(send, body)


@LEAVES
@pytest.mark.parametrize("request_", [GET, POST, GET.replace(b"HTTP/1.1", b"HTTP/1.1\r\nconnection: close")])
def test_a_request_whose_client_left_is_cancelled_and_nothing_else(leave: Leave, request_: bytes) -> None:
    async def test() -> None:
        busy = Busy()
        async with serving(busy) as place:
            client, other = await place.client(), await place.client()
            await client.send(request_)
            await until(lambda: len(busy.begun) == 1)
            await other.send(POST.replace(b"/a", b"/other"))
            await until(lambda: len(busy.begun) == 2)
            leave(client)
            await until(lambda: len(place.connections) == 1 and len(busy.cancelled) == 1)
            busy.free.set()
            assert (await other.answer())[2] == b"abc"
            assert busy.ended == ["/other"]

    run(test())


def test_over_tls_a_client_that_ends_its_side_has_left(tmp_path: Path) -> None:
    async def test() -> None:
        busy = Busy()
        async with serving(busy, encrypting(tmp_path)) as place:
            client = await place.client(trusting(tmp_path))
            await client.send(POST)
            await until(lambda: len(busy.begun) == 1)
            client.close()
            await until(lambda: not place.connections and busy.cancelled == ["/a"])

    run(test())


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_client_that_waits_with_its_own_side_ended_is_answered_however_long_it_takes(version: bytes) -> None:
    async def test() -> None:
        busy = Busy()
        async with serving(busy) as place:
            client = await place.client()
            await client.send(POST.replace(b"1.1", version))
            client.writer.write_eof()
            if version == b"1.1":  # it is asked whether it is still there, once
                assert await client.reader.readuntil(b"\r\n\r\n") == CONTINUE
            await until(lambda: len(busy.begun) == 1)
            (connection,) = place.connections
            asked = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > asked + 0.3)
            assert not connection.overdue(asked)
            busy.free.set()
            status, headers, body = await client.answer()
            assert (status, headers["connection"], body, await client.rest()) == (200, "close", b"abc", b"")
            assert (busy.cancelled, client.interim) == ([], 0)

    run(test())


def test_the_answers_of_a_client_that_is_answered_at_once_have_nothing_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "PROBE_S", 3600.0)  # however busy the machine is

    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            await client.send(POST + POST)
            client.writer.write_eof()
            heard = await client.rest()
            assert (heard.count(b"HTTP/1.1 "), heard.count(b"HTTP/1.1 200 OK")) == (2, 2)

    run(test())


def test_a_drain_answers_a_client_that_ended_its_side() -> None:
    async def test() -> None:
        busy = Busy()
        async with serving(busy) as place:
            client = await place.client()
            await client.send(POST)
            client.writer.write_eof()
            await until(lambda: any(one._ended for one in place.connections))
            (connection,) = place.connections
            connection.finish()
            assert await client.reader.readuntil(b"\r\n\r\n") == CONTINUE
            busy.free.set()
            assert (await client.answer())[2] == b"abc"
            assert await client.rest() == b""
            await until(lambda: not place.connections)

    run(test())


@LEAVES
def test_requests_that_wait_for_their_turn_are_dropped_with_their_client(leave: Leave) -> None:
    async def test() -> None:
        busy = Busy()
        async with serving(busy) as place:
            client = await place.client()
            await client.send(POST + POST.replace(b"/a", b"/b") + POST.replace(b"/a", b"/c"))
            await until(lambda: any(one._waiting for one in place.connections))
            (connection,) = place.connections
            leave(client)
            connection.resume()  # while requests wait, nothing is read: otherwise the next answer would find it out
            await until(lambda: not place.connections and busy.cancelled == ["/a"])
            assert busy.begun == ["/a"]

    run(test())


@LEAVES
def test_an_application_that_listens_is_told_and_not_cancelled(leave: Leave) -> None:
    async def test() -> None:
        heard: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await whole(receive)
            heard.append("begun")
            heard.append((await receive())["type"])
            await asyncio.sleep(0)
            heard.append((await receive())["type"])
            with pytest.raises(ConnectionResetError):
                await reply(send, b"")
            heard.append("ended")

        async with serving(application) as place:
            client = await place.client()
            await client.send(POST)
            await until(lambda: heard == ["begun"])
            leave(client)
            await until(lambda: heard[-1] == "ended")
            assert heard == ["begun", "http.disconnect", "http.disconnect", "ended"]

    run(test())


class Nowhere:
    """A connection that takes what is written."""

    last = False
    date = b""

    def write(self, data: bytes) -> None: ...

    def resume(self) -> None: ...

    def begin_stream(self) -> None: ...

    async def drained(self) -> None: ...


@pytest.mark.parametrize("whole_", [True, False])
def test_who_has_all_of_the_body_by_now_does_not_hear_that_its_client_has_left(whole_: bool) -> None:
    async def test() -> None:
        exchange = Exchange(Nowhere(), {"http_version": "1.1", "headers": []}, b"")
        heard = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        exchange.take(b"abc")
        if whole_:
            exchange.complete()
        assert exchange.leave() is not whole_
        assert (await heard)["type"] == ("http.request" if whole_ else "http.disconnect")

    run(test())


class Stuck:
    """A scorer in a thread, which waits until it is let go."""

    task: Literal["binary"] = "binary"
    in_process = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.begun, self.free = threading.Event(), threading.Event()

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.begun.set()
        assert self.free.wait(PATIENCE_S)
        found: np.ndarray[Any, Any] = self._inner.score(X)
        return found

    def close(self) -> None:
        self._inner.close()


class Slow:
    """A gateway whose only model is stuck, and whose log is on disk before an answer leaves."""

    def __init__(self, served: Served, bundle: LoadedBundle, table_of: Callable[..., ModelTable], log: Path) -> None:
        self.served = type(served)(SegmentLog(log), durability="acknowledged")
        self.stuck = Stuck(bundle.scorer)
        self.served.serve(table_of(("champion", replace(bundle, scorer=self.stuck, inline=False, quick=False), 100)))
        gateway = self.served.gateway
        observer = Observer(gateway.metrics)
        self.application = Application(gateway, standard_routes(gateway), timeout_s=PATIENCE_S, observer=observer)

    async def ask(self, place: Place, body: object) -> Client:
        client = await place.client()
        content = msgspec.json.encode(body)
        await client.send(
            b"POST /v2/models/delay/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)
        )
        await until(self.stuck.begun.is_set)
        return client

    def rows(self) -> list[tuple[bool, str]]:
        return [(row["served"], row["route"]) for row in self.served.rows()]

    def statuses(self) -> dict[int, int]:
        counted = self.served.gateway.metrics.snapshot().requests
        return {status: count for (_, status), count in counted.items()}


@pytest.fixture
def slow(
    served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable], tmp_path: Path
) -> Slow:
    return Slow(served, pack(1, scores=[0.25]), table_of, tmp_path / "slow")


@LEAVES
def test_an_answer_whose_client_left_is_logged_as_abandoned(
    slow: Slow, leave: Leave, infer_body: Callable[..., dict[str, Any]]
) -> None:
    async def test() -> None:
        async with serving(slow.application) as place:
            client = await slow.ask(place, infer_body(0.0))
            leave(client)
            await until(lambda: not place.connections and slow.statuses() == {GONE: 1})
            slow.stuck.free.set()

    run(test())
    assert slow.rows() == [(False, "abandoned")]
    assert slow.statuses() == {GONE: 1}


def test_an_answer_to_a_client_that_only_ended_its_side_is_logged_as_served(
    slow: Slow, infer_body: Callable[..., dict[str, Any]]
) -> None:
    async def test() -> None:
        async with serving(slow.application) as place:
            client = await slow.ask(place, infer_body(0.0))
            client.writer.write_eof()
            assert await client.reader.readuntil(b"\r\n\r\n") == CONTINUE
            slow.stuck.free.set()
            assert (await client.answer())[0] == 200

    run(test())
    assert slow.rows() == [(True, "split")]
    assert slow.statuses() == {200: 1}
