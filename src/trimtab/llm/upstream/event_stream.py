"""Server-sent events (WHATWG HTML, 9.2), read from segments of any size; the bytes of each event stay as they came."""

from __future__ import annotations

import re

import msgspec

MOST_BYTES = 16 * 2**20
"""Longest event."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n|\Z))")
"""Two line ends in a row. A carriage return at the very end may be half a line end, and waits for the next segment."""
_LONGEST_END = 4
_BOM = b"\xef\xbb\xbf"


class ServerEvent(msgspec.Struct, frozen=True):
    """One event, or comments alone.

    raw: its bytes with the empty line that ends it. data: its data lines joined; None without one. name: its type.
    """

    raw: bytes
    data: bytes | None
    name: str = ""


class TooLong(ValueError):
    """An event is longer than MOST_BYTES."""


class EventReader:
    """Reads one stream. The `raw` of all events in order, with `rest` at the end, are the bytes that were fed."""

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0
        self._is_first = True

    def feed(self, segment: bytes) -> list[ServerEvent]:
        """Return the events that a segment completes. Raises TooLong."""
        buffer = self._buffer + segment if self._buffer else segment
        found: list[ServerEvent] = []
        begin, at = 0, self._searched
        while (end := _EVENT_END.search(buffer, at)) is not None:
            found.append(self._event(buffer[begin : end.end()]))
            begin = at = end.end()
        self._buffer = buffer[begin:] if begin else buffer
        self._searched = max(len(self._buffer) - _LONGEST_END, 0)
        if len(self._buffer) > MOST_BYTES:
            raise TooLong(f"an event is longer than {MOST_BYTES} bytes")
        return found

    def rest(self) -> ServerEvent | None:
        """Return what follows the last event when the stream has ended. Only an empty line makes it an event."""
        raw, self._buffer, self._searched = self._buffer, b"", 0
        return self._event(raw) if raw else None

    def _event(self, raw: bytes) -> ServerEvent:
        if raw.startswith(b"data: ") and raw.endswith(b"\n\n") and raw.count(b"\n") == 2 and b"\r" not in raw:
            self._is_first = False
            return ServerEvent(raw, raw[6:-2])
        text = raw.removeprefix(_BOM) if self._is_first else raw
        self._is_first = False
        data: list[bytes] = []
        name = ""
        for line in _LINE_END.split(text):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
        return ServerEvent(raw, b"\n".join(data) if data else None, name)
