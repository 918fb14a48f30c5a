"""The cache of answers: exact, off by default, of one token and one revision, and free."""

from __future__ import annotations

from typing import Any

import pytest

from unit.serving.chat.conftest import Chatting, Run, text_of
from unit.serving.chat.test_chat_roles import grant

CHARGE = {"variables": {"ticket": "the charge on my card is wrong"}}
ON = {"cache": {"enabled": True}}


def test_the_same_request_is_bought_once_streamed_or_whole(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        first = await chat.ask(CHARGE)
        again = await chat.ask(CHARGE)
        events = await chat.events({**CHARGE, "stream_options": {"include_usage": True}})
        assert again.headers["x-trimtab-cache"] == "hit"
        assert "x-trimtab-cache" not in first.headers
        assert again.json()["choices"] == first.json()["choices"]
        assert again.json()["usage"]["total_tokens"] == first.json()["usage"]["total_tokens"]
        assert text_of(events) == "billing"
        assert events[-1] == "[DONE]"
        assert len({first.json()["id"], again.json()["id"], events[0]["id"]}) == 3
        assert chat.loopback.bill.totals.requests == 1
        await chat.ask({"variables": {"ticket": "the charge on my card is wrong "}})
        await chat.ask({**CHARGE, "max_completion_tokens": 7})
        chat.serve(("champion", chat.prompt(1), 100), revision=8)
        await chat.ask(CHARGE)
        assert chat.loopback.bill.totals.requests == 4

    chat = run_chat(test, **ON)
    turns = sorted(chat.rows("turns"), key=lambda turn: turn["at"])
    assert [turn["cache_hit"] for turn in turns] == [False, True, True, False, False, False]
    assert [turn["cost_pico"] for turn in turns][1:3] == [0, 0]


def test_a_stream_is_kept_for_whole_answers(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        await chat.events(CHARGE)
        assert (await chat.ask(CHARGE)).headers["x-trimtab-cache"] == "hit"

    run_chat(test, **ON)


@pytest.mark.parametrize(("scope", "calls"), [("token", 2), ("project", 1)])
def test_answers_are_not_shared_between_tokens_unless_the_policy_says_so(run_chat: Run, scope: str, calls: int) -> None:
    async def test(chat: Chatting) -> None:
        for token in ("web", "ops"):
            assert (await chat.ask(CHARGE, authorization=f"Bearer tt_{token}")).status_code == 200
        assert chat.loopback.bill.totals.requests == calls

    run_chat(test, cache={"enabled": True, "scope": scope}, grants=[grant("web"), grant("ops")])


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("classifier", {"params": {"temperature": 0.5}}),
        ("classifier", {"params": {}}),
        ("classifier+refusal", {}),
        ("classifier+invalid_json", {"schema": {"type": "object"}}),
        ("tools", {"tools": ({"type": "function", "function": {"name": "refund", "parameters": {}}},)}),
    ],
)
def test_other_answers_are_not_kept(run_chat: Run, model: str, more: dict[str, Any]) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, model, **more), 100))
        for _ in range(2):
            await chat.ask(CHARGE)
        assert chat.loopback.bill.totals.requests == 2

    run_chat(test, **ON, output={"invalid": "pass"})


@pytest.mark.parametrize("policy", [{}, {"cache": {"enabled": True, "keep": "1us"}}])
def test_nothing_is_kept_by_default_nor_beyond_its_time(run_chat: Run, policy: dict[str, Any]) -> None:
    async def test(chat: Chatting) -> None:
        for _ in range(2):
            await chat.ask(CHARGE)
        assert chat.loopback.bill.totals.requests == 2

    run_chat(test, **policy)
