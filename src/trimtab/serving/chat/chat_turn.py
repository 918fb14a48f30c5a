"""One turn of a prompt: what was asked, and what each version did that had a part in the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from trimtab.bundle.prompt_spec import TargetSpec
from trimtab.errors import DataError
from trimtab.llm.answer_format import read_answer
from trimtab.llm.chat_body import chat_body, with_limit
from trimtab.llm.chat_messages import MessageError, MissingVariable, render
from trimtab.llm.completion import Completion, Usage
from trimtab.llm.document_index import with_documents
from trimtab.llm.money.spend_scopes import Caller
from trimtab.llm.money.turn_cost import TurnCost, input_bound
from trimtab.policy.llm.section_llm import Purpose
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.chat_request import ChatRequest
from trimtab.serving.chat.loaded_prompt import LoadedPrompt
from trimtab.serving.core.routing import ModelTable, Variant


@dataclass(slots=True, eq=False)
class UpstreamCall:
    """One call of an endpoint; times of time.perf_counter_ns."""

    target: TargetSpec
    start_ns: int
    end_ns: int = 0
    """Of a stream: when it began."""
    error: str = ""
    """Kind of failure; empty: it answered."""
    said: str = ""
    """What the endpoint said of a failure, unmasked."""


@dataclass(slots=True, eq=False, kw_only=True)
class VersionTurn:
    """What one version did in a turn."""

    variant: Variant
    messages: list[dict[str, Any]]
    """Rendered."""
    body: dict[str, Any]
    sent: int
    """UTF-8 bytes of messages, tools and schema."""
    most_input: int
    """Most input tokens that the endpoint can count."""
    target: TargetSpec
    """That was asked last."""
    documents: tuple[str, ...] = ()
    """Ids of those that the retriever put in."""
    attempts: int = 0
    calls: list[UpstreamCall] = field(default_factory=list)
    """One for each attempt."""
    fell_back_from: str | None = None
    """The target that failed before, as endpoint/model."""
    completion: Completion | None = None
    """As far as it came."""
    cost: int = 0
    """Of all attempts, in 1e-12 of the currency."""
    usage: Usage | None = None
    """Of the last attempt that was billed."""
    price_version: str | None = None
    error: str | None = None
    format_ok: bool | None = None
    """None without a schema."""
    cache_hit: bool = False
    latency_us: int = 0

    @property
    def prompt(self) -> LoadedPrompt:
        """The version."""
        return cast(LoadedPrompt, self.variant.bundle)

    @property
    def most_output(self) -> int:
        """Most tokens of one answer."""
        return int(self.body.get("max_completion_tokens") or self.body["max_tokens"])

    @property
    def answers(self) -> int:
        """How many answers are asked for."""
        return int(self.body.get("n") or 1)

    @property
    def known_tools(self) -> frozenset[str]:
        """Names of the tools that an answer may call."""
        tools = self.body.get("tools") or ()
        return frozenset(str((tool.get("function") or {}).get("name")) for tool in tools)

    def book(self, found: TurnCost) -> None:
        """Add the cost of one attempt."""
        self.cost += found.cost
        self.usage = found.usage
        self.price_version = found.price_version

    def problem(self, completion: Completion) -> str:
        """Return why an answer does not fit the prompt; empty when it does. Notes whether its format is right.

        An answer that was cut at its longest length is given as it is: its finish_reason says so, and another one would
        be cut, too.
        """
        if completion.finish_reason == "length":
            return ""
        schema = self.prompt.schema
        _, wrong = read_answer(
            completion.text, completion.tool_calls, completion.refusal, schema=schema, tools=self.known_tools
        )
        if wrong or schema is not None:
            self.format_ok = not wrong
        return wrong


@dataclass(slots=True, eq=False, kw_only=True)
class Turn:
    """One turn."""

    id: str
    """Of the completion and of the prediction."""
    request: ChatRequest
    table: ModelTable
    variant: Variant
    """That the split or a pin chose."""
    route: str
    caller: Caller
    conversation: str
    at: int
    """Microseconds since 1970."""
    received_ns: int
    ends: float
    """By the clock of the event loop: when its time is over."""
    purpose: Purpose = "serve"
    payer: Caller | None = None
    """Whose limits its calls count in; None: the caller's."""
    versions: list[VersionTurn] = field(default_factory=list)
    """Those that were asked; the last one answered."""
    ended: bool = False
    gone: bool = False
    """Whether its client has left."""
    cache_key: str | None = None
    """Under which its answer is kept; None: it is not."""

    @property
    def last(self) -> VersionTurn:
        """The version that answered, or was asked last."""
        return self.versions[-1]

    def begin(self, variant: Variant, limit: int) -> VersionTurn:
        """Render the turn for a version. limit: most tokens of an answer. Raises ChatRefused."""
        if self.versions and self.versions[-1].variant is variant:
            return self.versions[-1]
        found = version_turn(variant, self.request, limit)
        self.versions.append(found)
        return found


def version_turn(variant: Variant, request: ChatRequest, limit: int) -> VersionTurn:
    """Return what a version would send for a request. Raises ChatRefused: the request does not fit the prompt."""
    loaded = cast(LoadedPrompt, variant.bundle)
    spec, documents = loaded.prompt, tuple[str, ...]()
    try:
        if loaded.is_direct:
            messages = request.messages
            body = with_limit({**request.params, "messages": messages}, limit, request.most_tokens)
        else:
            variables, documents = with_documents(spec, loaded.index, request.variables, request.messages)
            messages = render(spec, variables, request.messages)
            body = chat_body(spec, messages, limit=limit, most_tokens=request.most_tokens, params=request.params)
        tools = body.get("tools") or ()
        most_input = input_bound(messages, tools, spec.schema, first=len(request.messages) - len(messages))
    except MissingVariable as error:
        example = f'"variables": {{"{error.name}": "..."}}'
        text = f"{error}; send it in the body: {example}; with the openai client: extra_body={{{example}}}"
        raise ChatRefused(400, text, param=error.param) from None
    except MessageError as error:
        raise ChatRefused(400, str(error), param=error.param) from None
    except DataError as error:
        raise ChatRefused(400, str(error), param="messages") from None
    sent = sum(len(msgspec.json.encode(each)) for each in (messages, tools or None, spec.schema) if each is not None)
    return VersionTurn(
        variant=variant,
        messages=messages,
        body=body,
        sent=sent,
        most_input=most_input,
        target=spec.target,
        documents=documents,
    )
