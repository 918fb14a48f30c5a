"""Decodes JSON, including NaN and Infinity, and large bodies in pieces.

By default json.dumps writes NaN and Infinity, which are no JSON, and the servers that Trimtab replaces accept them.
They are replaced only after a body has failed to decode.

msgspec holds the GIL during a call, 100 ms for 16 MB. A large body is therefore decoded in pieces of at most PIECE
bytes, between which the event loop can run: an object by its values, a list by runs of its elements. A run ends at a
separator that is found by its bytes. If that is inside a string or a nested value, the run is malformed, and an earlier
separator is tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from trimtab.serving.requests import Refused

Found = TypeVar("Found")
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

PIECE = 256 * 2**10
"""Bytes that one call decodes."""
DEEPEST = 4
"""Levels of nesting down to which bodies are decoded in pieces; rows are within these."""
TRIES = 4
"""Separators that are tried for the end of a run."""
_SEPARATORS = {b"{": b"},", b"[": b"],", b'"': b'",'}

_decode, _decode_lines = msgspec.json.Decoder().decode, msgspec.json.Decoder().decode_lines
_skim = msgspec.json.Decoder(msgspec.Raw).decode
"""Finds most syntax errors in a fifth of the time."""
_values = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b', re.DOTALL)
_INSTEAD = {b"NaN": b"null", b"Infinity": b"1.7976931348623157e308", b"-Infinity": b"-1.7976931348623157e308"}
"""A number beyond float32 becomes infinite in the model, as in training."""


def repaired(body: bytes) -> bytes | None:
    """Return a body with NaN and Infinity replaced by null and large numbers; None when it has neither."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    return _TOKENS.sub(lambda match: _INSTEAD.get(match[0], match[0]), body)


def read(decode: Callable[[bytes], Found], body: bytes, what: str, kind: type[Found] | None = None) -> Found:
    """Decode a body as it is, else with NaN and Infinity replaced. Raises Refused, whose text calls the body `what`.

    kind: the type that `decode` returns; None: any JSON.
    """
    try:
        return decode(body) if len(body) <= PIECE else _large(decode, body, kind)
    except UNREADABLE as error:
        again = repaired(body)
        if again is not None:
            try:
                return decode(again) if len(again) <= PIECE else _large(decode, again, kind)
            except UNREADABLE:
                pass
        raise Refused(400, f"malformed {what}: {error}") from None


def read_lines(body: bytes) -> list[Any]:
    """Decode one JSON value a line. Raises the errors of msgspec."""
    found: list[Any] = []
    at = 0
    while len(body) - at > PIECE:
        cut = body.rfind(b"\n", at, at + PIECE) + 1
        if not cut:
            break
        found += _decode_lines(body[at:cut])
        at = cut
    return found + _decode_lines(body[at:])


def _large(decode: Callable[[bytes], Found], body: bytes, kind: type[Found] | None) -> Found:
    try:
        found = in_pieces(body)
    except UNREADABLE:
        _skim(body)
        return decode(body)  # rare: an error that only the full decoder finds; holds the GIL for the whole body
    return found if kind is None else msgspec.convert(found, kind)


def in_pieces(body: bytes, depth: int = 0) -> Any:
    """Decode JSON like msgspec, at most PIECE bytes a call. Raises the errors of msgspec."""
    if len(body) <= PIECE or depth > DEEPEST:
        return _decode(body)
    body = body.strip()
    if body.startswith(b"{"):
        return {name: in_pieces(bytes(value), depth + 1) for name, value in _values(body).items()}
    if body.startswith(b"["):
        return _in_runs(body, depth)
    return _decode(body)


def _in_runs(body: bytes, depth: int) -> list[Any]:
    """Decode a list by runs of its elements, or element by element if these are larger than PIECE."""
    separator = _SEPARATORS.get(body[1:PIECE].lstrip()[:1], b",")
    found: list[Any] = []
    at = 1
    while len(body) - at > PIECE:
        run, after = _run(body, at, separator)
        if not run:
            return found + [in_pieces(bytes(each), depth + 1) for each in _elements(b"[" + body[at:])]
        found += run
        at = after
    last: list[Any] = _decode(b"[" + body[at:])
    if not last:
        raise msgspec.DecodeError("a comma without an element behind it")
    return found + last


def _run(body: bytes, at: int, separator: bytes) -> tuple[list[Any], int]:
    """Return a run of elements from `at` on and the start of the next one; no elements if no separator fits."""
    cut = at + PIECE
    for _ in range(TRIES):
        cut = body.rfind(separator, at, cut)
        if cut < 0:
            break
        comma = cut + len(separator) - 1
        try:
            return _decode(b"[" + body[at:comma] + b"]"), comma + 1
        except UNREADABLE:
            continue
    return [], at
