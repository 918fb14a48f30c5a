"""Answers of the loopback models as OpenAI's interface has them: bodies, chunks and usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trimtab.llm.loopback.fault_modes import Faults
from trimtab.llm.loopback.loopback_bill import BilledCall
from trimtab.llm.loopback.stand_in_models import Reply
from trimtab.llm.loopback.word_pieces import pieces_of

REFUSAL = "I cannot help with that."


class Generated(msgspec.Struct, kw_only=True):
    """One choice: the deltas of its tokens in order, and why it ended."""

    deltas: list[dict[str, Any]]
    finish_reason: str


def generate(reply: Reply, body: Mapping[str, Any], faults: Faults, *, name: str) -> Generated:
    """Return the tokens of a reply, within the longest length and before the stop texts of a request."""
    reason = "stop"
    if faults.refusal:
        deltas: list[dict[str, Any]] = [{"refusal": piece} for piece in pieces_of(REFUSAL)]
    elif reply.tool_calls:
        deltas, reason = list(_call_deltas(reply, name)), "tool_calls"
    else:
        text = reply.text[: len(reply.text) // 2] if faults.invalid_json else reply.text
        stops = body.get("stop") or ()
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.partition(stop)[0]
        pieces = pieces_of(text)
        while pieces and len(pieces) < faults.tokens:
            pieces = [*pieces, *pieces_of(f" {text}")][: faults.tokens]
        deltas = [{"content": piece} for piece in pieces]
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if most is not None and len(deltas) > most:
        deltas, reason = deltas[:most], "length"
    return Generated(deltas=deltas, finish_reason=reason)


def message_of(generated: Generated) -> dict[str, Any]:
    """Return the whole message of a choice."""
    found: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: dict[int, dict[str, Any]] = {}
    for delta in generated.deltas:
        for key in ("content", "refusal"):
            if key in delta:
                found[key] = (found[key] or "") + delta[key]
        for part in delta.get("tool_calls", ()):
            if "id" in part:
                calls[part["index"]] = {**part, "function": dict(part["function"])}
                del calls[part["index"]]["index"]
            else:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    if calls:
        found["tool_calls"] = [calls[index] for index in sorted(calls)]
    elif found["refusal"] is None:
        found["content"] = found["content"] or ""
    return found


def usage_of_call(call: BilledCall, faults: Faults) -> dict[str, Any] | None:
    """Return the usage that is reported of a call, which a fault makes another one than is charged for."""
    if faults.usage == "null":
        return None
    read, cached = call.input_tokens, call.cached_tokens
    if faults.usage == "exclusive":
        read -= cached + call.cache_write_tokens
    if faults.usage == "contradicting":
        cached = read + 7
    written = call.output_tokens - (call.reasoning_tokens if faults.separate else 0)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": call.cache_write_tokens},
        "completion_tokens_details": {"reasoning_tokens": call.reasoning_tokens},
    }


def _call_deltas(reply: Reply, name: str) -> Iterator[dict[str, Any]]:
    for index, (function, arguments) in enumerate(reply.tool_calls):
        begin = {"name": function, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": f"call_{name}_{index}", "type": "function", "function": begin}]}
        for piece in pieces_of(msgspec.json.encode(arguments).decode()):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
