"""HTTP/1.1 over a real socket: answers whose body is sent in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.endpoints import Answer, Call, Route, Write, encode_error
from trimtab.serving.http1.connection import MOST_UNSENT
from trimtab.serving.http1.exchange import Gone, Scope
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.observing import GONE, Observer
from unit.serving.http1.sockets import GET, POST, Client, Receive, Send, echo, run, serving, until, whole

if TYPE_CHECKING:
    from unit.serving.conftest import Served

STREAM = GET.replace(b"/c%2Fd", b"/stream")
PART = b"x" * 65_536


async def begin(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})


async def part(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


class Streaming:
    """An application that sends some parts, and then one more or the end each time it is let on."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.on = asyncio.Event()
        self.heard: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/stream":
            await echo(scope, receive, send)
            return
        await whole(receive)
        try:
            await begin(send)
            for each in self.parts:
                await part(send, each)
            self.heard.append("sent")
            await self.on.wait()
            await part(send, b"last")
            await part(send, b"", more=False)
            self.heard.append("ended")
        except (Gone, asyncio.CancelledError) as error:
            self.heard.append(type(error).__name__)
            raise


def read_with_h11(data: bytes, method: bytes = b"GET") -> list[bytes]:
    """Return the bodies of the answers, each followed by how it ended."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    bodies = []
    while not isinstance(event := client.next_event(), h11.ConnectionClosed | h11.EndOfMessage | type(h11.PAUSED)):
        if isinstance(event, h11.Data):
            bodies.append(bytes(event.data))
    assert isinstance(event, h11.EndOfMessage)
    return bodies


@given(st.lists(st.binary(max_size=300), max_size=8), st.booleans(), st.sampled_from([b"GET", b"HEAD"]))
def test_the_parts_arrive_as_they_were_sent(parts: Sequence[bytes], old: bool, method: bytes) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        for each in parts:
            await part(send, each)
        await part(send, b"end", more=False)

    async def test() -> None:
        async with serving(application) as place:
            client = await place.client()
            version = b"1.0" if old else b"1.1\r\nconnection: close"
            await client.send(b"%b /stream HTTP/%b\r\nhost: x\r\n\r\n" % (method, version))
            data = await client.rest()
            head, _, body = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close" in head
            assert (b"transfer-encoding: chunked" in head) is not old
            assert b"content-length" not in head
            whole_ = b"".join(parts) + b"end"
            if method == b"HEAD":
                assert body == b""
            elif old:
                assert body == whole_
            else:
                assert b"".join(read_with_h11(data)) == whole_
                assert body.count(b"\r\n") >= 2 * (len([each for each in parts if each]) + 2)  # a chunk each

    run(test())


def test_a_part_leaves_at_once_and_the_connection_serves_on() -> None:
    async def test() -> None:
        application = Streaming(b"one", b"two")
        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM + POST)
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"connection: close" not in head
            assert await client.reader.readexactly(16) == b"3\r\none\r\n3\r\ntwo\r\n"
            application.on.set()
            assert await client.reader.readexactly(14) == b"4\r\nlast\r\n0\r\n\r\n"
            assert (await client.answer())[2] == b"POST /a? abc"
            await client.send(STREAM)
            await client.reader.readuntil(b"0\r\n\r\n")
            assert application.heard == ["sent", "ended", "sent", "ended"]

    run(test())


def test_a_slow_reader_holds_the_application_back_and_gets_all() -> None:
    async def test() -> None:
        sent = 0

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal sent
            await begin(send)
            for _ in range(400):
                await part(send, PART)
                sent += len(PART)
            await part(send, b"", more=False)

        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM.replace(b"1.1", b"1.0"))
            await until(lambda: any(not one._writable for one in place.connections))
            (connection,) = place.connections
            assert connection._transport is not None
            held, waiting = sent, connection._transport.get_write_buffer_size()
            assert MOST_UNSENT < waiting <= MOST_UNSENT + 2 * len(PART)
            for _ in range(50):
                await asyncio.sleep(0)
            assert sent == held < 400 * len(PART)
            assert len((await client.rest()).partition(b"\r\n\r\n")[2]) == 400 * len(PART)

    run(test())


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
@pytest.mark.parametrize("blocked", [False, True])
def test_the_application_is_cancelled_when_the_client_leaves(leave: Callable[[Client], None], blocked: bool) -> None:
    async def test() -> None:
        application = Streaming(*([PART] * 400 if blocked else [b"one"]))
        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM)
            await client.reader.readuntil(b"\r\n\r\n")
            if blocked:
                await until(lambda: any(not one._writable for one in place.connections))
            else:
                await until(lambda: application.heard == ["sent"])
            leave(client)
            if leave is Client.close and not blocked:  # it may only have ended its side: the next part finds out
                application.on.set()
                await until(lambda: application.heard[-1] in ("ended", "Gone", "CancelledError"))
            else:
                await until(lambda: application.heard[-1:] == ["CancelledError"])
            await until(lambda: not place.connections)

    run(test())


def test_an_application_that_listens_is_told_and_its_next_part_is_refused() -> None:
    async def test() -> None:
        heard: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await whole(receive)
            await begin(send)
            await part(send, b"one")
            heard.append((await receive())["type"])
            with pytest.raises(Gone):
                await part(send, b"two")
            heard.append("refused")

        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM)
            await client.reader.readuntil(b"one\r\n")
            client.reset()
            await until(lambda: heard == ["http.disconnect", "refused"])

    run(test())


def test_a_client_that_ended_its_side_gets_nothing_between_the_parts() -> None:
    async def test() -> None:
        application = Streaming(b"one")
        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM)
            await client.reader.readuntil(b"one\r\n")
            client.writer.write_eof()
            await until(lambda: any(one._ended for one in place.connections))
            asked = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > asked + 0.25)  # two probes
            application.on.set()
            assert await client.rest() == b"4\r\nlast\r\n0\r\n\r\n"

    run(test())


@pytest.mark.parametrize("behind", [b"nonsense\r\n\r\n", POST[:-1]])
def test_what_comes_behind_does_not_spoil_a_stream(behind: bytes) -> None:
    async def test() -> None:
        application = Streaming(b"one")
        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM + behind)
            await client.reader.readuntil(b"one\r\n")
            client.writer.write_eof()
            application.on.set()
            assert await client.rest() == b"4\r\nlast\r\n0\r\n\r\n"
            await until(lambda: not place.connections)

    run(test())


def test_a_stream_that_fails_or_whose_request_is_spoilt_ends_without_its_last_chunk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await begin(send)
            await part(send, b"one")
            if scope["method"] == "POST":
                await whole(receive)
            raise RuntimeError("the model is away")

        async with serving(application) as place:
            for request in (STREAM, b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"):
                client = await place.client()
                await client.send(request)
                data = await client.reader.readuntil(b"one\r\n")
                if request != STREAM:
                    await client.send(b"no chunk\r\n")
                with pytest.raises((ConnectionResetError, h11.RemoteProtocolError, AssertionError)):
                    read_with_h11(data + await client.rest())
        assert "the model is away" in caplog.text

    run(test())


def test_a_drain_lets_a_stream_end() -> None:
    async def test() -> None:
        application = Streaming(b"one")
        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM)
            await client.reader.readuntil(b"one\r\n")
            (connection,) = place.connections
            connection.retire()
            connection.finish()
            application.on.set()
            assert await client.rest() == b"4\r\nlast\r\n0\r\n\r\n"
            client.close()
            await until(lambda: not place.connections)

    run(test())


def test_the_gateway_streams_an_answer_and_tells_its_handler_of_a_client_that_leaves(served: Served) -> None:
    told: list[str] = []

    async def handle(call: Call) -> Answer:
        async def stream(write: Write) -> None:
            try:
                await write(b"one")
                await asyncio.sleep(0.0 if b"short" in call.query else 3600.0)
                await write(b"two")
            except asyncio.CancelledError:
                told.append("cancelled")
                raise

        return Answer(200, b"", b"text/event-stream", ((b"x-own", b"yes"),), stream)

    observed = served.gateway.metrics
    route = Route("GET", "/stream", "open", handle, encode_error, "Stream.", is_timed=True)
    application = Application(served.gateway, [route], timeout_s=0.05, observer=Observer(observed))

    async def test() -> None:
        async with serving(application) as place:
            client = await place.client()
            await client.send(STREAM.replace(b"/stream", b"/stream?short"))
            data = await client.reader.readuntil(b"0\r\n\r\n")
            assert read_with_h11(data) == [b"one", b"two"]
            assert b"content-type: text/event-stream\r\nx-own: yes\r\n" in data
            await client.send(STREAM)
            await client.reader.readuntil(b"one\r\n")
            asked = asyncio.get_running_loop().time()
            await until(lambda: asyncio.get_running_loop().time() > asked + 0.1)  # longer than the limit of others
            assert not told
            client.reset()
            await until(lambda: told == ["cancelled"] and not place.connections)

    run(test())
    assert observed.snapshot().requests == {("none", 200): 1, ("none", GONE): 1}
