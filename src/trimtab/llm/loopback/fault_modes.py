"""Faults that the loopback provider can be asked for, by model (`classifier+flaky=0.2+slow`) or header of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from trimtab.errors import nearest

HEADER = b"x-loopback-fault"
"""Its value is like what follows the first `+` of a model."""
BARE: Mapping[str, Mapping[str, str]] = {
    "slow": {"first": "500", "pace": "50"},
    "hang": {"hang": "before"},
    "cut": {"cut": "chunk"},
    "error": {"error": "mid"},
    "usage": {"usage": "missing"},
    "split": {"split": "1"},
}
"""What a fault without a value stands for; others are switches."""


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request asks to go wrong."""

    first: float = 0.0
    """Milliseconds before the first token."""
    pace: float = 0.0
    """Milliseconds between two tokens."""
    status: int = 0
    """Answer with this status, `k` of each `n` calls, in the first `times` calls."""
    k: int = 1
    n: int = 1
    times: int | None = None
    retry_after: str | None = None
    """Header retry-after of such an answer."""
    text: str = ""
    """Text of such an answer, in addition."""
    drop: bool = False
    """Hang up without an answer, in the same calls as `status`."""
    hang: Literal["", "before", "mid"] = ""
    """Go silent before the first token, or in mid-stream, until the client leaves."""
    cut: Literal["", "chunk", "event"] = ""
    """chunk: hang up inside a chunk, or a body; event: end the stream in good order after half of the tokens."""
    no_done: bool = False
    """Leave `[DONE]` out."""
    error: Literal["", "first", "mid"] = ""
    """Send an event with an error before the first token, or in mid-stream."""
    garbled: bool = False
    """Send a chunk in mid-stream, or a body, that is no JSON."""
    usage: Literal["", "missing", "null", "contradicting", "exclusive"] = ""
    """What is wrong with the reported usage. exclusive: cached tokens are not among the input tokens."""
    cached: float = 0.0
    """Share of the input tokens that are cached."""
    cache_write: float = 0.0
    """Share of the input tokens that are written to a cache."""
    reasoning: int = 0
    """Hidden tokens before the first one."""
    separate: bool = False
    """Reasoning is not among the output tokens."""
    no_stream_options: bool = False
    """Refuse requests with stream_options."""
    split: int = 0
    """Send that many bytes a segment."""
    joined: bool = False
    """Send three events a segment."""
    crlf: bool = False
    """End lines with carriage return and line feed."""
    comments: bool = False
    """Send a comment before each event."""
    multiline: bool = False
    """Write the JSON of an event over several data lines."""
    refusal: bool = False
    """Refuse to answer."""
    invalid_json: bool = False
    """Cut the text of the answer in half."""
    as_model: str = ""
    """Report another model."""
    flaky: float = 0.0
    """Probability of a wrong answer, drawn anew each time the same messages are asked."""
    drift: float = 0.0
    """Share of messages that are answered wrongly after `after` calls of the model, or `seconds` after the start."""
    after: int | None = None
    seconds: float | None = None
    tokens: int = 0
    """Repeat the answer until it has so many tokens."""

    def hits(self, call: int) -> bool:
        """Return True if the fault of `status` or `drop` is for a call; the first one is 0."""
        return call % self.n < self.k and (self.times is None or call < self.times)


NO_FAULTS = Faults()


def parse_faults(text: str) -> Faults:
    """Return the faults of a text such as `flaky=0.2+slow`. Raises ValueError."""
    if not text:
        return NO_FAULTS
    found: dict[str, str] = {}
    for each in text.split("+"):
        name, given, value = each.strip().partition("=")
        if given:
            found[name] = value
        else:
            found.update(BARE.get(name, {name: "true"}))
    for name in found:
        if name not in Faults.__struct_fields__:
            raise ValueError(f"unknown fault '{name}'.{nearest(name, [*Faults.__struct_fields__, *BARE])}")
    try:
        return msgspec.convert(found, Faults, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"fault '{text}': {error}") from None
