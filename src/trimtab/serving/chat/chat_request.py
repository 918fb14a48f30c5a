"""The body of a chat: what a client may send, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from trimtab.errors import nearest
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.requests import MAX_ID, control, shown

DEEPEST = 32
"""Most levels of lists and objects inside one another."""
MOST_MESSAGES = 1000
MOST_TOOLS = 128
MOST_ANSWERS = 8
"""Largest `n`, where `llm.overrides` lets clients choose it."""
MOST_METADATA = 16
"""Entries of `metadata`, as OpenAI's API has it."""
ALWAYS = ("model", "messages", "variables", "stream", "stream_options", "max_completion_tokens", "max_tokens", "n")
"""Parameters that every request may have. `max_tokens` is the older name of `max_completion_tokens`."""
OF_CALLER = ("user", "metadata", "safety_identifier", "prompt_cache_key", "store")
"""Those of OpenAI's API that say who asks. They are used here, and not sent on."""
FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal")
"""Of a message; others, as answers of some endpoints have them, are left out."""
TOOLS = ("tools", "functions")
OF_PROMPT = {
    "tools": "tools of tt.Prompt",
    "functions": "tools of tt.Prompt",
    "response_format": "output of tt.Prompt, or in the front matter of its file",
}
"""Parameter of OpenAI's API -> where a prompt has it."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ChatRequest(msgspec.Struct, kw_only=True):
    """A chat as a client asks for it."""

    model: str
    """Name of a prompt, or endpoint/model."""
    version: str | None = None
    """That the client pins."""
    messages: list[dict[str, Any]]
    variables: dict[str, str] = {}
    params: dict[str, Any] = {}
    """Parameters in the place of the prompt's."""
    most_tokens: int | None = None
    """Of the answer."""
    stream: bool = False
    with_usage: bool = False
    """Whether a stream ends with a chunk about usage."""
    user: str | None = None
    conversation: str | None = None


class RequestRules(msgspec.Struct, frozen=True, kw_only=True):
    """What requests may hold. overrides: names of further parameters; most_bytes: of all messages and variables."""

    overrides: frozenset[str] = frozenset()
    most_bytes: int = 10**6


def read_request(body: bytes, rules: RequestRules, *, passthrough: bool = False) -> ChatRequest:
    """Return a chat from its body. passthrough: whether it may name endpoint/model. Raises ChatRefused."""
    try:
        given = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ChatRefused(400, f"malformed request: {error}", code="invalid_json") from None
    return request_of(given, rules, passthrough=passthrough)


def request_of(given: Mapping[str, Any], rules: RequestRules, *, passthrough: bool = False) -> ChatRequest:
    """Return a chat from its decoded body. Raises ChatRefused."""
    check_depth(given)
    name = _text(given, "model")
    if not name:
        raise ChatRefused(400, "model is missing; expected the name of a prompt", param="model")
    direct = passthrough and "/" in name
    model, _, version = (name, "", "") if direct else name.partition("@")
    found = ChatRequest(
        model=model,
        version=version or None,
        messages=_messages(given),
        variables=_variables(given),
        params=_params(given, rules, direct=direct),
        most_tokens=_most_tokens(given),
        stream=_flag(given, "stream"),
        with_usage=_with_usage(given),
        user=_text(given, "user"),
        conversation=_conversation(given),
    )
    size = len(msgspec.json.encode([found.messages, found.variables]))
    if size > rules.most_bytes:
        raise ChatRefused(
            413, f"the messages have {size:,} bytes; this token may send {rules.most_bytes:,} (llm.limits.input)"
        )
    return found


def check_depth(value: Any) -> None:
    """Raise ChatRefused for lists and objects that lie deeper inside one another than DEEPEST."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return
    raise ChatRefused(400, f"the request has more than {DEEPEST} levels of lists and objects")


def _messages(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = given.get("messages")
    if messages is None:
        return []
    if not isinstance(messages, list):
        raise ChatRefused(400, f"messages is {shown(messages)}; expected a list", param="messages")
    if len(messages) > MOST_MESSAGES:
        raise ChatRefused(400, f"{len(messages)} messages are more than {MOST_MESSAGES}", param="messages")
    found, called = list[dict[str, Any]](), set[str]()
    for place, given_message in enumerate(messages):
        message = _message(given_message, f"messages[{place}]")
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            raise ChatRefused(
                400,
                f"messages[{place}].tool_call_id is {shown(message.get('tool_call_id'))}; expected the id of a call in "
                "`tool_calls` of an earlier message of the assistant",
                param=f"messages[{place}].tool_call_id",
            )
        called |= _calls(message)
        found.append(message)
    return found


def _calls(message: Mapping[str, Any]) -> set[str]:
    """Return the ids of the calls of tools in a message."""
    calls = message.get("tool_calls")
    ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return {each for each in ids if isinstance(each, str)} if message["role"] == "assistant" else set()


def _message(message: Any, where: str) -> dict[str, Any]:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(role, str):
        raise ChatRefused(400, f"{where} is {shown(message)}; expected an object with role and content", param=where)
    found = {name: message[name] for name in FIELDS if message.get(name) is not None}
    content = found.get("content")
    if not isinstance(content, str | list) and not (content is None and "tool_calls" in found):
        raise ChatRefused(
            400, f"{where}.content is {shown(content)}; expected text or a list of parts", param=f"{where}.content"
        )
    if isinstance(content, list) and not all(isinstance(part, dict) and "type" in part for part in content):
        raise ChatRefused(400, f"{where}.content holds a part without a type", param=f"{where}.content")
    return found


def _variables(given: Mapping[str, Any]) -> dict[str, str]:
    found = given.get("variables")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ChatRefused(400, f"variables is {shown(found)}; expected an object", param="variables")
    for name, value in found.items():
        if not isinstance(value, str | int | float):
            raise ChatRefused(400, f"variables.{name} is {shown(value)}; expected text", param=f"variables.{name}")
    return {name: value if isinstance(value, str) else shown(value) for name, value in found.items()}


def _params(given: Mapping[str, Any], rules: RequestRules, *, direct: bool) -> dict[str, Any]:
    """Return the parameters in the place of the prompt's; None counts as left out, as client libraries send it."""
    found = {
        name: value
        for name, value in given.items()
        if value is not None and name not in ALWAYS and name not in OF_CALLER
    }
    answers = given.get("n")
    if answers is not None and answers != 1:
        if not direct and "n" not in rules.overrides:
            raise ChatRefused(400, f"n is {shown(answers)}; expected 1", param="n")
        if not isinstance(answers, int) or isinstance(answers, bool) or not 1 <= answers <= MOST_ANSWERS:
            raise ChatRefused(400, f"n is {shown(answers)}; expected 1 to {MOST_ANSWERS}", param="n")
        found["n"] = answers
    if not direct:
        refused = sorted(found.keys() - rules.overrides)
        if refused:
            name = refused[0]
            raise ChatRefused(400, _unsupported(name, rules.overrides), param=name, code="unsupported_parameter")
    for name in TOOLS:
        if isinstance(found.get(name), list) and len(found[name]) > MOST_TOOLS:
            raise ChatRefused(400, f"{len(found[name])} tools are more than {MOST_TOOLS}", param=name)
    return found


def _unsupported(name: str, overrides: frozenset[str]) -> str:
    """Return why a request for a prompt may not have a parameter."""
    said = f"'{name:.100}' may not be sent, as the prompt sets its own parameters"
    if name in OF_PROMPT:
        return f"{said}: it belongs to the prompt ({OF_PROMPT[name]})"
    allowed = sorted({*ALWAYS, *OF_CALLER, *overrides})
    close = nearest(name[:100], allowed) if get_close_matches(name[:100].casefold(), allowed, n=1) else ""
    return f"{said}. Allowed: {', '.join(allowed)}; llm.overrides of trimtab.yaml allows more.{close}"


def _most_tokens(given: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = given.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ChatRefused(400, f"{name} is {shown(value)}; expected a number above 0", param=name)
            return value
    return None


def _with_usage(given: Mapping[str, Any]) -> bool:
    options = given.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict) or not _flag(given, "stream"):
        raise ChatRefused(
            400,
            'stream_options goes with stream, and is an object such as {"include_usage": true}',
            param="stream_options",
        )
    return _flag(options, "include_usage", "stream_options.include_usage")


def _flag(given: Mapping[str, Any], name: str, where: str = "") -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise ChatRefused(400, f"{where or name} is {shown(value)}; expected true or false", param=where or name)
    return bool(value)


def _text(given: Mapping[str, Any], name: str, where: str = "") -> str | None:
    value = given.get(name)
    if value is None:
        return None
    where = where or name
    if not isinstance(value, str) or len(value) > MAX_ID or control(value) is not None:
        what = f"text of up to {MAX_ID} characters that can be shown"
        raise ChatRefused(400, f"{where} is {shown(value)}; expected {what}", param=where)
    return value


def _conversation(given: Mapping[str, Any]) -> str | None:
    metadata = given.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or len(metadata) > MOST_METADATA:
        raise ChatRefused(400, f"metadata is no object of up to {MOST_METADATA} entries", param="metadata")
    return _text(metadata, "conversation_id", "metadata.conversation_id") or None
