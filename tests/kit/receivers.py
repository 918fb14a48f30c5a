"""A mail server and a webhook on this machine, which keep what they are sent."""

from __future__ import annotations

import asyncio
import email
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


class MailServer:
    """An SMTP server. port: where it listens. mails: what came, oldest first."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take one mail."""
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    @property
    def url(self) -> str:
        """The server as Apprise names it."""
        return f"mailto://127.0.0.1:{self.port}?from=trimtab@example.com&to=ops@example.com&mode=insecure"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server."""
    found = MailServer()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    start = loop.create_server(lambda: SMTP(found, hostname="localhost", loop=loop), "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Webhook(ThreadingHTTPServer):
    """An HTTP server. bodies: what was posted and taken, oldest first; paths: of all requests, answered or not.

    While `open` is not set, requests hang. status: answer to a request.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The webhook as Apprise names it."""
        return f"json://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.open.wait()
        if self.server.status == 200:
            self.server.bodies.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Run a webhook."""
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.open.set()
            server.shutdown()
            thread.join()
