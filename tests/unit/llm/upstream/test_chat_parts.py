"""Bodies and chunks of chat completions, as endpoints write them in more than one way."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from trimtab.llm.completion import Usage
from trimtab.llm.upstream.chat_parts import Assembled, read_completion, read_delta, usage_of


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}).encode()


def test_calls_of_tools_are_joined_from_their_parts() -> None:
    whole = Assembled()
    for part in (
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "get", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"x"'}}],
        [{"index": 1, "id": "b", "function": {"name": "put", "arguments": "{}"}}],
        [{"index": 0, "function": {"arguments": ": 1}"}}],
    ):
        delta = read_delta(chunk({"tool_calls": part}))
        assert delta.is_token
        whole.add(delta)
    whole.add(read_delta(chunk({}, "tool_calls")))
    found = whole.completion()
    assert [(call["id"], call["function"]) for call in found.tool_calls] == [
        ("a", {"name": "get", "arguments": '{"x": 1}'}),
        ("b", {"name": "put", "arguments": "{}"}),
    ]
    assert found.finish_reason == "tool_calls"
    assert found.size == len('get{"x": 1}put{}')


def test_a_role_alone_is_no_token_and_a_chunk_for_usage_is_known() -> None:
    assert not read_delta(chunk({"role": "assistant", "content": ""})).is_token
    assert read_delta(chunk({"refusal": "no"})).is_token
    delta = read_delta(b'{"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}')
    assert delta.only_usage
    assert delta.usage == Usage(input=3, output=2)
    assert not read_delta(b'{"choices": [], "usage": null}').only_usage


def test_size_counts_all_choices_in_bytes() -> None:
    raw = {"choices": [{"index": 0, "delta": {"content": "é"}}, {"index": 1, "delta": {"content": "abc"}}]}
    delta = read_delta(json.dumps(raw).encode())
    assert (delta.text, delta.size) == ("é", 5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ({}, None),
        ("12", None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, Usage(input=0, output=2)),
        ({"prompt_tokens": 5.0, "completion_tokens": True}, Usage(input=5, output=0)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(input=9, output=8, cached=4, reasoning=6),
        ),
        (
            {"input_tokens": 9, "output_tokens": 8, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2},
            Usage(input=9, output=8, cached=3, cache_write=2),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 8, "prompt_cache_hit_tokens": 3, "prompt_tokens_details": None},
            Usage(input=9, output=8, cached=3),
        ),
    ],
)
def test_usage_is_read_as_endpoints_name_it(given: object, expected: Usage | None) -> None:
    assert usage_of(given) == expected


def test_a_content_of_parts_is_its_text() -> None:
    raw = {"choices": [{"message": {"content": [{"type": "thinking"}, {"type": "text", "text": "yes"}]}}]}
    found = read_completion(json.dumps(raw).encode())
    assert (found.text, found.finish_reason, found.usage) == ("yes", "", None)


@pytest.mark.parametrize("raw", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": 3}', b"[]"])
def test_what_is_no_completion_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_completion(raw)
