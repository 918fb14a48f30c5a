"""A connection of the gateway on a free port, and a client that sends raw bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trimtab.clock import SystemClock
from trimtab.serving.endpoints import encode_error
from trimtab.serving.http1.connection import Asgi, Connection
from trimtab.serving.http1.exchange import DateHeader, Message, Scope
from trimtab.serving.http1.targets import Targets

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
        self.interim = 0
        """Interim answers that `answer` has passed over."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer, behind those that are only interim."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        if head[0].startswith("HTTP/1.1 1"):
            self.interim += 1
            return await self.answer()
        headers = dict(line.split(": ", 1) for line in head[1:-2])
        size = int(headers.get("content-length", 0))
        return int(head[0].split()[1]), headers, await self.reader.readexactly(size)

    def close(self) -> None:
        """End both sides, as a program that has ended does."""
        self.writer.close()

    def reset(self) -> None:
        """Break the connection off."""
        # a time of 0 s for what is not sent makes of the close a reset
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        return await self.reader.read()


class Place:
    """A server on a free port of this machine."""

    def __init__(self, application: Asgi, tls: ssl.SSLContext | None) -> None:
        self.connections: set[Connection] = set()
        self._application = application
        self._tls = tls
        self._targets, self._date = Targets(), DateHeader(SystemClock())
        self._clients: list[Client] = []

    def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        return Connection(self._application, loop, self.connections, self._targets, self._date, encode_error)

    async def client(self, tls: ssl.SSLContext | None = None) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls))
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


def trusting(folder: Path) -> ssl.SSLContext:
    """Return a client's context that trusts the certificate in the folder, whatever its name."""
    context = ssl.create_default_context(cafile=str(folder / "certificate"))
    context.check_hostname = False
    return context


POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"


CHUNKED = b"POST /b?q=1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"


GET = b"GET /c%2Fd HTTP/1.1\r\nhost: x\r\n\r\n"
