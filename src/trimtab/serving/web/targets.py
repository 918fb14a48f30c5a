"""Request targets split into path and query. Used by connection; one for all connections of a worker."""

from __future__ import annotations

from urllib.parse import unquote

import httptools

KNOWN_TARGETS = 512
"""Paths whose parts are remembered; when there are more, all are forgotten."""
LONGEST_KNOWN = 200


class Targets:
    """Splits request targets into path, path as sent, and query. Remembers short ones without a query."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, bytes, bytes]] = {}

    def split(self, target: bytes) -> tuple[str, bytes, bytes]:
        """Raises httptools.HttpParserInvalidURLError."""
        found = self._known.get(target)
        if found is None:
            parts = httptools.parse_url(target)
            raw = parts.path or b"/"
            path = raw.decode("ascii")
            found = (unquote(path) if "%" in path else path, raw, parts.query or b"")
            if not found[2] and len(target) <= LONGEST_KNOWN:
                if len(self._known) >= KNOWN_TARGETS:
                    self._known.clear()
                self._known[target] = found
        return found
