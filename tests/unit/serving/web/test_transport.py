"""One write a response: heads wait for bodies, nothing else waits."""

from __future__ import annotations

import asyncio

import pytest

from trimtab.serving.web.transport import HoldingTransport


class Wire(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_a_head_goes_out_with_its_body(wire: Wire) -> None:
    transport = HoldingTransport(wire)
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert wire.written == []
    transport.write(b"body")
    transport.write(b"more")
    assert wire.written == [b"HTTP/1.1 200 OK\r\n\r\nbody", b"more"]


def test_a_head_without_a_body_goes_out_when_the_response_is_complete(wire: Wire) -> None:
    transport = HoldingTransport(wire)
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    transport.flush()
    transport.flush()
    assert wire.written == [b"HTTP/1.1 200 OK\r\n\r\n"]


def test_closing_loses_nothing(wire: Wire) -> None:
    transport = HoldingTransport(wire)
    transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    transport.close()
    assert wire.written == [b"HTTP/1.1 400 Bad Request\r\n\r\n"]
    assert transport.is_closing()


def test_an_invitation_to_go_on_does_not_wait(wire: Wire) -> None:
    HoldingTransport(wire).write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert wire.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
