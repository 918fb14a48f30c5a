"""The client against a real server: order of answers, broken connections, no answer at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trimtab.app.replay.client import Client
from trimtab.clock import ManualClock


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: set[bytes]
    opened: list[object]

    def setup(self) -> None:
        super().setup()
        self.opened.append(self.client_address)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"break once" and body not in self.seen:
            self.seen.add(body)
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status = 400 if body.startswith(b"bad") else 200
        answer = body * 20_000 if body == b"long" else body
        self.send_response(status)
        if body == b"chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\nin\r\n8;x=1\r\n chunks!\r\n0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    handler = type("Echo", (Echo,), {"seen": set(), "opened": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_answers_come_in_the_order_of_the_requests(url: str) -> None:
    client = Client(url, ManualClock(), connections=3)
    bodies = [b"%d" % n for n in range(10)] + [b"bad one", b"long"]
    answers = client.post_all("/x", bodies)
    client.close()
    assert [a.body for a in answers[:-1]] == bodies[:-1]
    assert answers[-1].body == b"long" * 20_000
    assert [a.status for a in answers] == [200] * 10 + [400, 200]


def test_a_request_whose_connection_breaks_is_sent_again(url: str) -> None:
    client = Client(url, ManualClock(), connections=2)
    assert [a.body for a in client.post_all("/x", [b"one", b"break once", b"two"])] == [b"one", b"break once", b"two"]
    client.close()


def test_each_connection_is_opened_once(url: str, server: ThreadingHTTPServer) -> None:
    client = Client(url, ManualClock(), connections=3)
    assert all(answer.ok for answer in client.post_all("/x", [b"%d" % n for n in range(10)]))
    client.close()
    assert len(server.RequestHandlerClass.opened) == 3  # type: ignore[attr-defined]  # of the class Echo


def test_an_answer_may_come_in_chunks(url: str) -> None:
    client = Client(url, ManualClock(), connections=1)
    assert [a.body for a in client.post_all("/x", [b"chunked", b"after"])] == [b"in chunks!", b"after"]
    client.close()


def test_without_a_server_every_answer_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = Client(f"http://127.0.0.1:{port}", ManualClock()).post("/x", b"hello")
    assert (answer.status, answer.ok) == (0, False)
