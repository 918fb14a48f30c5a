"""Messages over a stream socket between supervisor and worker: length, then MessagePack."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Generic, TypeVar

import msgspec

In = TypeVar("In")
Out = TypeVar("Out")

_LENGTH = struct.Struct("<I")
_CHUNK = 2**16


class Channel(Generic[In, Out]):
    """One end of a socket pair: receives `In`, sends `Out`. Sending may be done by any thread."""

    def __init__(self, end: socket.socket, receives: type[In]) -> None:
        self._socket = end
        self._decode = msgspec.msgpack.Decoder(receives).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._mutex = threading.Lock()
        self._bytes = bytearray()

    def fileno(self) -> int:
        """Return the file descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, message: Out) -> None:
        """Send a whole message. Raises OSError when the other end is closed."""
        content = self._encode(message)
        with self._mutex:
            self._socket.sendall(_LENGTH.pack(len(content)) + content)

    def receive(self) -> In | None:
        """Wait for the next message; None when the other end is closed."""
        while True:
            found = self._next()
            if found is not None:
                return found
            if not self._fill():
                return None

    def pending(self) -> tuple[list[In], bool]:
        """Return the messages that one read completes, and False when the other end is closed."""
        alive = self._fill()
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found, alive

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _fill(self) -> bool:
        try:
            chunk = self._socket.recv(_CHUNK)
        except OSError:
            return False
        self._bytes += chunk
        return bool(chunk)

    def _next(self) -> In | None:
        if len(self._bytes) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._bytes)[0]
        if len(self._bytes) < end:
            return None
        content = bytes(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        return self._decode(content)
