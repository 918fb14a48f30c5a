"""Frames: one append as it lies in a segment file, a head of 16 bytes and a body of packed rows (packed_rows).

    marker   4 bytes   MARKER, by which a reader finds the next frame after damage
    rows     uint32    little-endian, as are the two that follow
    length   uint32    of the body, in bytes
    crc32    uint32    CRC-32 of rows, length and body: a reader finds a change of any bit
    body               packed rows

A segment ends with END, the frame of no rows and no body.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from trimtab.stores.predictions.packed_rows import RowPacker

MARKER = b"\xc1TL1"
"""0xC1 begins no MessagePack value; the digit is the version of this format."""
_HEAD = struct.Struct("<4sIII")
_SUMMED = struct.Struct("<II")
_SUMMED_AT = len(MARKER)
END = _HEAD.pack(MARKER, 0, 0, crc32(_SUMMED.pack(0, 0)))


class Frame(NamedTuple):
    """Where one frame lies in some bytes: its rows and the offsets at which it starts, its body starts, and it ends."""

    rows: int
    start: int
    body: int
    end: int


class FrameWriter:
    """Makes frames of rows of one kind."""

    def __init__(self, kind: str) -> None:
        self._packer = RowPacker(kind)

    def frame(self, columns: Mapping[str, Sequence[Any]]) -> tuple[bytearray, int]:
        """Return the frame of some rows, and their number. Raises DataError naming the column that does not fit."""
        frame = bytearray(_HEAD.size)
        rows = self._packer.pack_into(frame, _HEAD.size, columns)
        _seal(frame, rows)
        return frame, rows


def framed(body: bytes, rows: int) -> bytearray:
    """Return the frame of a body that is packed already."""
    frame = bytearray(_HEAD.size) + body
    _seal(frame, rows)
    return frame


def _seal(frame: bytearray, rows: int) -> None:
    """Write the head of a frame whose body is in place."""
    length = len(frame) - _HEAD.size
    checksum = crc32(memoryview(frame)[_HEAD.size :], crc32(_SUMMED.pack(rows, length)))
    _HEAD.pack_into(frame, 0, MARKER, rows, length, checksum)


def frame_at(data: memoryview, start: int) -> Frame | None:
    """Return the frame that starts at an offset and is whole by its length, or None."""
    if len(data) - start < _HEAD.size:
        return None
    marker, rows, length, _ = _HEAD.unpack_from(data, start)
    body = start + _HEAD.size
    return Frame(rows, start, body, body + length) if marker == MARKER and body + length <= len(data) else None


def is_right(data: memoryview, frame: Frame) -> bool:
    """Return True if the checksum of a whole frame holds."""
    summed = data[frame.start + _SUMMED_AT : frame.start + _SUMMED_AT + _SUMMED.size]
    return bool(_HEAD.unpack_from(data, frame.start)[3] == crc32(data[frame.body : frame.end], crc32(summed)))
