"""The body of a chat completion, as a version of a prompt sends it to its endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.bundle.prompt_spec import PromptSpec

LIMITS = ("max_completion_tokens", "max_tokens")
"""Parameters for the most tokens of an answer; the second is the older name, which some endpoints alone know."""


def chat_body(
    spec: PromptSpec,
    messages: Sequence[Mapping[str, Any]],
    *,
    limit: int,
    most_tokens: int | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the body for the endpoint, which sets `model` itself.

    Args:
        spec: the version of the prompt.
        messages: rendered.
        limit: most tokens of an answer (`llm.limits.output_tokens`), which neither prompt nor client exceeds.
        most_tokens: what the client asks for.
        params: of the client, in the place of the prompt's.
    """
    body: dict[str, Any] = {**spec.params, "messages": list(messages)}
    if spec.tools:
        body["tools"] = list(spec.tools)
    if spec.schema is not None:
        body.setdefault(
            "response_format",
            {
                "type": "json_schema",
                "json_schema": {"name": spec.schema_name or spec.name, "schema": spec.schema, "strict": True},
            },
        )
    body |= params or {}
    return with_limit(body, limit, most_tokens)


def with_limit(body: dict[str, Any], limit: int, most_tokens: int | None = None) -> dict[str, Any]:
    """Set the most tokens of an answer, under the name that the body has already."""
    name = next((name for name in LIMITS if body.get(name) is not None), LIMITS[0])
    given = body.get(name)
    body[name] = min(each for each in (limit, most_tokens, given) if isinstance(each, int))
    return body
