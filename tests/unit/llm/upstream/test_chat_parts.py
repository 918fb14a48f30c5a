"""Bodies and chunks of chat completions, as endpoints write them in more than one way."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


NO_COMPLETIONS = [
    b"<html>",
    b"{}",
    b'{"choices": []}',
    b'{"choices": 3}',
    b"[]",
    b'{"model": "\xe6", "choices": [{}]}',
    b'{"other": "\xe6", "choices": [{}]}',
    b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b', "choices": [{}]}',
    b'{"usage": ' + b"[" * 100_000 + b"]" * 100_000 + b', "choices": [{}]}',
]


@pytest.mark.parametrize("raw", NO_COMPLETIONS, ids=range(len(NO_COMPLETIONS)))
def test_what_is_no_completion_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_completion(raw)


_FIELDS = """
choices delta message content refusal tool_calls index id type function name arguments usage error prompt_tokens
completion_tokens prompt_tokens_details cached_tokens finish_reason model text
"""
FIELDS = _FIELDS.split()
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ODD, ODD, ODD)
def test_odd_json_is_read_or_refused_and_nothing_else(one: Any, two: Any, usage: Any) -> None:
    call = {"index": 0, "function": one}
    whole = Assembled()
    for body in (
        one,
        {"choices": [{"delta": one, "message": two}], "usage": usage},
        {"choices": [{"delta": {"tool_calls": [call, two]}}]},
        {"choices": [{"delta": {"tool_calls": [{**call, "id": two, "type": usage}]}}]},
    ):
        raw = json.dumps(body).encode()
        with suppress(msgspec.DecodeError):
            whole.add(read_delta(raw))
        with suppress(msgspec.DecodeError):
            read_completion(raw)
    whole.completion()
