"""Reads JSON: also NaN and Infinity, which JSON does not know, and large bodies in pieces.

json.dumps of a data frame's values writes NaN and Infinity unless it is told not to, and the servers that Trimtab
stands in for read them. They are looked for only when a body has failed to be read.

msgspec keeps Python's interpreter for as long as one call takes, 100 ms for 16 MB. A large body is therefore read in
pieces of at most PIECE bytes, between which the event loop gets its turn: an object by its values, a list by runs of
its elements. A run ends at a separator that is found by its bytes alone. Where that stands in a string, or deeper than
the list, the run is malformed, and an earlier separator is tried.
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
"""Bytes that are read in one call."""
DEEPEST = 4
"""Levels of nesting down to which bodies are read in pieces; a request's rows lie within."""
TRIES = 4
"""Separators that are tried for the end of a run."""
_SEPARATORS = {b"{": b"},", b"[": b"],", b'"': b'",'}

_decode, _decode_lines = msgspec.json.Decoder().decode, msgspec.json.Decoder().decode_lines
_skim = msgspec.json.Decoder(msgspec.Raw).decode
"""Names the place of most mistakes, in a fifth of the time."""
_values = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b', re.DOTALL)
_INSTEAD = {b"NaN": b"null", b"Infinity": b"1.7976931348623157e308", b"-Infinity": b"-1.7976931348623157e308"}
"""A number beyond float32 is infinite to a model, as it was in training."""


def repaired(body: bytes) -> bytes | None:
    """Return a body with numbers and nulls for the constants that JSON does not know, None when it holds none."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    return _TOKENS.sub(lambda match: _INSTEAD.get(match[0], match[0]), body)


def read(decode: Callable[[bytes], Found], body: bytes, what: str, kind: type[Found] | None = None) -> Found:
    """Decode a body, as it is or repaired; a large one in pieces. Raises Refused, which calls it `what`.

    kind: what `decode` returns; None: whatever JSON holds.
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
    """Decode one JSON value a line. Raises what msgspec raises."""
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
        return decode(body)  # what only this finds is rare: it keeps the interpreter for the whole body
    return found if kind is None else msgspec.convert(found, kind)


def in_pieces(body: bytes, depth: int = 0) -> Any:
    """Decode JSON as msgspec does, at most PIECE bytes at once. Raises what msgspec raises."""
    if len(body) <= PIECE or depth > DEEPEST:
        return _decode(body)
    body = body.strip()
    if body.startswith(b"{"):
        return {name: in_pieces(bytes(value), depth + 1) for name, value in _values(body).items()}
    if body.startswith(b"["):
        return _in_runs(body, depth)
    return _decode(body)


def _in_runs(body: bytes, depth: int) -> list[Any]:
    """Decode a list by runs of its elements; one whose elements are large by each of them."""
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
    """Return the elements from `at` on up to a separator, and where the next one begins; none without such a run."""
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
