"""Bytes of streams under any framing and cut, kept connections, bodies without a length, keys and TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from kit.loopback import asked, target
from trimtab.errors import DefinitionError, StageError
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.llm.upstream.upstream_error import UpstreamError
from trimtab.policy.llm.section_llm import CallRetry

ANSWER = json.dumps({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}).encode()
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one request; return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(length)
    return head


@asynccontextmanager
async def serving(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve with a function; yield the URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        scheme = "http" if context is None else "https"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def chunk(text: str) -> bytes:
    return b"data: %b\n\n" % json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False).encode()


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return the body of a stream, and the segments of an answer with it: chunked, by length, or to the end."""
    texts = draw(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), min_size=1, max_size=5)
    )
    body = b"".join(map(chunk, texts)) + b"data: [DONE]\n\n"
    framing = draw(st.sampled_from(["chunked", "length", "close"]))
    if framing == "chunked":
        at = sorted({0, len(body), *draw(st.sets(st.integers(0, len(body)), max_size=8))})
        framed = b"".join(b"%x\r\n%b\r\n" % (b - a, body[a:b]) for a, b in pairwise(at)) + b"0\r\n\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    elif framing == "length":
        head, framed = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body
    else:
        head, framed = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", body
    whole = head + framed
    at = sorted({0, len(whole), *draw(st.sets(st.integers(0, len(whole)), max_size=10))})
    return body, [whole[a:b] for a, b in pairwise(at)]


@given(answers())
def test_the_bytes_of_a_stream_are_those_that_were_sent(answer: tuple[bytes, list[bytes]]) -> None:
    body, segments = answer

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for segment in segments:
            writer.write(segment)
            await asyncio.sleep(0.0005)

    async def go() -> None:
        upstream = Upstream()
        async with serving(send) as url:
            stream = await upstream.stream(target(url), asked("x"))
            ours = [event.raw async for event in stream]
            async with httpx.AsyncClient() as client, client.stream("POST", url, json={}) as oracle:
                theirs = b"".join([part async for part in oracle.aiter_raw()])
        upstream.close()
        assert b"".join(ours) == theirs == body
        assert all(raw.endswith(b"\n\n") for raw in ours)

    asyncio.run(go())


def test_connections_are_kept_and_one_that_was_closed_meanwhile_is_replaced() -> None:
    opened = 0

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for _ in range(3):
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
        if opened == 1:
            await request(reader)  # and hangs up without an answer

    async def go() -> None:
        upstream = Upstream(retry=CallRetry(attempts=1))
        async with serving(send) as url:
            for _ in range(5):
                assert (await upstream.complete(target(url), asked("x"))).attempts == 1
        upstream.close()

    asyncio.run(go())
    assert opened == 2


def test_a_connection_is_kept_after_a_stream_whose_body_ends_after_its_last_event() -> None:
    opened = 0
    body = chunk("x") + b"data: [DONE]\n\n"

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while True:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
            await asyncio.sleep(0.01)
            writer.write(b"0\r\n\r\n")

    async def go() -> None:
        upstream = Upstream()
        async with serving(send) as url:
            for _ in range(4):
                stream = await upstream.stream(target(url), asked("x"))
                assert [event.is_done async for event in stream] == [False, True]
                await asyncio.sleep(0.1)
            upstream.close()

    asyncio.run(go())
    assert opened == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER, None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER), None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfive!", "not what was asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ANSWER, "ended too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "compressed"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "status 204; expected 200"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "redirects are not"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, "longer than"),
        (b"", "the connection ended"),
    ],
)
def test_answers_of_all_kinds(answer: bytes, expected: str | None) -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)

    async def go() -> str:
        async with serving(send) as url:
            return (await Upstream(retry=CallRetry(attempts=1)).complete(target(url), asked("x"))).text

    if expected is None:
        assert asyncio.run(go()) == "yes"
    else:
        with pytest.raises(UpstreamError, match=expected):
            asyncio.run(go())


def test_a_stream_that_is_not_read_is_not_taken_in() -> None:
    taken = 0

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + chunk("first"))
        while taken < 200 * 2**20:
            writer.write(chunk("x" * 2**16))
            await writer.drain()
            taken += 2**16

    async def go() -> None:
        async with serving(send) as url:
            stream = await Upstream().stream(target(url), asked("x"))
            before = -1
            while before != taken:  # until the server waits
                before = taken
                await asyncio.sleep(0.1)
            held = taken
            read = 0
            async for event in stream:
                read += len(event.raw)
                if read > held + 2**20:
                    break
            assert taken > held
            stream.close()
            assert held < 100 * 2**20

    asyncio.run(go())


def test_the_key_goes_to_the_endpoint_and_into_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request(reader))
        assert heads[-1].startswith(b"POST /v1/chat/completions?version=2 HTTP/1.1\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    async def go() -> None:
        upstream = Upstream()
        async with serving(send) as url:
            for key in ("canary-1", "canary-2"):  # a key that was refused is read again
                monkeypatch.setenv("LLM_KEY", key)
                with pytest.raises(UpstreamError) as raised:
                    await upstream.complete(target(f"{url}?version=2", key="LLM_KEY"), asked("x"))
                assert "canary" not in str(raised.value) + raised.value.upstream_text
            monkeypatch.setenv("LLM_KEY", "canary\r\nX-Injected: 1")
            with pytest.raises(StageError, match="secret LLM_KEY has characters") as refused:
                await Upstream().complete(target(url, key="LLM_KEY"), asked("x"))
            assert "canary" not in str(refused.value)
            monkeypatch.delenv("LLM_KEY")
            with pytest.raises(StageError, match="endpoint 'main': the environment variable LLM_KEY is not set"):
                await Upstream().complete(target(url, key="LLM_KEY"), asked("x"))

    asyncio.run(go())
    assert [b"Authorization: Bearer canary-%d\r\n" % number in head for number, head in enumerate(heads, 1)] == [
        True
    ] * 2


@pytest.mark.parametrize(
    "url", ["loopback", "llm.example.com/v1", "ftp://llm.example.com", "http://me:pw@host/v1", "http://a b/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(DefinitionError, match="endpoint 'main': url") as raised:
        asyncio.run(Upstream().complete(target(url), asked("x")))
    assert "pw" not in str(raised.value)


def test_certificates_are_checked(tmp_path: Path) -> None:
    certificate, context = certified(tmp_path)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    async def go() -> None:
        async with serving(send, context) as url:
            trusting = Upstream(tls=lambda: ssl.create_default_context(cafile=str(certificate)))
            assert (await trusting.complete(target(url), asked("x"))).text == "yes"
            with pytest.raises(UpstreamError, match="its certificate is not valid") as raised:
                await Upstream(retry=CallRetry(attempts=1)).complete(target(url), asked("x"))
            assert (raised.value.kind, raised.value.sent) == ("connect", False)
            trusting.close()

    asyncio.run(go())


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a new certificate of this machine, and the context of a server that has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return certificate, context
