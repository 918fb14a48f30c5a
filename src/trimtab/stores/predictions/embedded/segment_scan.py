"""Reads the appends of one segment file and verifies their checksums. Loads pyarrow for earlier versions' files only.

Three things may lie between or behind whole frames:
- the end of the segment;
- a torn tail, which a crash left at the end of the file. None of its rows was acknowledged, so it is dropped silently;
- damage: bytes that have changed since they were written. A damaged range ends at the next frame whose checksum is
  right. It is left out, counted, and logged once as an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.stores.predictions import arrow_rows, packed_rows
from trimtab.stores.predictions.embedded import arrow_segments, frames
from trimtab.stores.predictions.embedded.frames import Frame
from trimtab.stores.predictions.embedded.segment_folder import ARROW

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

READ_BYTES = 16 * 2**20
"""Bytes that are read at a time; doubled while a single frame is longer."""


class Format(NamedTuple):
    """How segments of one kind of file are read. frame_at, is_right: as in `frames`; the others take frames' bodies."""

    marker: bytes
    end: bytes
    frame_at: Callable[[memoryview, int], Frame | None]
    is_right: Callable[[memoryview, Frame], bool]
    rows_in: Callable[[memoryview, str], int] | None
    """Counts the rows of a body, where the frame does not say."""
    table_of: Callable[[Sequence[memoryview], str], pa.Table]
    rows_of: Callable[[memoryview, str], list[dict[str, Any]]]


FRAMES = Format(
    frames.MARKER,
    frames.END,
    frames.frame_at,
    frames.is_right,
    None,
    arrow_rows.table_of,
    packed_rows.rows_of,
)
ARROW_STREAM = Format(
    arrow_segments.MARKER,
    arrow_segments.END,
    arrow_segments.frame_at,
    arrow_segments.is_right,
    arrow_segments.rows_in,
    arrow_segments.table_of,
    arrow_segments.rows_of,
)


class Append(NamedTuple):
    """One append whose checksum is right."""

    body: memoryview
    rows: int
    end: int
    """Offset in the file behind the append."""


class Damages:
    """The damaged byte ranges that one reader has found. Each is logged once, unless `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._found: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return len(self._found)

    def has(self, path: Path) -> bool:
        """Return True if a file has a damaged range."""
        return any(name == path.name for name, _ in self._found)

    def report(self, path: Path, start: int, end: int, rows: int | None) -> None:
        """Count a range of a file, and log it, unless it is known."""
        if (path.name, start) in self._found:
            return
        self._found.add((path.name, start))
        if self._quiet:
            return
        lost = "an unknown number of rows" if rows is None else f"{rows} rows"
        log.error(
            "%s: bytes %d to %d are damaged and left out: %s lost. The disk or a copy has changed them; "
            "restore the file from a backup",
            *(path, start, end, lost),
        )


def format_of(path: Path) -> Format:
    """Return the format of a segment, by the ending of its name."""
    return ARROW_STREAM if path.suffix == ARROW else FRAMES


def scan(path: Path, kind: str, damages: Damages, offset: int = 0) -> Iterator[Append]:
    """Yield the whole appends of a segment behind an offset. Raises FileNotFoundError."""
    form, size = format_of(path), READ_BYTES
    with path.open("rb", buffering=0) as file:
        while True:
            data = os.pread(file.fileno(), size, offset)  # not a mapping: a writer may cut off a failed write
            view, at_end, end = memoryview(data), len(data) < size, 0
            while (frame := form.frame_at(view, end)) is not None and form.is_right(view, frame):
                end, body = frame.end, view[frame.body : frame.end]
                if frame.rows:
                    yield Append(body, form.rows_in(body, kind) if form.rows_in else frame.rows, offset + end)
            if not end and at_end:
                end = _next_frame(view, data, form)
                if not end:
                    return
                damages.report(path, offset, offset + end, _claimed_rows(view, end, form))
            offset += end
            size = READ_BYTES if end else size * 2


def _next_frame(view: memoryview, data: bytes, form: Format) -> int:
    """Return where the damaged range at the start of the data ends; 0 where there is no data, or a torn tail."""
    if data in (b"", form.end):
        return 0
    start = data.find(form.marker, 1)
    while start > 0:
        frame = form.frame_at(view, start)
        if frame is not None and form.is_right(view, frame):
            return start
        start = data.find(form.marker, start + 1)
    first = form.frame_at(view, 0)  # whole by its length: a crash leaves no such frame
    return 0 if first is None else first.end


def _claimed_rows(view: memoryview, end: int, form: Format) -> int | None:
    first = form.frame_at(view, 0)
    return first.rows if first is not None and first.end == end and form.rows_in is None else None
