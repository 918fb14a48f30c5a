"""Answers that are masked before clients get them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trimtab.llm.redaction.project_key import ProjectKey
from trimtab.llm.redaction.redactor import Redactor
from trimtab.serving.chat.outbound_masks import OutboundMasks
from unit.serving.chat.conftest import Chatting, Run, text_of

SECRET = "write to ann@example.com, or to bob@example.com; ann@example.com is quicker"
MASKED = "write to <EMAIL_1>, or to <EMAIL_2>; <EMAIL_1> is quicker"


def test_answers_are_masked_streamed_whole_and_from_the_cache(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, "echo"), 100))
        body = {"variables": {"ticket": SECRET}}
        for expected in ("", "hit"):
            found = await chat.ask(body)
            assert found.headers.get("x-trimtab-cache", "") == expected
            assert found.json()["choices"][0]["message"]["content"] == MASKED
            assert text_of(await chat.events(body)) == MASKED

    chat = run_chat(test, redact={"outbound": True}, cache={"enabled": True})
    assert not any("example.com" in str(row["text"]) for row in chat.rows("contents"))


def test_answers_stay_as_they_are_by_default(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, "echo"), 100))
        assert text_of(await chat.events({"variables": {"ticket": SECRET}})) == SECRET

    run_chat(test)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_a_stream_masks_what_the_whole_masks_however_it_is_cut(sizes: list[int]) -> None:
    masks = OutboundMasks(Redactor(["email"], [], ProjectKey(b"k" * 32)))
    pieces, rest = [], SECRET
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in [*pieces, rest]
    ]
    calls = [{"index": 0, "function": {"arguments": SECRET}}]
    chunks.append({"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]})
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {}})
    found = [event for chunk in chunks for event in masks.event(chunk)]
    deltas = [choice["delta"] for event in found for choice in event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == MASKED
    arguments = [call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ())]
    assert "".join(arguments) == MASKED
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1] == {"choices": [], "usage": {}}
