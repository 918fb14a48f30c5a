"""Framed messages over pipes between a scorer and the process that runs its model.

A frame is its length (4 bytes, little-endian), its kind (1 byte) and its content. Rows are two uint32 (rows,
features) and float32 values, row by row; behind them are the exact values of typed features as MessagePack. Scores are
float64, row by row. Errors and the hello are text. The description of the model to open is JSON. The two sides take
turns, so a pipe never holds more than one frame.
"""

from __future__ import annotations

import os
import select
import struct
import time
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyLibrary("numpy")  # the supervisor of a gateway imports this file

OPEN, HELLO, ROWS, SCORES, ERROR = b"O", b"H", b"R", b"S", b"E"
MAX_FRAME = 2**30
PIECE = 2**16
"""Bytes that a pipe holds on Linux."""
_HEAD = struct.Struct("<IB")
_SHAPE = struct.Struct("<II")


class Gone(Exception):
    """The other side has closed its end."""


class Late(Exception):
    """The other side did not answer in time."""


def pack(kind: bytes, content: bytes) -> bytes:
    """Return a frame."""
    return _HEAD.pack(len(content), kind[0]) + content


def pack_rows(X: np.ndarray[Any, Any]) -> bytes:
    """Return rows, float32 (rows, features), as a frame."""
    plain = _SHAPE.pack(*X.shape) + np.ascontiguousarray(X, dtype="<f4").tobytes()
    exact = getattr(X, "plain_rows", None)  # of typed rows
    return pack(ROWS, plain if exact is None else plain + msgspec.msgpack.encode((X.schema.text, exact())))  # type: ignore[attr-defined]  # as above


def unpack_rows(content: bytearray) -> tuple[np.ndarray[Any, Any], tuple[str, list[list[Any]]] | None]:
    """Return the rows of a frame, float32 (rows, features), without copying its content.

    The second value is None for rows without typed features, else the text of their schema and their exact values.
    """
    shape = _SHAPE.unpack_from(content)
    end = _SHAPE.size + 4 * shape[0] * shape[1]
    rows = np.frombuffer(content, dtype="<f4", count=shape[0] * shape[1], offset=_SHAPE.size).reshape(shape)
    return rows, msgspec.msgpack.decode(memoryview(content)[end:]) if end < len(content) else None


def write(fd: int, frame: bytes, *, deadline: float | None = None) -> None:
    """Write a frame. Raises Gone, and Late when the other side has not taken it by `deadline` (time.monotonic).

    With a deadline `fd` must not block.
    """
    left = memoryview(frame)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            if deadline is not None:
                _wait(fd, select.POLLOUT, deadline)
        except BrokenPipeError:
            raise Gone from None


def read(fd: int, *, deadline: float | None = None) -> tuple[bytes, bytearray]:
    """Return kind and content of the next frame. Raises Gone, and Late past the deadline (time.monotonic)."""
    taken = bytearray()
    size = _HEAD.size
    while len(taken) < size:
        if deadline is not None:
            _wait(fd, select.POLLIN, deadline)
        piece = os.read(fd, PIECE)
        if not piece:
            raise Gone
        taken += piece
        if len(taken) >= _HEAD.size:
            size = _HEAD.size + _HEAD.unpack_from(taken)[0]
            if size > MAX_FRAME:
                raise Gone  # not a frame: something else wrote into the pipe
    if len(taken) > size:
        raise Gone  # as above
    return bytes(taken[4:5]), taken[_HEAD.size :]


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise Late
