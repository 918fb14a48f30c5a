"""A turn as OpenTelemetry's semantic conventions for generative AI describe it, for the trace of its request.

The request's own span says which prompt answered. Each call of an endpoint is a child of it, of kind client. Texts are
in both directions what `llm.store.traces` allows; the prompt's system messages are in no trace.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.llm.redaction.content_rows import NAME
from trimtab.llm.redaction.redactor import Masks, Mode, Redactor
from trimtab.serving.chat.chat_turn import Turn, UpstreamCall, VersionTurn
from trimtab.serving.telemetry.traces import CallSpan, RequestTrace

PROVIDERS = {
    "openai.azure.com": "azure.ai.openai",
    "openai.com": "openai",
    "anthropic.com": "anthropic",
    "googleapis.com": "gcp.gemini",
    "mistral.ai": "mistral_ai",
    "groq.com": "groq",
    "deepseek.com": "deepseek",
    "x.ai": "x_ai",
    "perplexity.ai": "perplexity",
    "cohere.com": "cohere",
    "amazonaws.com": "aws.bedrock",
}
"""End of a host -> the convention's name of its provider; of other hosts the endpoint's name counts."""
PARAMS = {
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "n": "choice.count",
}
"""Parameter of a request -> attribute below gen_ai.request."""

_encode = msgspec.json.Encoder().encode
Value = str | int | float | bool | Sequence[str]


def note_turn(
    trace: RequestTrace, turn: Turn, texts: Sequence[tuple[str, str]], redactor: Redactor, mode: Mode
) -> None:
    """Add a turn that has ended to the trace of its request. texts: part and text of what was asked and answered."""
    work, now = turn.last, time.perf_counter_ns()
    variant = work.variant
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.prompt.name": turn.table.model,
        "gen_ai.response.id": turn.id,
        "gen_ai.conversation.id": turn.caller.conversation,
        "trimtab.model": turn.table.model,
        "trimtab.version": variant.bundle.version,
        "trimtab.role": variant.role,
        "trimtab.revision": turn.table.revision,
        "trimtab.prediction_id": turn.id,
        "trimtab.cost": sum(each.cost for each in turn.versions) / 1e12,
        **_messages(texts, redactor.turn(), mode),
    }
    calls = [
        CallSpan(
            f"chat {call.target.model}",
            call.start_ns,
            call.end_ns if call.error or not turn.request.stream else now,
            _of_call(turn, each, call),
            call.error or (each.error or "" if call is each.calls[-1] else ""),
        )
        for each in turn.versions
        for call in each.calls
    ]
    trace.note_calls(attributes, calls)


def _of_call(turn: Turn, work: VersionTurn, call: UpstreamCall) -> dict[str, Value]:
    url, spec = urlsplit(call.target.endpoint.url), work.body
    found: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider(call.target.endpoint),
        "gen_ai.request.model": call.target.model,
        "gen_ai.request.stream": turn.request.stream,
        "trimtab.endpoint": call.target.endpoint.name,
    }
    if url.hostname:
        found |= {"server.address": url.hostname, "server.port": url.port or (443 if url.scheme == "https" else 80)}
    for name, attribute in PARAMS.items():
        if isinstance(spec.get(name), int | float):
            found[f"gen_ai.request.{attribute}"] = spec[name]
    answer, usage = work.completion, work.usage
    if call.error or answer is None or call is not work.calls[-1]:
        return found
    found["gen_ai.response.model"] = answer.model or call.target.model
    if answer.finish_reason:
        found["gen_ai.response.finish_reasons"] = [answer.finish_reason]
    if turn.request.stream and answer.first_token_ms:
        found["gen_ai.response.time_to_first_chunk"] = answer.first_token_ms / 1000
    if usage is not None:
        found |= {
            "gen_ai.usage.input_tokens": usage.input,
            "gen_ai.usage.output_tokens": usage.output,
            "gen_ai.usage.cache_read.input_tokens": usage.cached,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
            "trimtab.usage": usage.kind,
        }
    return found


def provider(endpoint: EndpointSpec) -> str:
    """Return the convention's name of the provider behind an endpoint; that of the endpoint where it has none."""
    host = urlsplit(endpoint.url).hostname or ""
    return next((name for end, name in PROVIDERS.items() if host == end or host.endswith(f".{end}")), endpoint.name)


def _messages(texts: Sequence[tuple[str, str]], masks: Masks, mode: Mode) -> dict[str, Value]:
    """Return messages as the convention's JSON; of `hash` the hash and the length in the place of a text."""
    asked: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    for part, text in texts:
        kept = masks.keep(text, mode)
        content = kept.text if kept.mode != "hash" else f"hmac-sha256:{kept.text} ({kept.chars} characters)"
        where, _, rest = part.partition(".")
        if where == "messages" and not part.endswith(NAME):
            role = rest.partition(".")[2]
            role = "assistant" if role in ("tool_calls", "refusal") else role
            asked.append({"role": role, "parts": [{"type": "text", "content": content}]})
        elif where in ("answer", "refusal", "tool_calls"):
            answered.append({"role": "assistant", "parts": [{"type": "text", "content": content}]})
    return {
        **({"gen_ai.input.messages": _encode(asked).decode()} if asked else {}),
        **({"gen_ai.output.messages": _encode(answered).decode()} if answered else {}),
    }
