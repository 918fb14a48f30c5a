"""Finds the route of a method and path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import unquote

from trimtab.serving.endpoints import Elsewhere, EncodeError, Route, encode_error
from trimtab.serving.requests import Refused

KNOWN_PATHS = 512
"""Size of the cache of inference paths; when it is full, it is emptied."""
LONGEST_KNOWN = 200
"""Characters of the longest path that is cached, or compared for a hint."""

Found = tuple[Route, Mapping[str, str]]
"""A route, and the values of its named parts."""


class NotServed(Refused):
    """No route for a method and path. encode_error: of the protocol that owns the path; allow: its methods."""

    def __init__(self, status: int, message: str, encode_error: EncodeError, allow: str = "") -> None:
        super().__init__(status, message)
        self.encode_error = encode_error
        self.allow = allow


class _Pattern(NamedTuple):
    route: Route
    matches: re.Pattern[str]


class Router:
    """Finds routes. Raises ValueError when two routes have the same method and path."""

    def __init__(self, routes: Sequence[Route], elsewhere: Elsewhere | None = None) -> None:
        self.routes = tuple(routes)
        self._elsewhere = elsewhere
        self.known: dict[str, Found] = {}
        """Path -> route of POST requests: fixed paths and cached ones. Public, so that a caller can skip `find`."""
        self._fixed: dict[str, dict[str, Found]] = {}
        self._patterns: dict[str, list[_Pattern]] = {}
        seen: set[tuple[str, str]] = set()
        for route in self.routes:
            key = (route.method, re.sub(r"\{\w+\}", "{}", route.path))
            if key in seen:
                raise ValueError(f"two routes answer {route.method} {route.path}; expected one")
            seen.add(key)
            for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
                fixed, patterns = self._fixed.setdefault(method, {}), self._patterns.setdefault(method, [])
                if "{" in route.path:
                    patterns.append(_Pattern(route, _compile(route.path, self._verbs(route.path))))
                else:
                    fixed[route.path] = (route, {})
        self._forget()

    def _verbs(self, path: str) -> list[str]:
        """Return the endings that other routes add to a path, such as ":predict", which its last name must not have."""
        return [other.path.removeprefix(path) for other in self.routes if other.path.startswith(f"{path}:")]

    def find(self, scope: Mapping[str, Any]) -> Found:
        """Return the route of an ASGI scope. Raises NotServed (404, 405)."""
        method, path = scope["method"], scope["path"]
        found = self._match(method, scope)
        if found is None:
            raise self._missing(method, scope)
        escaped = _raw(scope) != path  # an escaped path is not cached: it can read like another one
        if method == "POST" and found[0].permission == "infer" and len(path) <= LONGEST_KNOWN and not escaped:
            if len(self.known) >= KNOWN_PATHS:
                self._forget()
            self.known[path] = found
        return found

    def _forget(self) -> None:
        self.known.clear()
        self.known.update(self._fixed.get("POST", {}))

    def _match(self, method: str, scope: Mapping[str, Any]) -> Found | None:
        fixed = self._fixed.get(method)
        if fixed is None:
            return None
        return fixed.get(scope["path"]) or self._dynamic(method, _raw(scope))

    def _dynamic(self, method: str, raw: str) -> Found | None:
        """Match the path as sent, so that a name may contain an escaped slash."""
        for route, pattern in self._patterns[method]:
            match = pattern.match(raw)
            if match is not None:
                return route, {name: unquote(text) for name, text in match.groupdict().items()}
        return None

    def _missing(self, method: str, scope: Mapping[str, Any]) -> NotServed:
        path = scope["path"]
        others: dict[str, Route] = {}
        for other in self._fixed:
            found = self._match(other, scope)
            if found is not None:
                others[other] = found[0]
        told = None if self._elsewhere is None else self._elsewhere(path, bool(others))
        if told is not None:
            return NotServed(404, *told)
        if others:
            allow = ", ".join(sorted(others))
            owner = next(iter(others.values()))
            return NotServed(
                405, f"{method:.20} is not served at {path:.200}; expected {allow}", owner.encode_error, allow
            )
        return NotServed(404, f"nothing is served at {path:.200}.{self._hint(path)}", encode_error)

    def _hint(self, path: str) -> str:
        """Return a hint at the nearest route, filled in with the names of this path."""
        if len(path) > LONGEST_KNOWN:
            return " See GET /openapi.json"
        segments = path.rstrip("/").split("/")
        routes = [route.path.split("/") for route in self.routes]
        own = [route for route in routes if route[1] == segments[1]] if len(segments) > 1 else []
        near = [_filled(route, segments) for route in own or routes]  # prefer routes with the same first segment
        close = get_close_matches(path, near, n=1, cutoff=0.6)
        return f" Did you mean '{close[0]}'?" if close and close[0] != path else " See GET /openapi.json"


def _raw(scope: Mapping[str, Any]) -> str:
    raw = scope.get("raw_path")
    if raw is None or b"%" not in raw:
        path: str = scope["path"]
        return path
    return bytes(raw).decode("latin-1")


def _compile(path: str, never: Sequence[str] = ()) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile(
        "".join(re.escape(part) if n % 2 == 0 else f"(?P<{part}>[^/]+)" for n, part in enumerate(parts))
        + "".join(f"(?<!{re.escape(end)})" for end in never)
        + r"\Z"
    )


def _filled(pattern: Sequence[str], segments: Sequence[str]) -> str:
    """Return the path of a pattern, with the given segments in its braces if their number is the same."""
    if len(pattern) != len(segments):
        return "/".join(pattern)
    return "/".join(
        text if own.startswith("{") and own.endswith("}") else own for own, text in zip(pattern, segments, strict=True)
    )
