"""Bodies of chat completions and their chunks: read leniently, since endpoints differ in what they leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.llm.completion import Completion, Usage

MOST_TOKENS = 2**53
"""A larger number is no number of tokens."""


class _Part(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Part | None = None
    message: _Part | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Body)


def _decode(raw: bytes) -> _Body:
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into texts of fields that it passes over
        return _decoder.decode(raw)
    except UnicodeDecodeError:
        raise msgspec.DecodeError("its text is not UTF-8") from None
    except RecursionError:
        raise msgspec.DecodeError("its objects are nested too deeply") from None


class Delta(msgspec.Struct, kw_only=True):
    """What one chunk adds to the first choice.

    size: bytes of text, refusals and arguments of tools, over all choices. only_usage: the chunk has no choice, and is
    there for the usage alone. error: the object of an error event; None without one.
    """

    text: str = ""
    refusal: str = ""
    tool_calls: Sequence[dict[str, Any]] = ()
    finish_reason: str | None = None
    model: str = ""
    usage: Usage | None = None
    size: int = 0
    only_usage: bool = False
    error: Any = None

    @property
    def is_token(self) -> bool:
        """Whether a client sees something of it: text, a refusal, or a tool call."""
        return self.size > 0 or bool(self.tool_calls)


def read_delta(data: bytes) -> Delta:
    """Return what a chunk adds. Raises msgspec.DecodeError."""
    body = _decode(data)
    if not body.choices:
        usage = usage_of(body.usage)
        return Delta(model=body.model or "", usage=usage, only_usage=usage is not None, error=body.error)
    found = Delta(model=body.model or "", error=body.error)
    if body.usage is not None:
        found.usage = usage_of(body.usage)
    for choice in body.choices:
        part = choice.delta or choice.message
        text = _text(part.content) if part is not None else ""
        calls = (part.tool_calls or ()) if part is not None else ()
        refusal = (part.refusal or "") if part is not None else ""
        found.size += _size(text, refusal, calls)
        if not choice.index:
            found.text, found.refusal, found.tool_calls = text, refusal, calls
            found.finish_reason = choice.finish_reason
        elif calls:
            found.size += 1  # a call without arguments is a token, too
    return found


class Assembled:
    """Joins deltas to a whole answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self.finish_reason: str | None = None
        self.model = ""
        self.usage: Usage | None = None
        self.size = 0

    def add(self, delta: Delta) -> None:
        """Add what one chunk brought."""
        if delta.text:
            self._texts.append(delta.text)
        if delta.refusal:
            self._refusals.append(delta.refusal)
        for call in delta.tool_calls:
            self._add_call(call)
        self.size += delta.size
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.model = delta.model or self.model
        self.usage = delta.usage or self.usage

    def completion(self) -> Completion:
        """Return the answer as far as it came."""
        return Completion(
            text="".join(self._texts),
            refusal="".join(self._refusals) or None,
            tool_calls=[self._calls[index] for index in sorted(self._calls)],
            finish_reason=self.finish_reason or "",
            model=self.model,
            usage=self.usage,
            size=self.size,
        )

    def _add_call(self, call: Mapping[str, Any]) -> None:
        index = call.get("index")
        kept = self._calls.setdefault(index if isinstance(index, int) else len(self._calls), {"type": "function"})
        function = call.get("function")
        for key in ("id", "type"):
            if call.get(key):
                kept[key] = call[key]
        if isinstance(function, dict):
            whole = kept.setdefault("function", {"name": "", "arguments": ""})
            whole["name"] += function.get("name") or ""
            whole["arguments"] += function.get("arguments") or ""


def read_completion(raw: bytes) -> Completion:
    """Return a whole answer that was not streamed. Raises msgspec.DecodeError."""
    body = _decode(raw)
    found = Completion(model=body.model or "", usage=usage_of(body.usage), raw=raw, finish_reason="")
    for choice in body.choices or ():
        part = choice.message or choice.delta or _Part()
        text, calls = _text(part.content), part.tool_calls or ()
        found.size += _size(text, part.refusal or "", calls)
        if not choice.index:
            found.text, found.tool_calls, found.refusal = text, calls, part.refusal
            found.finish_reason = choice.finish_reason or ""
    if not body.choices:
        raise msgspec.ValidationError("the answer has no choices")
    return found


def usage_of(given: Any) -> Usage | None:
    """Return the tokens of a `usage` object; None where it is missing, or holds no numbers of tokens.

    Cached and written tokens are read as OpenAI, Anthropic (cache_read_input_tokens, cache_creation_input_tokens) and
    DeepSeek (prompt_cache_hit_tokens) name them.
    """
    if not isinstance(given, dict):
        return None
    read = _number(given, "prompt_tokens", "input_tokens")
    written = _number(given, "completion_tokens", "output_tokens")
    if read is None and written is None:
        return None
    of_input = given.get("prompt_tokens_details") or given.get("input_tokens_details")
    of_output = given.get("completion_tokens_details") or given.get("output_tokens_details")
    of_input, of_output = (each if isinstance(each, dict) else {} for each in (of_input, of_output))
    cached = _number(of_input, "cached_tokens")
    if cached is None:
        cached = _number(given, "cache_read_input_tokens", "prompt_cache_hit_tokens")
    cache_write = _number(of_input, "cache_write_tokens", "cache_creation_tokens")
    if cache_write is None:
        cache_write = _number(given, "cache_creation_input_tokens")
    return Usage(
        input=read or 0,
        output=written or 0,
        cached=cached or 0,
        cache_write=cache_write or 0,
        reasoning=_number(of_output, "reasoning_tokens") or 0,
        total=_number(given, "total_tokens") or 0,
    )


def _number(of: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = of.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS:
            return value
    return None


def _text(content: str | list[Any] | None) -> str:
    """Return the text of a content; some endpoints send a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


def _size(text: str, refusal: str, calls: Sequence[Mapping[str, Any]]) -> int:
    size = len(text.encode("utf-8", "surrogatepass")) + len(refusal.encode("utf-8", "surrogatepass"))
    for call in calls:
        function = call.get("function") or {}
        for key in ("name", "arguments"):
            value = function.get(key) or "" if isinstance(function, dict) else None
            if not isinstance(value, str):
                raise msgspec.ValidationError(f"a call of a tool whose function has no text as {key}")
            size += len(value.encode("utf-8", "surrogatepass"))
    return size
