"""Walks over the messages of one segment and checks them. Called by reading, finding and compaction; no pyarrow.

Three things can stand between whole messages. The end of the stream. A torn tail, which a crash left at the end of a
file: nothing in it was acknowledged, so it is passed over in silence. And damage: bytes that were right once. A damaged
stretch goes up to the next message whose checksum is right; it is left out, counted, and told once as an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from trimtab.stores.predictions import templates
from trimtab.stores.predictions.framing import BATCH_MESSAGE, END_OF_STREAM, MARKER, PREFIX_BYTES, Frame, frames
from trimtab.stores.predictions.template import CHECKSUM_ZERO, Template

log = logging.getLogger(__name__)

READ_BYTES = 16 * 2**20
"""What is read at a time; doubled while a single message is longer."""
TEMPLATES = {"predictions": templates.PREDICTIONS, "labels": templates.LABELS}
EARLIER = {"predictions": (), "labels": (templates.EARLIER_LABELS,)}
"""What earlier versions wrote: read, never written."""


class Message(NamedTuple):
    """One record batch message whose checksum is right."""

    data: memoryview
    rows: int
    end: int
    """Offset in the file behind the message."""


class Damages:
    """The damaged stretches that one reader has met, each told once, or, if quiet, only counted."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._told: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return len(self._told)

    def has(self, path: Path) -> bool:
        """Tell whether a file has one."""
        return any(name == path.name for name, _ in self._told)

    def tell(self, path: Path, start: int, end: int, rows: int | None) -> None:
        """Count a stretch of a file, and log it unless that was done before."""
        if (path.name, start) in self._told:
            return
        self._told.add((path.name, start))
        if self._quiet:
            return
        lost = "an unknown number of rows" if rows is None else f"{rows} rows"
        log.error(
            "%s: bytes %d to %d are damaged and left out: %s lost. The disk or a copy has changed them; "
            "restore the file from a backup",
            *(path, start, end, lost),
        )


def template_of(message: memoryview, kind: str) -> Template | None:
    """Return the template that a message was made from, which the length of its metadata tells, or None."""
    length = PREFIX_BYTES + int.from_bytes(message[4:PREFIX_BYTES], "little")
    return next((t for t in (TEMPLATES[kind], *EARLIER[kind]) if len(t.head) == length), None)


def scan(path: Path, kind: str, damages: Damages, offset: int = 0) -> Iterator[Message]:
    """Yield the whole messages of a segment behind an offset. Raises FileNotFoundError."""
    openings, size = [t.schema_message for t in (TEMPLATES[kind], *EARLIER[kind])], READ_BYTES
    with path.open("rb", buffering=0) as file:
        while True:
            data = os.pread(file.fileno(), size, offset)  # not a mapping: a writer may cut off a failed write
            view, at_end = memoryview(data), len(data) < size
            end = 0 if offset else next((len(opening) for opening in openings if data.startswith(opening)), 0)
            for frame in frames(view, end):
                if not _is_right(view, frame, kind):
                    break
                end = frame.end
                yield Message(view[frame.start : end], frame.rows, offset + end)
            if not end and at_end:
                end = _next_message(view, data, kind)
                if not end:
                    return
                damages.tell(path, offset, offset + end, _claimed_rows(view, end))
            offset += end
            size = READ_BYTES if end else size * 2


def _is_right(view: memoryview, frame: Frame, kind: str) -> bool:
    template = template_of(view[frame.start : frame.end], kind)
    if template is None:
        return False
    at = frame.start + template.checksum_at
    if frame.kind != BATCH_MESSAGE or at + len(CHECKSUM_ZERO) > frame.end:
        return False
    value = crc32(view[frame.start : at])
    value = crc32(view[at + 8 : frame.end], crc32(CHECKSUM_ZERO, value))
    return view[at : at + 8] == b"%08x" % value


def _next_message(view: memoryview, data: bytes, kind: str) -> int:
    """Return where a damaged stretch at the start of the data ends, or 0 when there is nothing, or a torn tail."""
    if data in (b"", END_OF_STREAM):
        return 0
    start = data.find(MARKER, 1)
    while start > 0:
        frame = next(frames(view, start), None)
        if frame is not None and _is_right(view, frame, kind):
            return start
        start = data.find(MARKER, start + 1)
    first = next(frames(view), None)  # whole by its lengths: a crash leaves no such thing
    if first is None:
        return 0
    return first.end


def _claimed_rows(view: memoryview, end: int) -> int | None:
    first = next(frames(view), None)
    return first.rows if first is not None and first.kind == BATCH_MESSAGE and first.end == end else None
