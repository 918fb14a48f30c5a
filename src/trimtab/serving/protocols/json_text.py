"""JSON as Python writes it: NaN and Infinity, which JSON does not know. Called by the protocols that read JSON.

json.dumps of a data frame's values writes them unless it is told not to, and the servers that Trimtab stands
in for read them. They are looked for only when a body has failed to be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from trimtab.serving.requests import Refused

Found = TypeVar("Found")
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b', re.DOTALL)
_INSTEAD = {b"NaN": b"null", b"Infinity": b"1.7976931348623157e308", b"-Infinity": b"-1.7976931348623157e308"}
"""A number beyond float32 is infinite to a model, as it was in training."""


def repaired(body: bytes) -> bytes | None:
    """Return a body with numbers and nulls for the constants that JSON does not know, None when it holds none."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    return _TOKENS.sub(lambda match: _INSTEAD.get(match[0], match[0]), body)


def read(decode: Callable[[bytes], Found], body: bytes, what: str) -> Found:
    """Decode a body, as it is or repaired. Raises Refused, which calls it `what`."""
    try:
        return decode(body)
    except UNREADABLE as error:
        again = repaired(body)
        if again is not None:
            try:
                return decode(again)
            except UNREADABLE:
                pass
        raise Refused(400, f"malformed {what}: {error}") from None
