"""Splits request targets into path and query, and checks Host headers; caches both for all connections."""

from __future__ import annotations

import re
from urllib.parse import unquote

import httptools

KNOWN_TARGETS = 512
"""Size of the cache of targets; when it is full, it is emptied."""
LONGEST_KNOWN = 200
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%~_-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?\Z")
"""uri-host [ ":" port ] of RFC 9110, 7.2; it may be empty."""


class Targets:
    """Splits request targets, and caches short ones without a query."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, bytes, bytes]] = {}
        self._hosts: set[bytes] = set()

    def split(self, target: bytes) -> tuple[str, bytes, bytes]:
        """Return path, path as sent, and query. Raises httptools.HttpParserInvalidURLError."""
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

    def is_host(self, value: bytes) -> bool:
        """Return True if a Host header is well-formed."""
        if value in self._hosts:
            return True
        if _HOST.match(value) is None:
            return False
        if len(value) <= LONGEST_KNOWN and len(self._hosts) < KNOWN_TARGETS:
            self._hosts.add(value)
        return True
