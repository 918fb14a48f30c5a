"""prompt.json: a version of a prompt, whole. Its bundle has bundle.json, too, with the task `chat`.

The digest of the bundle covers messages, parameters, schema, tools, retriever, endpoint, model and fallbacks, so that a
rollback restores all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from trimtab.errors import DataError

PROMPT_FILE = "prompt.json"
TURN_NUMBERS = (
    "input_tokens",
    "output_tokens",
    "cached_share",
    "turn",
    "tool_calls",
    "documents",
    "first_token_ms",
    "ms_per_token",
    "cost",
    "refused",
    "format_ok",
    "cut",
)
"""Features of a turn that the gateway logs, in the order of the vector: counts as they are, cost in the currency of
`impact`, shares and flags from 0 to 1. turn: its place in the conversation, from 1. cut: the answer ended at its
longest length."""
TURN_TEXTS = ("model_reported", "language", "topic", "topic_distance", "answer_topic", "answer_distance")
"""Features that monitoring adds from the kept text of a turn and from its other columns; the gateway logs NaN.
model_reported, language, topic and answer_topic are categories."""
TURN_FEATURES = (*TURN_NUMBERS, *TURN_TEXTS)
NOT_THE_VERSION = ("client_gone", "withdrawn", "slow_reader", "budget_exceeded", "rate_limited")
"""Errors of a turn that say nothing about the version that answered it."""
TURN_INPUTS = ("input_tokens", "cached_share", "turn", "documents", "language", "topic", "topic_distance")
"""Those that say what was asked. The others are what came back."""
TURN_ANSWERS = (
    "output_tokens",
    "tool_calls",
    "refused",
    "format_ok",
    "cut",
    "model_reported",
    "answer_topic",
    "answer_distance",
)
"""Those that say what was answered, as the score does of a model. Time and cost of a turn are operations."""
TURN_CATEGORIES = ("refused", "format_ok", "cut", "model_reported", "language", "topic", "answer_topic")


class MessageTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """One message; `{{ name }}` stands for a variable."""

    role: Literal["system", "user", "assistant"]
    text: str


class VariableSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A variable of a template."""

    trusted: bool = False
    """Only a trusted one may stand in a system message."""
    default: str | None = None
    """None: a request must bring it."""
    max_chars: int | None = None


class PriceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a million tokens cost, in integers of 1e-12 of the currency a token: 0.15 a million is 150,000."""

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    since: str = ""
    """ISO date; empty: always."""


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An endpoint as definitions name it. key: name of the secret, never its value."""

    name: str
    url: str
    key: str | None = None
    usage: Literal["inclusive", "exclusive"] = "inclusive"
    reasoning: Literal["in_output", "separate"] = "in_output"
    prices: Mapping[str, tuple[PriceSpec, ...]] = {}
    """By model, oldest first."""
    requests: str | None = None
    tokens: str | None = None
    concurrent: int = 50


class TargetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model at an endpoint."""

    endpoint: EndpointSpec
    model: str


class RetrieverSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The retriever of a prompt; its index lies in the folder `retriever` of the bundle."""

    name: str
    table: str
    text: str
    id: str
    k: int
    embed: str
    query: str | None = None
    index: str = ""
    """SHA-256 over the documents, so that other documents make another version."""


class PromptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a prompt."""

    format: Literal[1] = 1
    name: str
    description: str = ""
    messages: tuple[MessageTemplate, ...]
    variables: Mapping[str, VariableSpec] = {}
    params: Mapping[str, Any] = {}
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer must fit; None: any text."""
    schema_name: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    target: TargetSpec
    fallbacks: tuple[TargetSpec, ...] = ()
    retriever: RetrieverSpec | None = None
    sections: Mapping[str, str] = {}
    """Name of a section of the template that a search may change -> its text."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """Shown to the model as pairs of user and assistant messages, before the last user message."""
    tune: tuple[str, ...] = ()
    """What a search may change: names of sections, and `examples`."""

    @property
    def prompt_hash(self) -> str:
        """SHA-256 over all but prices and limits of endpoints, which change no answer."""
        plain = msgspec.to_builtins(self)
        for target in (plain["target"], *plain["fallbacks"]):
            for key in ("prices", "requests", "tokens", "concurrent"):
                target["endpoint"].pop(key, None)
        return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def write_prompt(folder: Path, spec: PromptSpec) -> None:
    """Write prompt.json."""
    (folder / PROMPT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")


def read_prompt(folder: Path) -> PromptSpec:
    """Read prompt.json. Raises DataError."""
    path = folder / PROMPT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=PromptSpec)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; the bundle holds no prompt") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: not a prompt: {error}") from None
