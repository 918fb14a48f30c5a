"""Shadows of prompts: asked after the answer, sampled by conversation, on a budget of their own."""

from __future__ import annotations

import asyncio

from unit.serving.chat.conftest import Chatting, Run
from unit.serving.http1.sockets import until

CHARGE = {"variables": {"ticket": "the charge on my card is wrong"}}


def test_a_shadow_answers_afterwards_and_no_client_sees_it(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        shadow = chat.prompt(2, "echo")
        chat.serve(("champion", chat.prompt(1), 100), ("shadow", shadow, 0))
        for stream in (False, True):
            found = await chat.ask({"stream": stream, **CHARGE})
            assert "billing" in found.text
            assert found.headers["x-trimtab-version"] == "1"
        await until(lambda: len(chat.rows()) == 4)

    chat = run_chat(test, shadow={"sample": "100%"})
    told = [(row["version"], row["role"], row["served"]) for row in chat.rows()]
    assert sorted(told) == [(1, "champion", True)] * 2 + [(2, "shadow", False)] * 2
    assert len({row["prediction_id"] for row in chat.rows()}) == 2
    assert sorted(turn["purpose"] for turn in chat.rows("turns")) == ["serve", "serve", "shadow", "shadow"]
    metrics = chat.gateway.metrics.text()
    assert 'trimtab_chat_turns_total{model="triage",outcome="ok"} 4.0' in metrics
    assert 'trimtab_chat_tokens_total{kind="input",model="triage"} 224.0' in metrics
    assert 'trimtab_chat_cost_pico_total{model="triage",purpose="shadow"}' in metrics
    assert "trimtab_chat_first_token_seconds_count 4.0" in metrics


def test_a_share_of_the_conversations_is_shadowed(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(1), 100), ("shadow", chat.prompt(2), 0))
        for _ in range(2):
            await asyncio.gather(*(chat.ask(CHARGE, x_trimtab_conversation=f"session {n}") for n in range(20)))
        await until(lambda: chat.service._shadows._waiting.empty())

    chat = run_chat(test, shadow={"sample": "30%"})
    seen = [dict(row["entities"])["conversation"] for row in chat.rows() if row["role"] == "shadow"]
    assert 0 < len(set(seen)) < 15
    assert all(seen.count(each) == 2 for each in set(seen))


def test_a_full_queue_and_a_spent_budget_drop_and_count(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(1), 100), ("shadow", chat.prompt(2, "echo+slow"), 0))
        for _ in range(3):
            assert (await chat.ask(CHARGE)).status_code == 200
        await until(lambda: chat.gateway.metrics.counts.comparison_dropped == 3)

    chat = run_chat(test, shadow={"sample": 1.0, "budget": "0.00001/day"})
    assert all(row["role"] == "champion" for row in chat.rows())

    async def full(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(1), 100), ("shadow", chat.prompt(2, "echo+hang"), 0))
        for _ in range(9):
            assert (await chat.ask(CHARGE)).status_code == 200
        assert chat.gateway.metrics.counts.comparison_dropped >= 3

    run_chat(full, shadow={"sample": 1.0, "queue": 2})


def test_a_failure_of_a_shadow_is_its_own(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(1), 100), ("shadow", chat.prompt(2, "echo+status=500"), 0))
        assert (await chat.ask(CHARGE)).status_code == 200
        await until(lambda: len(chat.rows()) == 2)

    chat = run_chat(test, shadow={"sample": 1.0}, retry={"attempts": 1})
    assert {row["version"]: row["error"] for row in chat.rows()} == {1: None, 2: "upstream_5xx"}
