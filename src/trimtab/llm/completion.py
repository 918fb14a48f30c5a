"""The answer of a language model, and what it reported to have used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

UsageKind = Literal["reported", "counted", "estimated", "assumed"]
"""reported by the endpoint; counted by its tokenizer; estimated from bytes; assumed at the bound, where the gateway
died during the call."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one turn as the endpoint reports them.

    Whether cached and reasoning tokens are among the others depends on the endpoint.
    """

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    total: int = 0
    """Of all; 0 where the endpoint does not say."""
    kind: UsageKind = "reported"


class Completion(msgspec.Struct, kw_only=True):
    """A whole answer."""

    text: str = ""
    tool_calls: Sequence[dict[str, Any]] = ()
    refusal: str | None = None
    finish_reason: str = "stop"
    model: str = ""
    """As the endpoint reports it."""
    usage: Usage | None = None
    """None where the endpoint reported none."""
    first_token_ms: float = 0.0
    latency_ms: float = 0.0
    attempts: int = 1
    """At this endpoint."""
    failed: Sequence[str] = ()
    """Kinds of the attempts before, such as "timeout": the endpoint may bill those that it was sent."""
    size: int = 0
    """UTF-8 bytes of the text, refusal and arguments of tools, over all choices."""
    raw: bytes = b""
    """The body as it came; empty for a stream."""
